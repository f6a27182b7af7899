"""Measures of one picture: size, light, focus, artefacts, and the looks that familiarity is judged by.

Everything is measured at one fixed size (shorter side `SIDE`), so that a picture and its thumbnail get the same
answer. Runs in decode workers, on the picture that was decoded for the network, and costs a small part of that: thin
structures are sought in bytes of grey, colours at a third of the size.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from skinclf._utils.arrays import Float32
from skinclf.inference.gate.artefacts import MARKS, MARKS_SIDE, ink_share, thin_marks

#: Version of the measures and of how they are weighed; a gate that was fitted under another one is refused.
MEASURES = 2
#: Shorter side of a picture as it is measured, in pixels; a longer side stops at four times as much.
SIDE = 150
#: Measures by name, in the order of their array.
NAMES = (
    "side",
    "spread",
    "chroma",
    "light",
    "dark_share",
    "bright_share",
    "focus",
    "uneven",
    "corners",
    "ink",
    *MARKS,
)
_UNKNOWN = (float("nan"),) * len(MARKS)
_COARSE = 3
_CELLS = 6
_QUANTILES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
_TILE = 18
#: Rows, columns and values of a small picture, whose patches are judged; an upright picture lies on its side in it.
THUMBNAIL = (24, 32, 3)
#: Name of the block that holds the small picture.
PATCHES = "patches"
#: Values that describe the looks, after the measures: block to number of values. Each block has a Gaussian of its own.
BLOCKS = {
    "places": 3 * _CELLS**2,
    "colours": 3 * len(_QUANTILES),
    "texture": 12,
    PATCHES: THUMBNAIL[0] * THUMBNAIL[1] * THUMBNAIL[2],
}
#: Number of all of them.
LOOKS = sum(BLOCKS.values())
_LOGS = np.log(np.arange(256, dtype=np.float32) + 8)
_Bytes = npt.NDArray[np.uint8]


def measure(picture: Image.Image, *, marks: bool = True) -> Float32:
    """Measures and looks of an RGB picture, shape (len(NAMES) + LOOKS,), float32.

    Args:
        picture: RGB picture, upright.
        marks: Whether to look for thin structures (`MARKS`), which takes most of the time; otherwise they are NaN.
    """
    grey, colours = _working_sizes(picture)
    # Planes of their own: numpy is several times as fast along them as along the last of three axes.
    rgb = np.ascontiguousarray(np.asarray(colours).transpose(2, 0, 1))
    least = np.minimum(np.minimum(rgb[0], rgb[1]), rgb[2])
    chroma = np.maximum(np.maximum(rgb[0], rgb[1]), rgb[2]) - least
    light = (rgb[0].astype(np.float32) + rgb[1] + rgb[2]) / np.float32(3)
    values = (
        min(picture.size),
        rgb[:, ::2, ::2].std(axis=(1, 2), dtype=np.float32).max(),
        _level(chroma, 0.99),
        _level(rgb[1], 0.5),
        np.count_nonzero(light < 30) / light.size,
        np.count_nonzero(least > 245) / least.size,
        _focus(grey),
        _uneven(light),
        np.count_nonzero((light < 40) & _outside(light.shape)) / light.size,
        ink_share(rgb),
        *(thin_marks(_grey(picture, *_size(picture, MARKS_SIDE))) if marks else _UNKNOWN),
    )
    return np.concatenate([np.asarray(values, np.float32), _looks(colours, rgb, light)])


def _working_sizes(picture: Image.Image) -> tuple[_Bytes, Image.Image]:
    """The picture in grey with the shorter side `SIDE`, and in colour at a third of that size."""
    width, height = _size(picture, SIDE)
    # Whole factors first: they are by far the fastest, and leave few pixels to the rest.
    near = _reduced(picture, width, height)
    small = (width // _COARSE, height // _COARSE)
    return _grey(near, width, height), _reduced(near, *small).resize(small, Image.Resampling.BILINEAR)


def _size(picture: Image.Image, side: int) -> tuple[int, int]:
    """Width and height of a picture with this shorter side; the longer one is at most four times as long."""
    factor = side / min(picture.size)
    return min(4 * side, round(picture.width * factor)), min(4 * side, round(picture.height * factor))


def _grey(picture: Image.Image, width: int, height: int) -> _Bytes:
    """The picture in grey at a size."""
    grey = _reduced(picture, width, height).convert("L")
    return np.asarray(grey.resize((width, height), Image.Resampling.BILINEAR))


def _reduced(picture: Image.Image, width: int, height: int) -> Image.Image:
    """The picture over whole factors, not below the given size."""
    by = (max(1, picture.width // width), max(1, picture.height // height))
    return picture if by == (1, 1) else picture.reduce(by)


def _ranked(values: npt.NDArray[Any], *shares: float) -> npt.NDArray[Any]:
    """The values that lie at these shares of their order along the last axis; the shares come last."""
    at = [round(share * (values.shape[-1] - 1)) for share in shares]
    return np.asarray(np.partition(values, at, axis=-1)[..., at])


def _level(values: _Bytes, share: float) -> int:
    """The level that this share of bytes does not exceed."""
    counts = np.bincount(values.ravel(), minlength=256).cumsum()
    return int(np.searchsorted(counts, share * values.size))


def _focus(grey: _Bytes) -> float:
    """Fine against coarse detail of the tiles that have most of it; falls with blur, not with contrast.

    Fine detail is the difference of neighbours, coarse detail that of pixels 3 apart; a sharp step has the same in
    both, a smooth ramp three times as much in the second. At every other pixel of every other row, which is enough.
    """
    x = grey.astype(np.int16)
    here = x[3::2, 3::2]
    fine = np.abs(here - x[3::2, 2:-1:2]) + np.abs(here - x[2:-1:2, 3::2])
    coarse = np.abs(here - x[3::2, :-3:2]) + np.abs(here - x[:-3:2, 3::2])
    top_fine, top_coarse = (
        np.sqrt(_tile_means(d.astype(np.float32) ** 2, _TILE // 2)) for d in (fine, coarse)
    )
    # Where there is structure at all; noise of the sensor is no focus.
    ratio = np.where(top_coarse > 6, top_fine / np.maximum(top_coarse, 1), 0)
    return float(_ranked(ratio.ravel(), 0.9)[0])


def _uneven(light: Float32) -> float:
    """Fall of brightness from one side to the other, as a share of the mean, by a plane through tiles."""
    tiles = _tile_means(light, _TILE // _COARSE)
    rows, cols = map(_positions, tiles.shape)
    down, across = tiles.mean(axis=1) @ rows / (rows @ rows), tiles.mean(axis=0) @ cols / (cols @ cols)
    return float(np.hypot(down, across) / max(float(tiles.mean()), 1.0))


@lru_cache(maxsize=64)
def _positions(count: int) -> npt.NDArray[np.float64]:
    """Places of so many tiles between one side and the other, -0.5 to 0.5."""
    return np.linspace(-0.5, 0.5, count)


def _tile_means(values: Float32, size: int) -> Float32:
    """Means of square tiles; what is left over at the edges is dropped."""
    down, across = (_averaging(n, size) for n in values.shape)
    return np.asarray(down @ values @ across.T)


@lru_cache(maxsize=64)
def _averaging(length: int, size: int) -> Float32:
    """Matrix from so many pixels to the means of `size` of them."""
    whole = np.repeat(np.eye(length // size, dtype=np.float32) / size, size, axis=1)
    return np.pad(whole, ((0, 0), (0, length - whole.shape[1])))


@lru_cache(maxsize=64)
def _outside(shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """What lies in the corners of a picture, outside of the largest ellipse."""
    rows, cols = (((np.arange(n) + 0.5) / n * 2 - 1) ** 2 for n in shape)
    return np.asarray(rows[:, None] + cols > 1)


def _looks(colours: Image.Image, rgb: _Bytes, light: Float32) -> Float32:
    """Colours by place, quantiles of colours, differences at two scales, and a small picture; see `BLOCKS`."""
    cells = np.asarray(colours.resize((_CELLS, _CELLS), Image.Resampling.BOX)).reshape(-1, 3).T
    places = _contrasts(cells)
    colour = _ranked(_contrasts(rgb[:, ::2, ::2].reshape(3, -1)), *_QUANTILES)
    texture = []
    for _ in range(2):
        here = light[:-1, :-1]
        steps = np.stack([light[:-1, 1:] - here, light[1:, :-1] - here]).reshape(2, -1)
        steps = np.abs(steps, out=steps)
        texture += [steps.mean(axis=1) + 0.1, *(_ranked(steps, 0.95, 0.5) + 0.3).T]
        rows, cols = light.shape[0] // 2 * 2, light.shape[1] // 2 * 2
        halves = light[:rows:2, :cols] + light[1:rows:2, :cols]
        light = np.asarray((halves[:, ::2] + halves[:, 1::2]) / 4, np.float32)
    values = [places.ravel(), colour.ravel(), np.log(np.concatenate(texture)), _thumbnail(colours)]
    return np.concatenate(values)


def _thumbnail(colours: Image.Image) -> Float32:
    """The picture at the size `THUMBNAIL` in contrasts of colours, flat."""
    rows, cols, _ = THUMBNAIL
    lying = colours if colours.width >= colours.height else colours.transpose(Image.Transpose.ROTATE_90)
    small = np.asarray(lying.resize((cols, rows), Image.Resampling.BOX))
    return _contrasts(small.reshape(-1, 3).T).T.ravel()


def _contrasts(rgb: _Bytes) -> Float32:
    """Logarithms of brightness, of red over green and of green over blue, shape (3, N)."""
    logs = _LOGS[rgb]
    return np.stack([(logs[0] + logs[1] + logs[2]) / 3, logs[0] - logs[1], logs[1] - logs[2]])
