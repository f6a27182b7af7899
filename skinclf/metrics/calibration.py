"""Calibration metrics: ECE, Brier score, log loss, slope and intercept.

Every function takes `weights` of shape (B, N), how often each row counts in each of B bootstrap
replicates, and gives one value per replicate; `None` counts each row once and gives B = 1.

Sources: Guo et al., ICML 2017 (expected calibration error); Cox, Biometrika 1958, and Van Calster et al.,
BMC Medicine 2019 (slope and intercept); Brier, Monthly Weather Review 1950.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from skinclf._utils.arrays import Floats, RowWeights

#: Customary number of equal-width bins.
BINS = 15
#: Probabilities are kept this far from 0 and 1 before a logarithm: half a step of float32 below 1.
TINY = 2.0**-25


def expected_calibration_error(
    probability: npt.ArrayLike, outcome: npt.ArrayLike, weights: RowWeights | None = None, *, bins: int = BINS
) -> Floats:
    """Expected calibration error over equal-width bins, the last of which includes 1; shape (B,).

    Args:
        probability: What was predicted, shape (N,): confidence (top-label) or P(class) (binary).
        outcome: Whether it came true, shape (N,), 0/1: the answer was right, or the class is present.
        weights: Shape (B, N).
        bins: How many.
    """
    p, y = np.asarray(probability, np.float64), np.asarray(outcome, np.float64)
    member = np.zeros((p.size, bins))
    member[np.arange(p.size), bin_index(p, bins)] = p - y
    w = _weights(weights, p.size)
    return np.asarray(np.abs(w @ member).sum(axis=1) / w.sum(axis=1, dtype=np.float64))


def classwise_ece(
    probabilities: npt.ArrayLike, truth: npt.ArrayLike, weights: RowWeights | None = None, *, bins: int = BINS
) -> Floats:
    """Mean over classes of each class's binary expected calibration error, shape (B,) (Kull et al. 2019).

    Args:
        probabilities: Shape (N, K).
        truth: Class index, shape (N,).
        weights: Shape (B, N).
        bins: How many.
    """
    p, y = np.asarray(probabilities), np.asarray(truth)
    each = [expected_calibration_error(p[:, k], y == k, weights, bins=bins) for k in range(p.shape[1])]
    return np.asarray(np.mean(each, axis=0))


def bin_index(probability: npt.ArrayLike, bins: int = BINS) -> npt.NDArray[np.intp]:
    """Bin of each probability, 0 to `bins - 1`: [0, 1/bins), ..., [1 - 1/bins, 1]."""
    return np.minimum((np.asarray(probability, np.float64) * bins).astype(np.intp), bins - 1)


def brier(probability: npt.ArrayLike, outcome: npt.ArrayLike, weights: RowWeights | None = None) -> Floats:
    """Mean squared error of probabilities, shape (B,).

    Args:
        probability: Shape (N,), or (N, K) for the sum over classes (between 0 and 2).
        outcome: 0/1 of shape (N,), or class index of shape (N,) with (N, K) probabilities.
        weights: Shape (B, N).
    """
    p, y = np.asarray(probability, np.float64), np.asarray(outcome)
    if p.ndim == 2:
        return _mean(((p - np.eye(p.shape[1])[y]) ** 2).sum(axis=1), weights)
    return _mean((p - y) ** 2, weights)


def log_loss(probability: npt.ArrayLike, outcome: npt.ArrayLike, weights: RowWeights | None = None) -> Floats:
    """Negative log-likelihood per row in nats, shape (B,); arguments as for `brier`."""
    p, y = np.asarray(probability, np.float64), np.asarray(outcome)
    taken = p[np.arange(y.size), y] if p.ndim == 2 else np.where(y == 1, p, 1 - p)
    return _mean(-np.log(np.clip(taken, TINY, 1.0)), weights)


def slope_and_intercept(
    probability: npt.ArrayLike, outcome: npt.ArrayLike, weights: RowWeights | None = None
) -> tuple[Floats, Floats]:
    """Calibration slope and calibration-in-the-large, each of shape (B,).

    The slope b is that of the logistic regression `logit P(y) = a + b * logit(p)`: 1 is ideal, below 1
    predictions are too extreme. The intercept is a with b fixed at 1: 0 is ideal, below 0 risks are
    overstated. NaN where a regression has no finite answer (one class, or perfect separation).

    Args:
        probability: Shape (N,), of the positive class.
        outcome: 0/1, shape (N,).
        weights: Shape (B, N).
    """
    p = np.clip(np.asarray(probability, np.float64), TINY, 1 - TINY)
    logit, y = np.log(p / (1 - p)), np.asarray(outcome, np.float64)
    w = _weights(weights, p.size)
    ones = np.ones_like(logit)
    slope = _logistic(np.stack([ones, logit]), np.zeros_like(logit), y, w)[:, 1]
    return slope, _logistic(ones[None], logit, y, w)[:, 0]


def _logistic(columns: Floats, offset: Floats, y: Floats, weights: RowWeights) -> Floats:
    """Weighted logistic regressions without penalty; columns (P, N), coefficients (B, P), NaN where none."""
    pooled = _newton(
        columns, offset, y, weights.sum(axis=0, dtype=np.float64)[None], np.zeros((1, len(columns)))
    )
    if len(weights) == 1 or np.isnan(pooled).any():
        return pooled if len(weights) == 1 else np.full((len(weights), len(columns)), np.nan)
    return _newton(columns, offset, y, weights, np.repeat(pooled, len(weights), axis=0))


def _newton(columns: Floats, offset: Floats, y: Floats, weights: RowWeights, beta: Floats) -> Floats:
    size = len(columns)
    rows, cols = np.indices((size, size)).reshape(2, -1)
    squares = (columns[rows] * columns[cols]).T
    result = np.full(beta.shape, np.nan)
    active = np.arange(len(beta))
    for _ in range(30):
        w = weights[active]
        fit = expit(beta[active] @ columns + offset)
        slope = (w * (y - fit)) @ columns.T
        curve = ((w * (fit * (1 - fit))) @ squares).reshape(-1, size, size)
        # A flat likelihood has no finite maximum: separation, or a single class.
        solid = np.linalg.det(curve) > 1e-9 * w.sum(axis=1, dtype=np.float64)
        active, slope, curve = active[solid], slope[solid], curve[solid]
        if not active.size:
            break
        step = np.linalg.solve(curve, slope[..., None])[..., 0]
        beta[active] += step
        # Newton's error squares at each step, so this leaves about 1e-12.
        done = np.abs(step).max(axis=1) < 1e-6
        result[active[done]] = beta[active[done]]
        active = active[~done]
    return result


def _weights(weights: RowWeights | None, rows: int) -> RowWeights:
    return np.ones((1, rows)) if weights is None else weights


def _mean(values: Floats, weights: RowWeights | None) -> Floats:
    w = _weights(weights, values.size)
    return np.asarray((w @ values) / w.sum(axis=1, dtype=np.float64))
