"""`OperatingPoint`: sensitivity, specificity, predictive values and likelihood ratios at a threshold, with intervals.

Proportions have exact (Clopper-Pearson) intervals; where several images show one lesion, with the
effective number of images (Korn & Graubard 1998). Likelihood ratios, and predictive values at a stated
prevalence, come from the exact intervals of sensitivity and specificity at half the error each
(Bonferroni), which covers at least as often as stated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from skinclf._utils.arrays import Bools
from skinclf.decisions.sample import DecisionSample, Unit
from skinclf.errors import InvalidArgumentError
from skinclf.metrics.clusters import Combine, effective_size
from skinclf.metrics.estimate import Estimate, likelihood_ratios, predictive_values, proportion
from skinclf.metrics.intervals import check_confidence, one_sided_lower

INTERVAL_METHOD = (
    "Clopper-Pearson (exact); on the effective sample size (Korn & Graubard 1998) where images share a "
    "lesion; Bonferroni of two exact intervals for likelihood ratios and values at a stated prevalence"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """What one threshold does on a labelled sample.

    Attributes:
        threshold: A unit is positive when its score is at least this; exactly a float32.
        tp: Positives flagged.
        tn: Negatives not flagged.
        fp: Negatives flagged.
        fn: Positives not flagged.
        sensitivity: tp / (tp + fn).
        specificity: tn / (tn + fp).
        ppv: tp / (tp + fp), at the sample's prevalence.
        npv: tn / (tn + fn), at the sample's prevalence.
        accuracy: (tp + tn) / n, at the sample's prevalence.
        lr_positive: Sensitivity / (1 - specificity).
        lr_negative: (1 - sensitivity) / specificity.
        region: Sensitivity and specificity with intervals that hold jointly (Bonferroni): the corners of the
            confidence region of the point in ROC space.
        prevalence: Stated share of positives in the population, or None.
        ppv_at_prevalence: PPV there (Bayes), or None.
        npv_at_prevalence: NPV there, or None.
        confidence: Confidence level of every interval.
        unit: What was decided on.
        combine: How a lesion's images were combined, for the unit lesion.
        lesions: Number of lesions when images share some, else None.
        criterion: What the threshold was chosen by; `fixed` when it was given.
        target: The value that the criterion asked for.
        grade: How much of it is promised.
        lower_bound: One-sided exact lower bound, at `confidence`, of the targeted rate; NaN without one.
        claim: One or two sentences: what may be claimed and, if not all, what it would take.
    """

    threshold: float
    tp: int
    tn: int
    fp: int
    fn: int
    sensitivity: Estimate
    specificity: Estimate
    ppv: Estimate
    npv: Estimate
    accuracy: Estimate
    lr_positive: Estimate
    lr_negative: Estimate
    region: tuple[Estimate, Estimate]
    prevalence: float | None
    ppv_at_prevalence: Estimate | None
    npv_at_prevalence: Estimate | None
    confidence: float
    unit: Unit
    combine: Combine | None
    lesions: int | None
    criterion: str = "fixed"
    target: float | None = None
    grade: str | None = None
    lower_bound: float = math.nan
    claim: str = ""

    @property
    def n(self) -> int:
        """Units decided on."""
        return self.tp + self.tn + self.fp + self.fn

    @property
    def f1_score(self) -> float:
        """Harmonic mean of PPV and sensitivity; there is always a positive, so it is defined."""
        return 2 * self.tp / (2 * self.tp + self.fp + self.fn)

    @property
    def claimed(self) -> bool:
        """Whether the data show, at `confidence`, that the targeted rate meets its target."""
        return self.target is not None and self.lower_bound >= self.target


def describe(
    sample: DecisionSample, threshold: float, *, confidence: float = 0.95, prevalence: float | None = None
) -> OperatingPoint:
    """The operating point of a threshold.

    Args:
        sample: From `decision_sample`.
        threshold: Compared as float32.
        confidence: Confidence level of the intervals, in (0, 1).
        prevalence: Share of positives in the population that PPV and NPV are wanted for.

    Raises:
        InvalidArgumentError: `confidence` or `prevalence` does not lie between 0 and 1.
    """
    check_confidence(confidence)
    if prevalence is not None and not 0 < prevalence < 1:
        raise InvalidArgumentError(f"prevalence lies between 0 and 1; received {prevalence}.")
    flagged, truth = sample.score >= np.float32(threshold), sample.truth

    def share(hit: Bools, among: Bools, level: float = confidence) -> Estimate:
        groups = None if sample.clusters is None else sample.clusters[among]
        return proportion(hit[among], groups, confidence=level)

    half = (1 + confidence) / 2
    region = share(flagged, truth, half), share(~flagged, ~truth, half)
    positive, negative = likelihood_ratios(*region)
    at = None if prevalence is None else predictive_values(positive, negative, prevalence)
    return OperatingPoint(
        threshold=float(np.float32(threshold)),
        tp=int((flagged & truth).sum()),
        tn=int((~flagged & ~truth).sum()),
        fp=int((flagged & ~truth).sum()),
        fn=int((~flagged & truth).sum()),
        sensitivity=share(flagged, truth),
        specificity=share(~flagged, ~truth),
        ppv=share(truth, flagged),
        npv=share(~truth, ~flagged),
        accuracy=share(flagged == truth, np.ones_like(truth)),
        lr_positive=positive,
        lr_negative=negative,
        region=region,
        prevalence=prevalence,
        ppv_at_prevalence=at[0] if at else None,
        npv_at_prevalence=at[1] if at else None,
        confidence=confidence,
        unit=sample.unit,
        combine=sample.combine,
        lesions=None if sample.clusters is None else int(sample.clusters.max()) + 1,
    )


def lower_bound(
    sample: DecisionSample, threshold: float, *, of: Literal["sensitivity", "specificity"], confidence: float
) -> float:
    """One-sided exact lower bound of sensitivity or specificity at a threshold."""
    flagged = sample.score >= np.float32(threshold)
    among = sample.truth if of == "sensitivity" else ~sample.truth
    hit = (flagged if of == "sensitivity" else ~flagged)[among]
    size = float(hit.size)
    if sample.clusters is not None:
        size = effective_size(hit, sample.clusters[among], tail=1 - confidence)
    return float(one_sided_lower(float(hit.mean()) * size, size, confidence=confidence))
