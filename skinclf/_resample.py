"""Bilinear resizing without antialiasing, with the arithmetic of OpenCV and of TensorFlow.

Published models were trained through these resizes; reproducing them here spares both dependencies.
Sample positions are half-pixel centres; borders repeat.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_BITS = 11  # OpenCV's INTER_RESIZE_COEF_BITS


def _positions(
    size: int, target: int, kind: type[np.float32 | np.float64]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    """Both neighbours of every sample, clipped to the image, and the weight of the second.

    OpenCV computes positions in float64 and rounds them, TensorFlow computes them in float32.
    """
    where = ((np.arange(target, dtype=kind) + kind(0.5)) * (kind(size) / kind(target)) - kind(0.5)).astype(
        np.float32
    )
    low = np.floor(where)
    weight = (where - low).astype(np.float32)
    first = low.astype(np.intp)
    return np.clip(first, 0, size - 1), np.clip(first + 1, 0, size - 1), weight


def bilinear(image: npt.NDArray[np.uint8], height: int, width: int, *, fixed_point: bool) -> npt.NDArray[Any]:
    """Resize one image.

    Args:
        image: Shape (H, W, C), dtype uint8.
        height: Rows of the result.
        width: Columns of the result.
        fixed_point: True for OpenCV's 11-bit integer arithmetic (result uint8), False for float32
            arithmetic without rounding, as `tf.image.resize` does.

    Returns:
        Shape (height, width, C), uint8 or float32.
    """
    kind = np.float64 if fixed_point else np.float32
    y0, y1, wy = _positions(image.shape[0], height, kind)
    x0, x1, wx = _positions(image.shape[1], width, kind)
    if not fixed_point:
        rows = image.astype(np.float32)
        left, right = rows[:, x0], rows[:, x1]
        across = left + (right - left) * wx[None, :, None]
        top, bottom = across[y0], across[y1]
        return np.asarray(top + (bottom - top) * wy[:, None, None], dtype=np.float32)
    if image.shape[:2] == (height, width):
        return image
    if (image.shape[0], image.shape[1]) == (2 * height, 2 * width):
        # OpenCV takes its area filter for exact halving.
        quad = image.reshape(height, 2, width, 2, -1).astype(np.int32).sum(axis=(1, 3))
        return np.asarray((quad + 2) >> 2, np.uint8)
    one = 1 << _BITS
    bx = np.rint(wx * one).astype(np.int32)[None, :, None]
    by = np.rint(wy * one).astype(np.int32)[:, None, None]
    used = np.unique(np.concatenate([y0, y1]))
    rows32 = image[used].astype(np.int32)
    across32 = (rows32[:, x0] * (one - bx) + rows32[:, x1] * bx) >> 4
    top32, bottom32 = across32[np.searchsorted(used, y0)], across32[np.searchsorted(used, y1)]
    total = ((top32 * (one - by)) >> 16) + ((bottom32 * by) >> 16) + 2
    return np.asarray(np.clip(total >> 2, 0, 255), np.uint8)
