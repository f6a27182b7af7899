"""Runtimes: how a loaded model's network is executed (torch, OpenVINO, ONNX Runtime, Keras)."""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = [
    "PRECISIONS",
    "RUNTIMES",
    "Runtime",
    "create_runtime",
]

if TYPE_CHECKING:
    from skinclf.runtimes.base import Runtime
    from skinclf.runtimes.create import PRECISIONS, RUNTIMES, create_runtime
else:
    from skinclf._utils.lazy import lazy_names

    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "skinclf.runtimes.base": ["Runtime"],
            "skinclf.runtimes.create": ["PRECISIONS", "RUNTIMES", "create_runtime"],
        },
    )
