"""Colours: the declared rules of `skinclf.images.decode` for alpha, 16-bit grey and the rest, and for arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from skinclf.errors import ImageError

_ALPHA_MODES = frozenset({"LA", "PA", "RGBA", "RGBa"})
_DIRECT_MODES = frozenset({"1", "L", "P", "CMYK", "YCbCr", "HSV", "RGBX"})


def check_array(array: npt.NDArray[Any], most: int) -> npt.NDArray[np.uint8]:
    """The array, which is a picture in RGB already.

    Args:
        array: Shape (H, W, 3), dtype uint8.
        most: Largest number of pixels.

    Raises:
        ImageError: The array has another shape or dtype, or too many pixels.
    """
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise ImageError(
            "unsupported",
            f"Received an array of shape {array.shape}, dtype {array.dtype}; expected (H, W, 3) uint8 RGB.",
        )
    if 0 in array.shape:
        raise ImageError("zero_size", f"Received an array of shape {array.shape}.")
    if array.shape[0] * array.shape[1] > most:
        raise ImageError("too_large", f"Received an array of shape {array.shape}; at most {most:,} pixels.")
    return array


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
