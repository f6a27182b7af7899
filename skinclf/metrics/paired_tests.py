"""Paired comparison of two classifiers on the same images: McNemar's exact test and DeLong's test.

Both treat images as independent. Where lesions have several images, the paired lesion-cluster
bootstrap of `skinclf.evaluate` is the interval to trust.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from skinclf.errors import InvalidArgumentError


@dataclass(frozen=True, slots=True)
class McNemar:
    """Where two classifiers are right, and the exact two-sided p-value that they are right equally often.

    Attributes:
        both: Images that both answer correctly.
        only_a: Images that only the first answers correctly.
        only_b: Images that only the second answers correctly.
        neither: Images that neither answers correctly.
        p_value: Binomial test of `only_a` against `only_b`; 1 when they never differ.
    """

    both: int
    only_a: int
    only_b: int
    neither: int
    p_value: float

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


def mcnemar(right_a: npt.ArrayLike, right_b: npt.ArrayLike) -> McNemar:
    """McNemar's exact test (McNemar, Psychometrika 1947).

    Args:
        right_a: Whether the first classifier is right, shape (n,), bool.
        right_b: The same for the second.
    """
    a, b = np.asarray(right_a, bool), np.asarray(right_b, bool)
    if a.shape != b.shape or a.ndim != 1:
        raise InvalidArgumentError(
            f"McNemar's test compares rows one by one; received shapes {a.shape} and {b.shape}."
        )
    only_a, only_b = int((a & ~b).sum()), int((~a & b).sum())
    differ = only_a + only_b
    p = float(stats.binomtest(only_a, differ, 0.5).pvalue) if differ else 1.0
    return McNemar(int((a & b).sum()), only_a, only_b, int((~a & ~b).sum()), p)


@dataclass(frozen=True, slots=True)
class DeLong:
    """Two correlated areas under the ROC curve.

    Attributes:
        auc_a: Area of the first score.
        auc_b: Area of the second.
        difference: `auc_a - auc_b`.
        low: Lower end of the interval of the difference.
        high: Upper end.
        standard_error: Standard error of the difference.
        z: Difference over its standard error; None when that is 0.
        p_value: Two-sided; 1 when the scores rank the images alike, None when the standard error is 0
            and the areas still differ.
        confidence: Level of the interval.
    """

    auc_a: float
    auc_b: float
    difference: float
    low: float
    high: float
    standard_error: float
    z: float | None
    p_value: float | None
    confidence: float

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


def delong_covariance(
    truth: npt.ArrayLike, scores: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Areas under the ROC curve of several scores on the same rows, and their covariance.

    DeLong, DeLong and Clarke-Pearson, Biometrics 1988, computed from midranks as in Sun and Xu,
    IEEE Signal Processing Letters 2014.

    Args:
        truth: 0/1, shape (n,).
        scores: Shape (M, n), higher for the positive class.

    Returns:
        Areas, shape (M,), and covariance, shape (M, M).

    Raises:
        InvalidArgumentError: Fewer than two rows of either class.
    """
    positive = np.asarray(truth, bool)
    values = np.atleast_2d(np.asarray(scores, np.float64))
    m, n = int(positive.sum()), int((~positive).sum())
    if min(m, n) < 2:
        raise InvalidArgumentError(f"DeLong's variance needs two rows of either class; received {m} and {n}.")
    everyone = stats.rankdata(values, axis=1)
    among_positive = stats.rankdata(values[:, positive], axis=1)
    among_negative = stats.rankdata(values[:, ~positive], axis=1)
    # Share of the other class that each row beats, ties counting half.
    beats = (everyone[:, positive] - among_positive) / n
    beaten_by = 1 - (everyone[:, ~positive] - among_negative) / m
    covariance = np.atleast_2d(np.cov(beats)) / m + np.atleast_2d(np.cov(beaten_by)) / n
    return np.asarray(beats.mean(axis=1)), np.asarray(covariance)


def delong(
    truth: npt.ArrayLike, score_a: npt.ArrayLike, score_b: npt.ArrayLike, *, confidence: float = 0.95
) -> DeLong:
    """DeLong's test of two areas under the ROC curve on the same images.

    Args:
        truth: 0/1, shape (n,).
        score_a: First score, shape (n,), higher for the positive class.
        score_b: Second score.
        confidence: Level of the interval.

    Raises:
        InvalidArgumentError: Fewer than two rows of either class.
    """
    areas, covariance = delong_covariance(truth, [np.asarray(score_a), np.asarray(score_b)])
    difference = float(areas[0] - areas[1])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    # Scores that rank alike leave rounding noise, which is no variance.
    error = float(np.sqrt(variance)) if variance > 1e-18 else 0.0
    z = difference / error if error else None
    p = 1.0 if abs(difference) < 1e-12 else None
    if z is not None:
        p = float(2 * stats.norm.sf(abs(z)))
    reach = float(stats.norm.ppf((1 + confidence) / 2)) * error
    return DeLong(
        float(areas[0]),
        float(areas[1]),
        difference,
        difference - reach,
        difference + reach,
        error,
        z,
        p,
        confidence,
    )
