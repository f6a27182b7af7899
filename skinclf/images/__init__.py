"""Images from path to pixels: discovery, decoding, enhancement, resizing, `Preprocess`."""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = [
    "Inputs",
    "Preprocess",
    "Step",
    "load_image",
    "scaling",
    "scan_directory",
    "synthetic_lesion",
]

if TYPE_CHECKING:
    from skinclf.images.decode import load_image
    from skinclf.images.discovery import Inputs, scan_directory
    from skinclf.images.enhance import Step
    from skinclf.images.preprocess import Preprocess, scaling
    from skinclf.images.synthetic import synthetic_lesion
else:
    from skinclf._utils.lazy import lazy_names

    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "skinclf.images.decode": ["load_image"],
            "skinclf.images.discovery": ["Inputs", "scan_directory"],
            "skinclf.images.enhance": ["Step"],
            "skinclf.images.preprocess": ["Preprocess", "scaling"],
            "skinclf.images.synthetic": ["synthetic_lesion"],
        },
    )
