"""Threshold selection: exact over all distinct scores, with a stated grade of evidence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, TypedDict

import numpy as np
import numpy.typing as npt

from skinclf._utils.arrays import Bools, Float32
from skinclf.decisions.guarantees import GRADES, Grade, allowed_misses, positives_needed, with_claim
from skinclf.decisions.operating_point import OperatingPoint, describe
from skinclf.decisions.sample import Unit, decision_sample
from skinclf.errors import InsufficientDataError, InvalidArgumentError
from skinclf.metrics.clusters import Combine
from skinclf.metrics.intervals import check_confidence

CriterionName: TypeAlias = Literal["sensitivity", "specificity", "ppv", "cost_ratio", "youden"]
Ints: TypeAlias = npt.NDArray[np.int64]

#: Sensitivities of the operating-point table.
TABLE_TARGETS = (0.80, 0.85, 0.90, 0.95, 0.97, 0.98, 0.99)


@dataclass(frozen=True, slots=True)
class Curve:
    """What every possible threshold does: units with a score of at least `thresholds[i]` are positive.

    Attributes:
        thresholds: The distinct scores in ascending order, then the next float32, which flags nothing; (M,).
        tp: True positives at each, shape (M,).
        fp: False positives at each, shape (M,).
    """

    thresholds: Float32
    tp: Ints
    fp: Ints

    @classmethod
    def of(cls, truth: Bools, score: Float32) -> Curve:
        """Count at every distinct score; `truth` and `score` have shape (N,)."""
        values, index = np.unique(score, return_inverse=True)
        index = index.reshape(-1)

        def at_least(mask: Bools) -> Ints:
            counts = np.bincount(index[mask], minlength=values.size)
            return np.append(np.cumsum(counts[::-1])[::-1], 0).astype(np.int64)

        nothing = np.nextafter(values[-1], np.float32(np.inf))
        return cls(np.append(values, nothing), at_least(truth), at_least(~truth))

    @property
    def sensitivity(self) -> npt.NDArray[np.float64]:
        """At each threshold, shape (M,)."""
        return np.asarray(self.tp / self.tp[0])

    @property
    def specificity(self) -> npt.NDArray[np.float64]:
        """At each threshold, shape (M,)."""
        return np.asarray((self.fp[0] - self.fp) / self.fp[0])


class SampleOptions(TypedDict, total=False):
    """The keywords of `tune_threshold` that say what is decided on and what is promised."""

    grade: Grade
    confidence: float
    groups: npt.ArrayLike | None
    unit: Unit
    combine: Combine
    prevalence: float | None


class TuneOptions(SampleOptions, total=False):
    """The keywords of `tune_threshold`."""

    target_sensitivity: float | None
    target_specificity: float | None
    target_ppv: float | None
    cost_ratio: float | None
    youden: bool


def tune_threshold(
    y_true: npt.ArrayLike,
    score: npt.ArrayLike,
    *,
    target_sensitivity: float | None = None,
    target_specificity: float | None = None,
    target_ppv: float | None = None,
    cost_ratio: float | None = None,
    youden: bool = False,
    grade: Grade = "empirical",
    confidence: float = 0.95,
    groups: npt.ArrayLike | None = None,
    unit: Unit = "image",
    combine: Combine = "max",
    prevalence: float | None = None,
) -> OperatingPoint:
    """The best threshold by one criterion; a unit is positive when its score is at least the threshold.

    Every distinct score is a candidate, so no better threshold exists on these data. With a target
    sensitivity the threshold of highest specificity is taken, among equals that of highest sensitivity (the
    lowest one). With a target specificity or PPV it is the one of highest sensitivity, among equals of
    highest specificity; Youden's index and cost prefer higher sensitivity among equals. The threshold
    returned is itself a score of the data (or, to flag nothing, the next float32 above all).

    Args:
        y_true: 0 or 1, shape (N,).
        score: Finite, shape (N,); compared as float32, as `predict` does.
        target_sensitivity: Sensitivity to reach, in (0, 1].
        target_specificity: Specificity to reach, in (0, 1].
        target_ppv: Positive predictive value to reach, at `prevalence` or else that of the sample.
        cost_ratio: Cost of a missed positive over that of a false alarm; the expected cost is minimised.
        youden: Maximise sensitivity + specificity - 1.
        grade: For a target sensitivity or specificity: reached on these data (`empirical`), on average over
            samples of this size (`expected`, conformal risk control), or in the population with `confidence`
            (`guaranteed`, exact binomial bound). The last two hold for units drawn like these, no others.
        confidence: Confidence level of intervals and of the guarantee, in (0, 1).
        groups: Lesion of each image, shape (N,).
        unit: Decide per `image` or once per `lesion`.
        combine: How a lesion's images combine: `max` or `mean` of their scores.
        prevalence: Share of positives in the population that is meant.

    Raises:
        InvalidArgumentError: Unusable data or options (one criterion is needed), or a grade that asks for
            independent units where images share a lesion.
        InsufficientDataError: The data cannot support the target; the message says how many positives could.
    """
    criterion, target = _criterion(
        target_sensitivity, target_specificity, target_ppv, cost_ratio, youden=youden
    )
    if grade not in GRADES:
        raise InvalidArgumentError(
            f"`grade` is one of {', '.join(GRADES)}; received {grade!r}.", parameter="grade"
        )
    if grade != "empirical" and criterion not in {"sensitivity", "specificity"}:
        raise InvalidArgumentError(
            f"The {grade} grade exists for a target sensitivity or specificity.", parameter="grade"
        )
    check_confidence(confidence)
    sample = decision_sample(y_true, score, groups=groups, unit=unit, combine=combine)
    if grade != "empirical":
        sample.need_independent(f"The {grade} grade")
    curve = Curve.of(sample.truth, sample.score)
    if criterion in {"sensitivity", "specificity"}:
        place = _by_rate(curve, criterion, target, grade, confidence)
    else:
        place = _by_value(curve, criterion, target, prevalence)
    point = describe(sample, curve.thresholds[place], confidence=confidence, prevalence=prevalence)
    point = replace(point, criterion=criterion, target=None if criterion == "youden" else target, grade=grade)
    return with_claim(point, sample)


def operating_point_table(
    y_true: npt.ArrayLike,
    score: npt.ArrayLike,
    *,
    targets: Sequence[float] = TABLE_TARGETS,
    grade: Grade = "empirical",
    confidence: float = 0.95,
    groups: npt.ArrayLike | None = None,
    unit: Unit = "image",
    combine: Combine = "max",
    prevalence: float | None = None,
) -> dict[float, OperatingPoint | None]:
    """The operating point of each target sensitivity (see `tune_threshold`); None where it cannot be had."""
    table: dict[float, OperatingPoint | None] = {}
    for target in targets:
        try:
            table[target] = tune_threshold(
                y_true,
                score,
                target_sensitivity=target,
                grade=grade,
                confidence=confidence,
                groups=groups,
                unit=unit,
                combine=combine,
                prevalence=prevalence,
            )
        except InsufficientDataError:
            table[target] = None
    return table


def evaluate_threshold(
    y_true: npt.ArrayLike,
    score: npt.ArrayLike,
    threshold: float,
    *,
    confidence: float = 0.95,
    groups: npt.ArrayLike | None = None,
    unit: Unit = "image",
    combine: Combine = "max",
    prevalence: float | None = None,
) -> OperatingPoint:
    """The operating point of a threshold that is given, such as one frozen before a test."""
    sample = decision_sample(y_true, score, groups=groups, unit=unit, combine=combine)
    return describe(sample, threshold, confidence=confidence, prevalence=prevalence)


def _criterion(
    sensitivity: float | None,
    specificity: float | None,
    ppv: float | None,
    cost_ratio: float | None,
    *,
    youden: bool,
) -> tuple[CriterionName, float]:
    stated: dict[CriterionName, float | None] = {
        "sensitivity": sensitivity,
        "specificity": specificity,
        "ppv": ppv,
        "cost_ratio": cost_ratio,
        "youden": math.nan if youden else None,
    }
    chosen = [(name, value) for name, value in stated.items() if value is not None]
    if len(chosen) != 1:
        raise InvalidArgumentError(
            "State one criterion: `target_sensitivity`, `target_specificity`, `target_ppv`, `cost_ratio` or "
            f"`youden`; received {len(chosen)}.",
            parameter="target_sensitivity",
        )
    name, value = chosen[0]
    if name in {"sensitivity", "specificity", "ppv"} and not 0 < value <= 1:
        raise InvalidArgumentError(f"A target {name} lies above 0 and not above 1; received {value}.")
    if name == "cost_ratio" and not (math.isfinite(value) and value > 0):
        raise InvalidArgumentError(
            f"`cost_ratio` is a positive number; received {value}.", parameter="cost_ratio"
        )
    return name, value


def _by_rate(curve: Curve, criterion: CriterionName, target: float, grade: Grade, confidence: float) -> int:
    """Where on the curve sensitivity (or specificity) meets its target and the other rate is best."""
    rate_is_sensitivity = criterion == "sensitivity"
    n = int(curve.tp[0] if rate_is_sensitivity else curve.fp[0])
    misses = allowed_misses(n, target, grade=grade, confidence=confidence)
    if misses < 0:
        needed = positives_needed(target, grade=grade, confidence=confidence)
        kind = "positives" if rate_is_sensitivity else "negatives"
        meaning = "on average" if grade == "expected" else f"with {confidence:.0%} confidence"
        enough = f"It takes at least {needed:,}, none of them wrong" if needed else "No number would suffice"
        raise InsufficientDataError(
            f"A {criterion} of {target:g} cannot be claimed {meaning} from {n} {kind}: even without an error "
            f"they are too few. {enough}."
        )
    wrong = curve.tp[0] - curve.tp if rate_is_sensitivity else curve.fp
    other, this = (-curve.fp, curve.tp) if rate_is_sensitivity else (curve.tp, -curve.fp)
    return _best(np.flatnonzero(wrong <= misses), other, this)


def _by_value(curve: Curve, criterion: CriterionName, target: float, prevalence: float | None) -> int:
    """Where on the curve PPV meets its target with most sensitivity, or Youden's index or cost is best."""
    positives, negatives = int(curve.tp[0]), int(curve.fp[0])
    everywhere = np.arange(curve.thresholds.size)
    if criterion == "youden":
        # Whole numbers, so that equal values compare as equal.
        return _best(everywhere, curve.tp * negatives - curve.fp * positives, curve.tp)
    share = positives / (positives + negatives) if prevalence is None else prevalence
    if not 0 < share < 1:
        raise InvalidArgumentError(
            f"`prevalence` lies between 0 and 1; received {prevalence}.", parameter="prevalence"
        )
    # Weights that make the counts those of the population.
    weight_p, weight_n = (1.0, 1.0) if prevalence is None else (share / positives, (1 - share) / negatives)
    if criterion == "cost_ratio":
        cost = target * weight_p * (positives - curve.tp) + weight_n * curve.fp
        return _best(everywhere, -cost, curve.tp)
    flagged = weight_p * curve.tp + weight_n * curve.fp
    ppv = np.divide(weight_p * curve.tp, flagged, out=np.zeros(flagged.size), where=flagged > 0)
    eligible = np.flatnonzero(ppv >= target)
    if eligible.size == 0:
        raise InsufficientDataError(
            f"A PPV of {target:g} at prevalence {share:.3g} is not reached at any threshold; the highest is "
            f"{ppv.max():.3f}."
        )
    return _best(eligible, curve.tp, -curve.fp)


def _best(
    eligible: npt.NDArray[np.intp], first: npt.NDArray[np.generic], second: npt.NDArray[np.generic]
) -> int:
    """The eligible place where `first` is largest, among equals where `second` is."""
    return int(eligible[np.lexsort((second[eligible], first[eligible]))[-1]])
