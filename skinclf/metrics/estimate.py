"""Estimates with intervals: proportions, likelihood ratios, predictive values."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from skinclf._utils.arrays import Bools
from skinclf.metrics.clusters import effective_size
from skinclf.metrics.intervals import clopper_pearson


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its two-sided interval; NaN where undefined, infinite where unbounded."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float | None]:
        """`value`, `low` and `high`; None where JSON has no number (NaN, infinity)."""
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        return {name: x if math.isfinite(x) else None for name, x in numbers.items()}

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def proportion(success: Bools, groups: npt.NDArray[np.intp] | None = None, *, confidence: float) -> Estimate:
    """A share with its exact interval; on the effective sample size when `groups` are given.

    Args:
        success: Shape (N,); N = 0 gives NaN with the interval 0 to 1.
        groups: Cluster of each, or None for independent ones.
        confidence: Confidence level of the interval, in (0, 1).
    """
    n, hits = success.size, int(success.sum())
    if n == 0:
        return Estimate(math.nan, 0.0, 1.0)
    size = float(n) if groups is None else effective_size(success, groups, tail=(1 - confidence) / 2)
    low, high = clopper_pearson(hits / n * size, size, confidence=confidence)
    return Estimate(hits / n, float(low), float(high))


def likelihood_ratios(sensitivity: Estimate, specificity: Estimate) -> tuple[Estimate, Estimate]:
    """Positive and negative likelihood ratio, their bounds from those of the two rates (both monotone)."""
    positive = _by_corners(lambda sens, spec: (sens, 1 - spec), sensitivity, specificity)
    negative = _by_corners(lambda sens, spec: (1 - sens, spec), sensitivity, specificity, falling=True)
    return positive, negative


def _by_corners(
    ratio: Callable[[float, float], tuple[float, float]], a: Estimate, b: Estimate, *, falling: bool = False
) -> Estimate:
    value = _quotient(*ratio(a.value, b.value))
    low, high = _quotient(*ratio(a.low, b.low)), _quotient(*ratio(a.high, b.high))
    return Estimate(value, high, low) if falling else Estimate(value, low, high)


def _quotient(top: float, bottom: float) -> float:
    if bottom == 0:
        return math.inf if top > 0 else math.nan
    return top / bottom


def predictive_values(positive: Estimate, negative: Estimate, prevalence: float) -> tuple[Estimate, Estimate]:
    """PPV and NPV at a prevalence from the likelihood ratios (Bayes); both monotone in them."""
    odds = prevalence / (1 - prevalence)

    def ppv(ratio: float) -> float:
        return 1.0 if math.isinf(ratio) else ratio * odds / (1 + ratio * odds)

    def npv(ratio: float) -> float:
        return 0.0 if math.isinf(ratio) else 1 / (1 + ratio * odds)

    return (
        Estimate(ppv(positive.value), ppv(positive.low), ppv(positive.high)),
        Estimate(npv(negative.value), npv(negative.high), npv(negative.low)),
    )
