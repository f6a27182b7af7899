"""Cluster bootstrap: replicates, percentile and inflated intervals.

Source: Field & Welsh, JRSS B 2007.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from skinclf._utils.arrays import Floats, RowWeights
from skinclf.errors import InvalidArgumentError
from skinclf.metrics.clusters import cluster_index
from skinclf.metrics.intervals import Bounds, check_confidence

#: Function of row weights, shape (B, N) float32 (how often each row counts), to B values, shape (B,) or (B, M).
Statistic: TypeAlias = Callable[[RowWeights], Floats]

#: Rows times replicates in memory at once; 16 MB of float32 weights.
_CHUNK = 1 << 22


def cluster_weights(groups: npt.ArrayLike, *, replicates: int, seed: int) -> Iterator[RowWeights]:
    """Bootstrap replicates as row weights: whole clusters are drawn with replacement.

    Args:
        groups: Cluster of each row, shape (N,); `numpy.arange(N)` for independent rows.
        replicates: Number of replicates.
        seed: Seed of the random numbers; equal seeds give equal replicates, as paired comparisons need.

    Yields:
        How often each row counts, shape (chunk, N), float32 whole numbers.
    """
    index = cluster_index(groups)
    rng = np.random.default_rng(seed)
    clusters = int(index.max()) + 1
    chunk = max(1, _CHUNK // max(index.size, 1))
    for start in range(0, replicates, chunk):
        size = min(chunk, replicates - start)
        drawn = rng.integers(0, clusters, size=(size, clusters))
        drawn += np.arange(size)[:, None] * clusters
        counts = np.bincount(drawn.ravel(), minlength=size * clusters).reshape(size, clusters)
        yield counts.astype(np.float32)[:, index]


def bootstrap_replicates(
    statistic: Statistic, groups: npt.ArrayLike, *, replicates: int = 2000, seed: int
) -> Floats:
    """The statistic on bootstrap replicates, shape (replicates,) or (replicates, M).

    Args:
        statistic: Computes many replicates at once from row weights; NaN where undefined.
        groups: Cluster of each row, shape (N,).
        replicates: Number of replicates.
        seed: Seed of the random numbers.

    Raises:
        InvalidArgumentError: No rows or no replicates.
    """
    if replicates < 1 or np.asarray(groups).size == 0:
        raise InvalidArgumentError("A bootstrap needs at least one row and one replicate.")
    parts = [statistic(weights) for weights in cluster_weights(groups, replicates=replicates, seed=seed)]
    return np.concatenate(parts)


def percentile_interval(replicates: npt.ArrayLike, *, confidence: float = 0.95) -> Bounds:
    """Percentile bounds over the first axis; NaN replicates are left out, NaN when all are."""
    tail = (1 - check_confidence(confidence)) / 2
    values = np.asarray(replicates, np.float64)
    empty = np.isnan(values).all(axis=0)
    low, high = np.nanquantile(np.where(empty, 0.0, values), [tail, 1 - tail], axis=0)
    return np.where(empty, np.nan, low), np.where(empty, np.nan, high)


def inflated_interval(value: npt.ArrayLike, replicates: npt.ArrayLike, *, confidence: float = 0.95) -> Bounds:
    """Bootstrap bounds for statistics that noise can only raise, such as expected calibration errors.

    A replicate adds the noise of its resampling to that of the sample, so percentiles lie too high, often
    above the value itself, and always miss a true 0. The upper bound is the percentile; the lower one goes
    down from the value by three times the mean excess of the replicates (1 + sqrt 2 times is what absolute
    normal gaps around 0 need, sparse bins a little more) and by half a width, not below 0.

    Args:
        value: The statistic, shape () or (M,); not negative.
        replicates: Shape (R,) or (R, M).
        confidence: Nominal coverage.
    """
    centre, draws = np.asarray(value, np.float64), np.asarray(replicates, np.float64)
    _, high = percentile_interval(draws, confidence=confidence)
    mean = draws.mean(axis=0)
    low = centre - 3 * np.maximum(mean - centre, 0) - (high - mean)
    return np.maximum(low, 0.0), np.maximum(high, centre)


def cluster_bootstrap(
    statistic: Statistic,
    groups: npt.ArrayLike,
    *,
    replicates: int = 2000,
    seed: int,
    confidence: float = 0.95,
) -> Bounds:
    """Percentile interval of any statistic under resampling of whole clusters.

    Args:
        statistic: Takes row weights (B, N) float32, gives (B,) or (B, M); see `roc_auc_statistic`.
        groups: Cluster of each row, shape (N,).
        replicates: Number of replicates.
        seed: Seed of the random numbers.
        confidence: Nominal coverage; approached as the number of clusters grows.

    Returns:
        Lower and upper bounds, shape () or (M,).
    """
    return percentile_interval(
        bootstrap_replicates(statistic, groups, replicates=replicates, seed=seed), confidence=confidence
    )


def roc_auc_statistic(y_true: npt.ArrayLike, score: npt.ArrayLike) -> Statistic:
    """Weighted area under the ROC curve as a bootstrap statistic: one sort, then sums over columns.

    Args:
        y_true: 0 or 1 per row, shape (N,).
        score: Shape (N,); ties count one half.
    """
    values = np.asarray(score)
    order = np.argsort(values, kind="stable")
    truth = np.asarray(y_true)[order].astype(np.float32)
    starts = np.flatnonzero(np.r_[True, np.diff(values[order]) != 0])

    def auc(weights: RowWeights) -> Floats:
        ordered = weights[:, order]
        # float64: the products below run beyond float32's whole numbers.
        positive: Any = np.add.reduceat(ordered * truth, starts, axis=1).astype(np.float64)
        negative: Any = np.add.reduceat(ordered * (1 - truth), starts, axis=1).astype(np.float64)
        below = np.cumsum(negative, axis=1) - negative / 2
        pairs = positive.sum(axis=1) * negative.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.where(pairs > 0, (positive * below).sum(axis=1) / pairs, np.nan))

    return auc
