"""Softmax and sigmoid with scipy's results, without the third of a second that its import takes."""

from __future__ import annotations

import numpy as np

from skinclf._utils.arrays import Floats


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
