"""Confidence intervals: exact ones for proportions, the cluster bootstrap for everything else.

Sources: Clopper & Pearson, Biometrika 1934; Wilson, JASA 1927; Korn & Graubard, Survey Methodology 1998
(effective sample size of clustered proportions); Field & Welsh, JRSS B 2007 (cluster bootstrap).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from skinclf.errors import InvalidInputError

Floats: TypeAlias = npt.NDArray[np.float64]
Weights: TypeAlias = npt.NDArray[np.float32]
Bounds: TypeAlias = tuple[Floats, Floats]
#: Takes how often each row counts, shape (B, N) float32, and gives B values, shape (B,) or (B, M).
Statistic: TypeAlias = Callable[[Weights], Floats]

#: Rows times replicates held at once; 16 MB of float32 weights.
_CHUNK = 1 << 22


def check_confidence(confidence: float) -> float:
    """The confidence itself, when it lies strictly between 0 and 1.

    Raises:
        InvalidInputError: It does not.
    """
    if not 0 < confidence < 1:
        raise InvalidInputError(f"confidence lies between 0 and 1, such as 0.95; received {confidence}.")
    return confidence


def _counts(k: npt.ArrayLike, n: npt.ArrayLike) -> tuple[Floats, Floats]:
    hits, total = np.asarray(k, np.float64), np.asarray(n, np.float64)
    if not (np.all(hits >= 0) and np.all(hits <= total)):
        raise InvalidInputError(f"A proportion needs 0 <= k <= n; received k={k!r}, n={n!r}.")
    return hits, total


def clopper_pearson(k: npt.ArrayLike, n: npt.ArrayLike, *, confidence: float = 0.95) -> Bounds:
    """Exact two-sided interval of a binomial proportion, vectorised.

    Args:
        k: Successes; need not be whole (effective counts).
        n: Trials; 0 gives (0, 1).
        confidence: Coverage that is never undercut.

    Returns:
        Lower and upper bounds, float64, of the broadcast shape of `k` and `n`.

    Raises:
        InvalidInputError: `k` is not within 0 and `n`, or `confidence` not between 0 and 1.
    """
    tail = (1 - check_confidence(confidence)) / 2
    return _beta_lower(k, n, tail), 1 - _beta_lower(np.subtract(n, k), n, tail)


def one_sided_lower(k: npt.ArrayLike, n: npt.ArrayLike, *, confidence: float = 0.95) -> Floats:
    """Exact bound that a binomial proportion exceeds with the given confidence (Clopper-Pearson).

    Args:
        k: Successes.
        n: Trials; 0 gives 0.
        confidence: One-sided confidence.

    Raises:
        InvalidInputError: As for `clopper_pearson`.
    """
    return _beta_lower(k, n, 1 - check_confidence(confidence))


def _beta_lower(k: npt.ArrayLike, n: npt.ArrayLike, tail: float) -> Floats:
    from scipy.special import betaincinv

    hits, total = np.broadcast_arrays(*_counts(k, n))
    result = np.zeros(hits.shape)
    some = hits > 0
    result[some] = betaincinv(hits[some], total[some] - hits[some] + 1, tail)
    return result


def wilson(k: npt.ArrayLike, n: npt.ArrayLike, *, confidence: float = 0.95) -> Bounds:
    """Wilson's score interval of a binomial proportion: covers at the nominal rate on average, not always.

    Args:
        k: Successes.
        n: Trials; 0 gives (0, 1).
        confidence: Nominal coverage.

    Returns:
        Lower and upper bounds, float64.

    Raises:
        InvalidInputError: As for `clopper_pearson`.
    """
    from scipy.special import ndtri

    hits, total = np.broadcast_arrays(*_counts(k, n))
    z = float(ndtri((1 + check_confidence(confidence)) / 2))
    size = np.maximum(total, 1.0)
    p = hits / size
    centre = (p + z * z / (2 * size)) / (1 + z * z / size)
    half = z * np.sqrt(p * (1 - p) / size + z * z / (4 * size * size)) / (1 + z * z / size)
    # At k = 0 and k = n the formula gives 0 and 1 up to rounding.
    low = np.where(hits == 0, 0.0, np.maximum(centre - half, 0.0))
    high = np.where(hits == total, 1.0, np.minimum(centre + half, 1.0))
    return np.where(total == 0, 0.0, low), np.where(total == 0, 1.0, high)


def effective_size(success: npt.ArrayLike, groups: npt.ArrayLike) -> float:
    """How many independent trials a clustered proportion is worth (Korn & Graubard 1998).

    Args:
        success: 0 or 1 per row, shape (N,).
        groups: Cluster of each row (any hashable labels), shape (N,).

    Returns:
        At most N and at least (sum m)^2 / (sum m^2) over cluster sizes m, which is its value when the rows
        of a cluster always agree; so it is when the proportion is 0 or 1, where the data say nothing.
        (`clopper_pearson(p * size, size)` is then the interval of the proportion p.)
    """
    from scipy.special import stdtrit

    values = np.asarray(success, np.float64)
    index = cluster_index(groups)
    n, clusters = values.size, int(index.max()) + 1 if values.size else 0
    sizes = np.bincount(index, minlength=clusters).astype(np.float64)
    if n in {0, clusters}:
        return float(n)
    worst = n * n / float((sizes**2).sum())
    p = float(values.mean())
    if clusters < 2 or p in {0.0, 1.0}:
        return worst
    residual = np.bincount(index, values, clusters) - p * sizes
    variance = clusters / (clusters - 1) * float((residual**2).sum()) / (n * n)
    if variance <= 0:
        return float(n)
    # The t ratio pays for having estimated the variance from so many clusters only.
    ratio = float(stdtrit(n - 1, 0.975) / stdtrit(clusters - 1, 0.975))
    return min(float(n), max(worst, p * (1 - p) / variance * ratio**2))


def cluster_index(groups: npt.ArrayLike) -> npt.NDArray[np.intp]:
    """Clusters as whole numbers from 0, shape (N,); equal labels get equal numbers."""
    index = np.unique(np.asarray(groups), return_inverse=True)[1]
    return np.asarray(index, np.intp).reshape(-1)


def cluster_weights(groups: npt.ArrayLike, *, replicates: int, seed: int) -> Iterator[Weights]:
    """Bootstrap replicates as row weights: whole clusters are drawn with replacement.

    Args:
        groups: Cluster of each row, shape (N,); `numpy.arange(N)` for independent rows.
        replicates: How many.
        seed: Of the random numbers; equal seeds give equal replicates, as paired comparisons need.

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
        replicates: How many.
        seed: Of the random numbers.

    Raises:
        InvalidInputError: No rows or no replicates.
    """
    if replicates < 1 or np.asarray(groups).size == 0:
        raise InvalidInputError("A bootstrap needs at least one row and one replicate.")
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
        replicates: How many.
        seed: Of the random numbers.
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

    def auc(weights: Weights) -> Floats:
        ordered = weights[:, order]
        # float64: the products below run beyond float32's whole numbers.
        positive: Any = np.add.reduceat(ordered * truth, starts, axis=1).astype(np.float64)
        negative: Any = np.add.reduceat(ordered * (1 - truth), starts, axis=1).astype(np.float64)
        below = np.cumsum(negative, axis=1) - negative / 2
        pairs = positive.sum(axis=1) * negative.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.where(pairs > 0, (positive * below).sum(axis=1) / pairs, np.nan))

    return auc
