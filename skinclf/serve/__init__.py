"""An HTTP server for one model: an API, and a page on which images are dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["ServeSettings", "Service", "create_app", "serve"]

if TYPE_CHECKING:
    from skinclf.serve.app import create_app
    from skinclf.serve.server import serve
    from skinclf.serve.service import Service
    from skinclf.serve.settings import ServeSettings
else:
    from skinclf._utils.lazy import lazy_names

    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "skinclf.serve.app": ["create_app"],
            "skinclf.serve.server": ["serve"],
            "skinclf.serve.service": ["Service"],
            "skinclf.serve.settings": ["ServeSettings"],
        },
    )
