"""Colour modes to RGB: the declared rules of `skinclf.images.decode` for alpha, 16-bit grey and the rest."""

from __future__ import annotations

import numpy as np
from PIL import Image

from skinclf.errors import ImageError

_ALPHA_MODES = frozenset({"LA", "PA", "RGBA", "RGBa"})
_DIRECT_MODES = frozenset({"1", "L", "P", "CMYK", "YCbCr", "HSV", "RGBX"})


def to_rgb(image: Image.Image, name: str) -> Image.Image:
    """A decoded image in RGB.

    Args:
        image: Image in any mode.
        name: Name of the file for messages.

    Raises:
        ImageError: The mode has no declared conversion, or grey values lie outside 16 bits.
    """
    mode = image.mode
    if mode == "I" or mode.startswith("I;16"):
        return _grey16_to_rgb(image, name)
    if mode == "RGB" and "transparency" not in image.info:
        return image
    if mode in _ALPHA_MODES or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    if mode in _DIRECT_MODES:
        return image.convert("RGB")
    raise ImageError("unsupported", f"{name}: colour mode {mode} has no declared conversion to RGB.")


def _grey16_to_rgb(image: Image.Image, name: str) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ImageError("unsupported", f"{name}: grey values outside 16 bits.")
    clear = image.info.get("transparency")  # one grey value that counts as transparent
    if clear is not None:
        values = np.where(values == clear, 65535, values)
    return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")
