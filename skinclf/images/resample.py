"""Bilinear resizing without antialiasing, with the arithmetic of OpenCV and of TensorFlow.

Published models were trained on images resized this way; reproducing it here saves both dependencies.
Sample positions are half-pixel centres; borders repeat.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

_BITS = 11  # OpenCV's INTER_RESIZE_COEF_BITS
_ROWS = 32

_Rows: TypeAlias = npt.NDArray[np.uint8]
_Weights: TypeAlias = npt.NDArray[np.float32]
_Index: TypeAlias = npt.NDArray[np.intp]


def _positions(
    size: int, target: int, kind: type[np.float32 | np.float64]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    """Both neighbours of every sample, clipped to the image, and the weight of the second.

    OpenCV computes positions in float64 and rounds them, TensorFlow computes them in float32.
    """
    steps: npt.NDArray[Any] = np.arange(target, dtype=kind)
    where = ((steps + kind(0.5)) * (kind(size) / kind(target)) - kind(0.5)).astype(np.float32)
    low = np.floor(where)
    weight = (where - low).astype(np.float32)
    first = low.astype(np.intp)
    return np.clip(first, 0, size - 1), np.clip(first + 1, 0, size - 1), weight


def bilinear(image: npt.NDArray[np.uint8], height: int, width: int, *, fixed_point: bool) -> npt.NDArray[Any]:
    """Resize one image.

    Args:
        image: Shape (H, W, C), dtype uint8.
        height: Height of the result, in pixels.
        width: Width of the result, in pixels.
        fixed_point: Arithmetic: True for OpenCV's 11-bit integer arithmetic (result uint8), False for float32
            arithmetic without rounding, as `tf.image.resize` does.

    Returns:
        Shape (height, width, C), uint8 or float32.
    """
    channels = image.shape[2]
    if fixed_point and image.shape[:2] == (height, width):
        return image
    if fixed_point and image.shape[:2] == (2 * height, 2 * width):
        # OpenCV takes its area filter for exact halving.
        quad = image.reshape(height, 2, width, 2, -1).astype(np.int32).sum(axis=(1, 3))
        return np.asarray((quad + 2) >> 2, np.uint8)
    kind = np.float64 if fixed_point else np.float32
    y0, y1, wy = _positions(image.shape[0], height, kind)
    x0, x1, wx = _positions(image.shape[1], width, kind)
    # Whole pixels are picked and rows of plain numbers computed, a few at a time, so that they stay in the cache:
    # six times as fast as all rows at once with three axes.
    pixels = np.ascontiguousarray(image).view(f"V{channels}")[..., 0]
    result = np.empty((height, width * channels), np.uint8 if fixed_point else np.float32)
    wide = np.repeat(wx, channels)
    for start in range(0, height, _ROWS):
        part = slice(start, start + _ROWS)
        used = np.unique(np.concatenate([y0[part], y1[part]]))
        above, below = np.searchsorted(used, y0[part]), np.searchsorted(used, y1[part])
        rows = pixels[used]
        left, right = (np.take(rows, x, axis=1).view(np.uint8) for x in (x0, x1))
        blend = _fixed_point if fixed_point else _floating
        result[part] = blend(left, right, wide, above, below, wy[part, None])
    return result.reshape(height, width, channels)


def _floating(
    left: _Rows, right: _Rows, wx: _Weights, above: _Index, below: _Index, wy: _Weights
) -> _Weights:
    across = _between(left.astype(np.float32), right.astype(np.float32), wx)
    return _between(across[above], across[below], wy)


def _between(first: _Weights, second: _Weights, weight: _Weights) -> _Weights:
    """`first + (second - first) * weight`, which overwrites `second`."""
    second -= first
    second *= weight
    second += first
    return second


def _fixed_point(
    left: _Rows, right: _Rows, wx: _Weights, above: _Index, below: _Index, wy: _Weights
) -> npt.NDArray[np.int32]:
    one = 1 << _BITS
    bx, by = np.rint(wx * one).astype(np.int32), np.rint(wy * one).astype(np.int32)
    rows = right.astype(np.int32)
    rows -= left
    rows *= bx
    rows += left.astype(np.int32) << _BITS
    rows >>= 4
    top, bottom = rows[above], rows[below]
    top *= one - by
    top >>= 16
    bottom *= by
    bottom >>= 16
    top += bottom
    top += 2
    top >>= 2
    return top
