"""Clustered observations: effective sample size, cluster numbers, one score per cluster.

Source: Korn & Graubard, Survey Methodology 1998.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from skinclf._utils.arrays import Float32
from skinclf.errors import InvalidArgumentError

Combine: TypeAlias = Literal["max", "mean"]


def effective_size(success: npt.ArrayLike, groups: npt.ArrayLike, *, tail: float = 0.025) -> float:
    """How many independent trials a clustered proportion is worth (Korn & Graubard 1998).

    `clopper_pearson(p * size, size)` is then the interval of the proportion p. The size is p (1 - p) / variance, with
    the variance between clusters, times the squared ratio of Student's t with n - 1 and with clusters - 1 degrees of
    freedom; it may fall below (sum m)^2 / (sum m^2) over cluster sizes m, which is what clusters of full agreement are
    worth, where large clusters succeed less often than small ones or clusters are few.

    Args:
        success: 0 or 1 per row, shape (N,).
        groups: Cluster of each row (any hashable labels), shape (N,).
        tail: Error of one side of the interval, below 0.5: 0.025 for 95 % between both bounds.

    Returns:
        More than 0 and at most N. Where the proportion is 0 or 1, or there is one cluster, the variance cannot be
        estimated (the paper leaves this open): then (sum m)^2 / (sum m^2), as if the rows of a cluster always agreed.
    """
    from scipy.special import stdtrit

    values = np.asarray(success, np.float64)
    index = cluster_index(groups)
    n, clusters = values.size, int(index.max()) + 1 if values.size else 0
    sizes = np.bincount(index, minlength=clusters).astype(np.float64)
    if n in {0, clusters}:
        return float(n)
    p = float(values.mean())
    if clusters < 2 or p in {0.0, 1.0}:
        return n * n / float((sizes**2).sum())
    residual = np.bincount(index, values, clusters) - p * sizes
    variance = clusters / (clusters - 1) * float((residual**2).sum()) / (n * n)
    if variance <= 0:
        return float(n)
    # The t ratio pays for having estimated the variance from so many clusters only.
    ratio = float(stdtrit(n - 1, 1 - tail) / stdtrit(clusters - 1, 1 - tail)) if tail < 0.5 else 1.0
    return min(float(n), p * (1 - p) / variance * ratio**2)


def cluster_index(groups: npt.ArrayLike) -> npt.NDArray[np.intp]:
    """Clusters as whole numbers from 0, shape (N,); equal labels get equal numbers."""
    index = np.unique(np.asarray(groups), return_inverse=True)[1]
    return np.asarray(index, np.intp).reshape(-1)


def combine_scores(score: Float32, index: npt.NDArray[np.intp], combine: Combine) -> Float32:
    """One score per lesion, float32: the largest or the average of its images' scores.

    Args:
        score: Shape (N,).
        index: Lesion of each image as whole numbers from 0, shape (N,).
        combine: `max` or `mean`.

    Raises:
        InvalidArgumentError: `combine` is neither.
    """
    if combine == "max":
        result = np.full(int(index.max()) + 1, -np.inf, np.float32)
        np.maximum.at(result, index, score)
        return result
    if combine == "mean":
        return np.asarray(np.bincount(index, score) / np.bincount(index), np.float32)
    raise InvalidArgumentError(f"`combine` is 'max' or 'mean'; received {combine!r}.", parameter="combine")
