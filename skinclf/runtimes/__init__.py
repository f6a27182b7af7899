"""Runtimes that execute a loaded model's network: torch, OpenVINO, ONNX Runtime, Keras, int8."""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = [
    "PRECISIONS",
    "RUNTIMES",
    "Runtime",
    "create_runtime",
    "resolve_device",
]

if TYPE_CHECKING:
    from skinclf.runtimes.base import Runtime
    from skinclf.runtimes.create import PRECISIONS, RUNTIMES, create_runtime
    from skinclf.runtimes.device import resolve_device
else:
    from skinclf._utils.lazy import lazy_names

    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "skinclf.runtimes.base": ["Runtime"],
            "skinclf.runtimes.create": ["PRECISIONS", "RUNTIMES", "create_runtime"],
            "skinclf.runtimes.device": ["resolve_device"],
        },
    )
