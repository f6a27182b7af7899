"""Exact confidence intervals of proportions.

Source: Clopper & Pearson, Biometrika 1934. The counts may be fractional (`skinclf.metrics.clusters.effective_size`),
which the functions of scipy and statsmodels do not take.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from skinclf._utils.arrays import Floats
from skinclf.errors import InvalidArgumentError

Bounds: TypeAlias = tuple[Floats, Floats]


def check_confidence(confidence: float) -> float:
    """The confidence itself, when it lies strictly between 0 and 1.

    Raises:
        InvalidArgumentError: `confidence` does not lie between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise InvalidArgumentError(
            f"`confidence` lies between 0 and 1, such as 0.95; received {confidence}.", parameter="confidence"
        )
    return confidence


def _counts(k: npt.ArrayLike, n: npt.ArrayLike) -> tuple[Floats, Floats]:
    hits, total = np.asarray(k, np.float64), np.asarray(n, np.float64)
    if not (np.all(hits >= 0) and np.all(hits <= total)):
        raise InvalidArgumentError(f"A proportion needs 0 <= k <= n; received k={k!r}, n={n!r}.")
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
        InvalidArgumentError: `k` is not within 0 and `n`, or `confidence` not between 0 and 1.
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
        InvalidArgumentError: As for `clopper_pearson`.
    """
    return _beta_lower(k, n, 1 - check_confidence(confidence))


def _beta_lower(k: npt.ArrayLike, n: npt.ArrayLike, tail: float) -> Floats:
    from scipy.special import betaincinv

    hits, total = np.broadcast_arrays(*_counts(k, n))
    result = np.zeros(hits.shape)
    some = hits > 0
    result[some] = betaincinv(hits[some], total[some] - hits[some] + 1, tail)
    return result
