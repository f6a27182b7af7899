"""The overlay: a map drawn on the upright original, in its size.

The colour map is perceptually even and readable in grey; its strength grows with the map, so that pale places stay as
they were photographed. Lines enclose 50 % and 80 % of its total; those of a map of single pixels, of the map
smoothed by one fortieth of its side, since they would be noise otherwise. Diagonal lines cover what the network
did not see. A strip at the lower edge names target, value, scale and total, with the sentence on what a map is not.
"""

from __future__ import annotations

import io
import math
import textwrap
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from skinclf._utils.arrays import Float32
from skinclf._utils.notice import NOTICE
from skinclf.explanation.explanation import Explanation, enclosing_level
from skinclf.explanation.geometry import sample
from skinclf.images.decode import RGBArray

#: The sentence on every picture.
SENTENCE = "A map shows where this model is sensitive, not why it is right."
COLOURS = "cividis"
SHARES = (0.5, 0.8)
_BAND = 256  # rows that are blended at once, so that a large photo needs little memory
_STRENGTH = 0.75
#: Least side of a map of single pixels; those of layers and of patches are smaller.
_PIXELS = 64
#: Largest share of the picture's height that the strip may cover.
_STRIP = 0.4


def overlay(
    original: RGBArray, found: Explanation, *, scale: float | None = None, with_legend: bool = True
) -> RGBArray:
    """Draw a map.

    Args:
        original: Upright original, or a smaller copy of it, shape (H, W, 3), RGB.
        found: Explanation of this image.
        scale: Value of the strongest colour; None takes the map's own maximum.
        with_legend: Whether the strip with target, scale and the sentence is drawn; a page that leaves it out says the
            same beside the picture.

    Returns:
        Shape (H, W, 3), dtype uint8, RGB.
    """
    top = found.maximum if scale is None else scale
    picture = np.array(original, np.uint8)
    rows, cols = picture.shape[:2]
    smooth = _smoothed(found.shown)
    levels = [enclosing_level(smooth, share) for share in SHARES]
    inside = np.zeros((len(SHARES), rows, cols), np.bool_)
    x = (np.arange(cols) + 0.5) / cols
    shown = found.shown
    for start in range(0, rows, _BAND):
        y = (np.arange(start, min(rows, start + _BAND)) + 0.5) / rows
        values = sample(shown, y, x)
        share = np.clip(values / top, 0, 1)
        alpha = _STRENGTH * np.sqrt(share)[:, :, None]
        colours = _palette()[np.round(share * 255).astype(np.intp)]
        band = picture[start : start + _BAND]
        band[:] = np.round(band * (1 - alpha) + colours * alpha).astype(np.uint8)
        for i, level in enumerate(levels):
            inside[i, start : start + _BAND] = (values if smooth is shown else sample(smooth, y, x)) >= level
    width = max(1, round(min(rows, cols) / 300))
    for region, dark in zip(inside, (False, True), strict=True):
        _outline(picture, region, width, dark=dark)
    _hatch(picture, found.geometry.seen(rows, cols))
    return _with_legend(picture, found, top) if with_legend else picture


def png(original: RGBArray, found: Explanation, *, scale: float | None = None) -> bytes:
    """The overlay as a PNG file, with the sentence in its metadata too; arguments as for `overlay`."""
    texts = PngInfo()
    texts.add_text("Description", f"{SENTENCE} {NOTICE}")
    buffer = io.BytesIO()
    Image.fromarray(overlay(original, found, scale=scale)).save(
        buffer, "PNG", pnginfo=texts, compress_level=1
    )
    return buffer.getvalue()


def legend(found: Explanation, top: float) -> list[str]:
    """Lines of the legend."""
    where = f" at {found.layer}" if found.layer else ""
    first = (
        f"{found.described} {found.log_odds:+.2f} (P = {found.probability:.3f}); {found.method}{where}; what "
    )
    first += "raises it" if found.direction == "raises" else "lowers it (next to nothing raises it)"
    second = f"colour 0 to {top:.3g}; maximum {found.maximum:.3g}, total {found.mass:.3g}"
    second += "; lines: 50 % (white), 80 % (black)"
    unseen = 1 - found.geometry.seen_share
    if unseen > 0.0005:
        second += f"; hatched: not seen by the model ({unseen:.0%})"
    return [first, second, f"{SENTENCE} {NOTICE}"]


def _smoothed(shown: Float32) -> Float32:
    """The map that lines are drawn of: itself, unless it has single pixels."""
    side = min(shown.shape)
    if side < _PIXELS:
        return shown
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(shown, side / 40), np.float32)


@lru_cache(maxsize=1)
def _palette() -> npt.NDArray[np.float64]:
    from matplotlib import colormaps

    return np.asarray(colormaps[COLOURS](np.arange(256))[:, :3] * 255)


def _outline(picture: RGBArray, region: npt.NDArray[np.bool_], width: int, *, dark: bool) -> None:
    """Draw the inner edge of a region, white or black, with the other colour beside it."""
    edge = region & ~_shrunk(region, width)
    beside = _grown(region, width) & ~region
    picture[beside] = 255 if dark else 0
    picture[edge] = 0 if dark else 255


def _shrunk(region: npt.NDArray[np.bool_], width: int) -> npt.NDArray[np.bool_]:
    return ~_grown(~region, width)


def _grown(region: npt.NDArray[np.bool_], width: int) -> npt.NDArray[np.bool_]:
    """Pixels within `width` rows or columns of a region; the picture's edge adds nothing."""
    grown = region.copy()
    for _ in range(width):
        wider = grown.copy()
        wider[1:] |= grown[:-1]
        wider[:-1] |= grown[1:]
        wider[:, 1:] |= grown[:, :-1]
        wider[:, :-1] |= grown[:, 1:]
        grown = wider
    return grown


def _hatch(picture: RGBArray, seen: npt.NDArray[np.bool_]) -> None:
    if seen.all():
        return
    rows, cols = seen.shape
    step = max(6, round(min(rows, cols) / 40))
    line = max(1, step // 6)
    diagonal = (np.arange(rows)[:, None] + np.arange(cols)[None, :]) % step
    picture[~seen] //= 2
    picture[~seen & (diagonal < line)] = 220


def _with_legend(picture: RGBArray, found: Explanation, top: float) -> RGBArray:
    rows, cols = picture.shape[:2]
    for size in range(max(8, round(min(rows, cols) / 42)), 5, -1):
        font = ImageFont.load_default(size)
        per_line = max(8, int((cols - 2 * size) / (0.48 * size)))
        lines = [part for line in legend(found, top) for part in textwrap.wrap(line, per_line)]
        step = math.ceil(size * 1.25)
        height = step * (len(lines) + 1)
        if height <= _STRIP * rows:
            break
    else:
        return picture  # too small for letters; the sentence is in the file's metadata
    image = Image.fromarray(picture)
    strip = Image.new("RGB", (cols, height), (16, 16, 16))
    below = image.crop((0, rows - height, cols, rows))
    image.paste(Image.blend(below, strip, 0.72), (0, rows - height))
    draw = ImageDraw.Draw(image)
    for number, text in enumerate(lines):
        draw.text(
            (size // 2, rows - height + step // 4 + number * step), text, font=font, fill=(245, 245, 245)
        )
    result = np.array(image, np.uint8)
    bar = _palette()[np.linspace(0, 255, max(1, cols - size)).astype(np.intp)]
    thick = max(2, step // 3)
    result[rows - thick - step // 4 : rows - step // 4, size // 2 : size // 2 + len(bar)] = np.round(bar)
    return result
