"""Shifts of a picture that another camera, lamp or distance would make; each is exact and draws no random number."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

#: Upright picture, shape (H, W, 3), uint8 RGB.
Picture: TypeAlias = npt.NDArray[np.uint8]
Shift: TypeAlias = Callable[[Picture], Picture]

# ITU-R BT.601.
_LUMA = np.asarray([0.299, 0.587, 0.114], np.float32)


def _by_table(channels: list[npt.NDArray[np.floating]]) -> Shift:
    """A function of each channel's value alone."""
    table = np.stack([_rounded(values) for values in channels], axis=1)

    def apply(picture: Picture) -> Picture:
        return np.stack([table[picture[..., c], c] for c in range(3)], axis=2)

    return apply


def _rounded(values: npt.NDArray[np.floating]) -> Picture:
    return np.asarray(np.rint(values.clip(0, 255)), np.uint8)


def white_balance(red: float, blue: float) -> Shift:
    """Multiply the red and the blue channel."""
    return _by_table([np.arange(256) * gain for gain in (red, 1.0, blue)])


def gamma(power: float) -> Shift:
    """Raise every value to a power; black and white stay."""
    return _by_table([255 * (np.arange(256) / 255) ** power] * 3)


def saturation(factor: float) -> Shift:
    """Scale the distance of every pixel from its own grey."""

    def apply(picture: Picture) -> Picture:
        values = picture.astype(np.float32)
        grey = (values @ _LUMA)[..., None]
        return _rounded(grey + factor * (values - grey))

    return apply


def scale(factor: float) -> Shift:
    """Show the lesion larger (above 1: the centre is cut out) or smaller (below 1: borders are mirrored)."""

    def apply(picture: Picture) -> Picture:
        sides = np.asarray(picture.shape[:2])
        wanted = np.maximum(1, np.rint(sides / factor).astype(int))
        if factor >= 1:
            top, left = (sides - wanted) // 2
            return picture[top : top + wanted[0], left : left + wanted[1]]
        before = (wanted - sides) // 2
        around = [*zip(before, wanted - sides - before, strict=True), (0, 0)]
        return np.pad(picture, around, mode="symmetric")

    return apply


def blur(share: float) -> Shift:
    """Blur with a Gaussian whose standard deviation is a share of the shorter side."""

    def apply(picture: Picture) -> Picture:
        image = Image.fromarray(picture)
        return np.asarray(image.filter(ImageFilter.GaussianBlur(share * min(image.size))))

    return apply


def jpeg(quality: int) -> Shift:
    """Compress as JPEG of a quality, 1 to 95."""

    def apply(picture: Picture) -> Picture:
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
        with Image.open(buffer) as image:
            return np.asarray(image.convert("RGB"))

    return apply


def vignette(strength: float) -> Shift:
    """Darken towards the corners, which lose a share of `strength`; the centre stays."""

    def apply(picture: Picture) -> Picture:
        rows, cols = picture.shape[:2]
        y, x = ((np.arange(n, dtype=np.float32) + 0.5) / n - 0.5 for n in (rows, cols))
        radius = (y[:, None] ** 2 + x[None, :] ** 2) * 2
        return _rounded(picture * (1 - strength * radius)[..., None])

    return apply


#: Shifts by name. Numbers are powers, factors, shares of the shorter side, JPEG qualities, light lost in the corners.
SHIFTS: Mapping[str, Shift] = MappingProxyType(
    {
        "white-balance-warm": white_balance(1.15, 0.85),
        "white-balance-cool": white_balance(0.85, 1.15),
        "gamma-0.7": gamma(0.7),
        "gamma-1.4": gamma(1.4),
        "saturation-0.6": saturation(0.6),
        "saturation-1.5": saturation(1.5),
        "scale-0.6": scale(0.6),
        "scale-0.8": scale(0.8),
        "scale-1.3": scale(1.3),
        "scale-1.8": scale(1.8),
        "blur-0.4%": blur(0.004),
        "blur-0.8%": blur(0.008),
        "jpeg-40": jpeg(40),
        "jpeg-15": jpeg(15),
        "vignette-0.4": vignette(0.4),
        "vignette-0.8": vignette(0.8),
    }
)
