"""Measures of one picture: size, light, focus, artefacts, and the looks that familiarity is judged by.

Everything is measured at one fixed size (shorter side `SIDE`), so that a picture and its thumbnail get the same
answer. Runs in decode workers, on the picture that was decoded for the network.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from skinclf._utils.arrays import Float32
from skinclf.inference.gate.artefacts import bubbles, hats, ink_share, lines, ruler_ticks, text_signs

#: Shorter side of a picture as it is measured, in pixels; a longer side stops at four times as much.
SIDE = 192
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
    "hair",
    "ruler",
    "ink",
    "bubbles",
    "text",
)
_CELLS = 6
_QUANTILES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
_TILE = 24
#: Values that describe the looks, after the measures: block to number of values. Each block has a Gaussian of its own.
BLOCKS = {"places": 3 * _CELLS**2, "colours": 3 * len(_QUANTILES), "texture": 12}
#: Number of all of them.
LOOKS = sum(BLOCKS.values())


def measure(picture: Image.Image) -> Float32:
    """Measures and looks of an RGB picture, shape (len(NAMES) + LOOKS,), float32.

    Args:
        picture: RGB picture, upright.
    """
    small = _working_size(picture)
    # Planes of their own: numpy is several times as fast along them as along the last of three axes.
    rgb = np.ascontiguousarray(np.moveaxis(np.asarray(small), 2, 0), np.float32)
    grey = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]
    coarse = _shrunk(rgb, 3)
    chroma = np.maximum(np.maximum(coarse[0], coarse[1]), coarse[2]) - _least(coarse)
    black, white = hats(grey)
    values = (
        min(picture.size),
        max(float(plane.std()) for plane in rgb),
        np.quantile(chroma, 0.99),
        np.median(coarse[1]),
        (grey < 30).mean(),
        (_least(rgb) > 245).mean(),
        _focus(grey),
        _uneven(grey),
        _corners(grey),
        lines(black),
        max(ruler_ticks(black), ruler_ticks(white)),
        ink_share(coarse),
        bubbles(grey, white),
        max(text_signs(black), text_signs(white)),
    )
    return np.concatenate([np.asarray(values, np.float32), _looks(small, coarse)])


def _working_size(picture: Image.Image) -> Image.Image:
    factor = SIDE / min(picture.size)
    size = [min(4 * SIDE, max(1, round(x * factor))) for x in picture.size]
    if tuple(size) == picture.size:
        return picture
    return picture.resize((size[0], size[1]), Image.Resampling.BILINEAR, reducing_gap=2.0)


def _least(rgb: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.asarray(np.minimum(np.minimum(rgb[0], rgb[1]), rgb[2]), np.float32)


def _tiles(values: npt.NDArray[np.float32], size: int) -> npt.NDArray[np.float32]:
    """Square tiles, shape (rows, columns, size * size); what is left over at the edges is dropped."""
    rows, cols = values.shape[0] // size, values.shape[1] // size
    cut = values[: rows * size, : cols * size].reshape(rows, size, cols, size)
    return cut.swapaxes(1, 2).reshape(rows, cols, size * size)


def _focus(grey: npt.NDArray[np.float32]) -> float:
    """Fine against coarse detail of the tiles that have most of it; falls with blur, not with contrast.

    Fine detail is the difference of neighbours, coarse detail that of pixels 4 apart; a sharp step has the same in
    both, a smooth ramp four times as much in the second.
    """
    fine = np.abs(grey[4:, 4:] - grey[4:, 3:-1]) + np.abs(grey[4:, 4:] - grey[3:-1, 4:])
    coarse = np.abs(grey[4:, 4:] - grey[4:, :-4]) + np.abs(grey[4:, 4:] - grey[:-4, 4:])
    top_fine = np.sqrt((_tiles(fine, _TILE) ** 2).mean(axis=2))
    top_coarse = np.sqrt((_tiles(coarse, _TILE) ** 2).mean(axis=2))
    # Where there is structure at all; noise of the sensor is no focus.
    ratio = np.where(top_coarse > 6, top_fine / np.maximum(top_coarse, 1), 0)
    return float(np.quantile(ratio, 0.9)) if ratio.size else 0.0


def _uneven(grey: npt.NDArray[np.float32]) -> float:
    """Fall of brightness from one side to the other, as a share of the mean, by a plane through bright tiles."""
    tiles = np.quantile(_tiles(grey, _TILE), 0.75, axis=2)
    rows, cols = np.indices(tiles.shape)
    x = np.stack(
        [rows.ravel() / max(1, tiles.shape[0] - 1), cols.ravel() / max(1, tiles.shape[1] - 1)], axis=1
    )
    design = np.column_stack([np.ones(len(x)), x - 0.5])
    solution = np.linalg.lstsq(design, tiles.ravel().astype(np.float64), rcond=None)[0]
    return float(np.hypot(solution[1], solution[2]) / max(float(tiles.mean()), 1.0))


def _corners(grey: npt.NDArray[np.float32]) -> float:
    """Share of the picture that is black and lies in its corners, outside of the largest ellipse."""
    height, width = grey.shape
    rows, cols = np.ogrid[:height, :width]
    outside = ((rows + 0.5) / height * 2 - 1) ** 2 + ((cols + 0.5) / width * 2 - 1) ** 2 > 1
    return float(((grey < 40) & outside).mean())


def _looks(small: Image.Image, coarse: npt.NDArray[np.float32]) -> Float32:
    """Colours by place, quantiles of colours, and the strength of differences at two scales; see `BLOCKS`."""
    cells = np.asarray(small.resize((_CELLS, _CELLS), Image.Resampling.BOX), np.float32)
    quantiles = np.quantile(_contrasts(coarse).reshape(3, -1), _QUANTILES, axis=1)
    values = [_contrasts(np.moveaxis(cells, 2, 0)).ravel(), quantiles.ravel()]
    grey = coarse.mean(axis=0)
    for _ in range(2):
        for axis in (1, 0):
            step = np.abs(np.diff(grey, axis=axis))
            high, middle = np.quantile(step, (0.95, 0.5))
            values.append(np.log([step.mean() + 0.1, high + 0.3, middle + 0.3]))
        grey = _shrunk(grey, 2)
    return np.concatenate(values).astype(np.float32)


def _contrasts(rgb: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Logarithms of brightness, of red over green and of green over blue, shape (3, H, W)."""
    logs = np.log(rgb + 8)
    return np.stack([logs.mean(axis=0), logs[0] - logs[1], logs[1] - logs[2]])


def _shrunk(values: npt.NDArray[np.float32], by: int) -> npt.NDArray[np.float32]:
    """Means of squares of `by` x `by` over the last two axes; what is left over at the edges is dropped."""
    rows, cols = values.shape[-2] // by, values.shape[-1] // by
    cut = values[..., : rows * by, : cols * by]
    parts = [cut[..., i::by, j::by] for i in range(by) for j in range(by)]
    return np.asarray(sum(parts[1:], start=parts[0]) / len(parts), np.float32)
