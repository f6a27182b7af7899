"""Input size that a network is published with, from timm's and torchvision's own records."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

logger = logging.getLogger("skinclf")
_TORCHVISION = "skinclf/torchvision"


def native_size(architecture: str, args: Mapping[str, Any]) -> tuple[int, int] | None:
    """Height and width that a network is published with, or None when its publisher records none.

    For timm's networks this is `input_size` of the `pretrained_cfg`, for torchvision's the crop of the evaluation
    transform of the first published weights. The size is logged, since the file itself does not state it.

    Args:
        architecture: timm's name, or a builder of skinclf's for torchvision's networks.
        args: Arguments of the builder; `name` or `variant` names torchvision's network.
    """
    if architecture.startswith(_TORCHVISION):
        own = architecture.removeprefix(_TORCHVISION).removeprefix("-")
        name = str(args.get("name") or args.get("variant") or own)
        found, publisher = _torchvision_size(name), "torchvision's first published weights"
    elif architecture.startswith("skinclf/"):
        return None
    else:
        name, found, publisher = architecture, _timm_size(architecture), "timm's pretrained_cfg"
    if found is not None:
        level = logging.INFO if found == (224, 224) else logging.WARNING
        logger.log(
            level,
            "The input is %d x %d pixels (height x width), as %s of %s has it; `input_size` states another.",
            *found,
            publisher,
            name,
        )
    return found


def _timm_size(name: str) -> tuple[int, int] | None:
    import timm

    config = timm.get_pretrained_cfg(name) if timm.is_model(name.partition(".")[0]) else None
    size = None if config is None else config.input_size
    return (int(size[1]), int(size[2])) if size and config is not None and config.architecture else None


def _torchvision_size(name: str) -> tuple[int, int] | None:
    try:
        from torchvision import models
    except ImportError:
        return None
    try:
        first = next(iter(models.get_model_weights(name)))
    except (ValueError, StopIteration):
        return None
    crop = getattr(first.transforms, "keywords", {}).get("crop_size")
    return (int(crop), int(crop)) if isinstance(crop, int) else None
