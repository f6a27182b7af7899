"""Array types by dtype, shared by every room, whose shapes stand in the docstrings; softmax and sigmoid of arrays.

The functions have scipy's results, without the third of a second that its import takes.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Bools: TypeAlias = npt.NDArray[np.bool_]
Ints: TypeAlias = npt.NDArray[np.intp]
Float32: TypeAlias = npt.NDArray[np.float32]
Floats: TypeAlias = npt.NDArray[np.float64]
#: Counts of each row in each bootstrap replicate, shape (B, N), or weights of rows, shape (N,).
RowWeights: TypeAlias = npt.NDArray[Any]


def softmax(values: Floats) -> Floats:
    """`exp(x)` over its sum along the last axis, shape (N, K); the arithmetic of `scipy.special.softmax`."""
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    result: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return result


def log_softmax(values: Floats) -> Floats:
    """Logarithm of `softmax`, shape (N, K); the arithmetic of `scipy.special.log_softmax`."""
    shifted = values - values.max(axis=-1, keepdims=True)
    result: Floats = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def expit(values: Floats) -> Floats:
    """`1 / (1 + exp(-x))`, any shape; no overflow at either end."""
    with np.errstate(under="ignore"):
        small = np.exp(-np.abs(values))
    result: Floats = np.where(np.asarray(values) >= 0, 1.0, small) / (1.0 + small)
    return result
