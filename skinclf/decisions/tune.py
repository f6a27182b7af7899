"""Threshold tuning on held-out predictions: operating point, table of targets, classes, costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skinclf._utils.arrays import Floats, RowWeights
from skinclf.decisions.guarantees import Grade
from skinclf.decisions.held_out import HeldOutPredictions
from skinclf.decisions.multiclass import balanced_decision, read_costs, tune_class_thresholds
from skinclf.decisions.operating_point import OperatingPoint
from skinclf.decisions.sample import DecisionSample, Unit, decision_sample
from skinclf.decisions.threshold_file import Threshold
from skinclf.decisions.thresholds import SampleOptions, TuneOptions, operating_point_table, tune_threshold
from skinclf.decisions.tuning_data import data_identity
from skinclf.errors import InvalidArgumentError
from skinclf.metrics.bootstrap import cluster_bootstrap, roc_auc_statistic
from skinclf.metrics.clusters import Combine
from skinclf.metrics.estimate import Estimate
from skinclf.models.class_decision import ClassDecision

#: For the area under the curve and for mean costs.
REPLICATES = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """What a threshold is chosen by: exactly one of the keywords of `skinclf.decisions.thresholds.tune_threshold`.

    Attributes:
        target_sensitivity: Sensitivity to reach, in (0, 1].
        target_specificity: Specificity to reach, in (0, 1].
        target_ppv: Positive predictive value to reach, in (0, 1].
        cost_ratio: Cost of a missed positive over that of a false alarm, above 0.
        youden: Whether sensitivity + specificity - 1 is maximised.
    """

    target_sensitivity: float | None = None
    target_specificity: float | None = None
    target_ppv: float | None = None
    cost_ratio: float | None = None
    youden: bool = False

    def __post_init__(self) -> None:
        if len(self.stated) != 1:
            raise InvalidArgumentError(
                f"State one criterion, for example `target_sensitivity` 0.9; received {len(self.stated)}.",
                parameter="target_sensitivity",
            )

    def keywords(self) -> TuneOptions:
        """Keyword arguments of `tune_threshold`."""
        return {
            "target_sensitivity": self.target_sensitivity,
            "target_specificity": self.target_specificity,
            "target_ppv": self.target_ppv,
            "cost_ratio": self.cost_ratio,
            "youden": self.youden,
        }

    @property
    def stated(self) -> dict[str, float]:
        """The keywords that are stated, with their values."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None and value is not False}

    def name(self, grade: Grade) -> str:
        """Name of the operating point, such as `sensitivity-0.9-guaranteed`."""
        ((key, value),) = self.stated.items()
        words = [key.removeprefix("target_").replace("_", "-")]
        words += [] if value is True else [f"{value:g}"]
        words += [] if grade == "empirical" else [grade]
        return "-".join(words)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """What tuning found.

    Attributes:
        threshold: Ready to be written.
        point: The operating point.
        sample: What it was chosen on.
        table: Operating points of other target sensitivities.
        auc: Area under the ROC curve.
        classes: An operating point per class, when asked for.
    """

    threshold: Threshold
    point: OperatingPoint
    sample: DecisionSample
    table: dict[float, OperatingPoint | None]
    auc: Estimate
    classes: dict[str, OperatingPoint]


def tune(
    held_out: HeldOutPredictions,
    *,
    criterion: Criterion,
    positive: Sequence[str] | None = None,
    group_by: str | None = None,
    combine: Combine = "max",
    grade: Grade = "empirical",
    confidence: float = 0.95,
    prevalence: float | None = None,
    name: str | None = None,
    per_class: bool = False,
    cost_matrix: Path | None = None,
    balanced: bool = False,
) -> Tuned:
    """Choose an operating point on labelled predictions.

    Args:
        held_out: Labelled predictions, from `read_held_out`.
        criterion: What the threshold is chosen by.
        positive: Positive class codes; None means the malignant ones.
        group_by: Column of lesions (or patients) to decide on; None decides per image.
        combine: How their images combine.
        grade: See `tune_threshold`.
        confidence: Confidence level of intervals and of the guarantee, in (0, 1).
        prevalence: Share of positives in the population that is meant.
        name: Name of the operating point; None makes it from the criterion.
        per_class: Whether each class is tuned against the rest as well, by the same criterion; the predicted class
            is then decided by these thresholds.
        cost_matrix: Table of costs; the predicted class is then the one of least expected cost, also with
            `per_class`, whose thresholds are then recorded only.
        balanced: Whether the predicted class is decided for balanced accuracy, see
            `skinclf.decisions.multiclass.balanced_decision`; not with `per_class` or `cost_matrix`.

    Raises:
        InvalidArgumentError: Unusable data or options.
        InsufficientDataError: The data cannot support the target.
    """
    if balanced and (per_class or cost_matrix is not None):
        raise InvalidArgumentError(
            "`balanced`, `per_class` and `cost_matrix` each state the rule for the predicted class; use one.",
            parameter="balanced",
        )
    truth, score = held_out.joined.binary(positive, held_out.classes)
    groups = held_out.groups(group_by)
    unit: Unit = "image" if group_by is None else "lesion"
    sampling: SampleOptions = {
        "grade": grade,
        "confidence": confidence,
        "groups": groups,
        "unit": unit,
        "combine": combine,
        "prevalence": prevalence,
    }
    choice: TuneOptions = {**criterion.keywords(), **sampling}
    point = tune_threshold(truth, score, **choice)
    table = operating_point_table(truth, score, **sampling)
    sample = decision_sample(truth, score, groups=groups, unit=unit, combine=combine)
    auc = _auc(sample, confidence)
    extra: dict[str, Any] = {"roc_auc": auc.to_dict()}
    classes: dict[str, OperatingPoint] = {}
    if per_class:
        codes, values = _multiclass(held_out, "per_class")
        classes = tune_class_thresholds(held_out.class_codes or (), values, codes, **choice)
        extra["decision"] = ClassDecision(
            codes=codes, thresholds=tuple(classes[code].threshold for code in codes)
        ).to_dict()
        extra["classes"] = {
            code: {
                "threshold": p.threshold,
                "claimed": p.claimed,
                "sensitivity": p.sensitivity.to_dict(),
                "specificity": p.specificity.to_dict(),
            }
            for code, p in classes.items()
        }
    if cost_matrix is not None:
        extra["cost_matrix"], rule = _costs(held_out, cost_matrix, groups, confidence)
        extra["decision"] = rule.to_dict()
    if balanced:
        extra["balanced"], rule = _balanced(held_out, groups, confidence)
        extra["decision"] = rule.to_dict()
    threshold = Threshold.of(
        point,
        name=name or criterion.name(grade),
        positive=held_out.positive_codes(positive),
        model=held_out.model,
        data=data_identity(
            held_out.joined, truth, score, predictions=held_out.predictions.name, labels=held_out.labels.name
        ),
        table=table,
        extra=extra,
    )
    return Tuned(threshold=threshold, point=point, sample=sample, table=table, auc=auc, classes=classes)


def _auc(sample: DecisionSample, confidence: float) -> Estimate:
    statistic = roc_auc_statistic(sample.truth, sample.score)
    value = float(statistic(np.ones((1, sample.truth.size), np.float32))[0])
    clusters = np.arange(sample.truth.size) if sample.clusters is None else sample.clusters
    low, high = cluster_bootstrap(statistic, clusters, replicates=REPLICATES, seed=0, confidence=confidence)
    return Estimate(value, float(low), float(high))


def _multiclass(
    held_out: HeldOutPredictions, parameter: str
) -> tuple[tuple[str, ...], npt.NDArray[np.float32]]:
    table = held_out.joined.predictions
    if table.codes is None or table.probabilities is None or held_out.joined.labels.codes is None:
        raise InvalidArgumentError(
            f"`{parameter}` needs a probability per class and labels that name classes.", parameter=parameter
        )
    return table.codes, table.probabilities


def _costs(
    held_out: HeldOutPredictions, path: Path, groups: Sequence[str] | None, confidence: float
) -> tuple[dict[str, Any], ClassDecision]:
    """Mean cost per image of deciding by cost, and of deciding for the most probable class; and the rule."""
    codes, values = _multiclass(held_out, "cost_matrix")
    costs = read_costs(path, codes)
    rule = ClassDecision(codes=tuple(codes), costs=tuple(tuple(row) for row in costs.tolist()))
    truth = _places(held_out, codes)
    clusters = np.arange(truth.size) if groups is None else np.asarray(groups)

    def mean_cost(decided: npt.NDArray[np.intp]) -> dict[str, float | None]:
        paid = costs[truth, decided]

        def statistic(weights: RowWeights) -> Floats:
            return np.asarray((weights @ paid) / weights.sum(axis=1))

        low, high = cluster_bootstrap(
            statistic, clusters, replicates=REPLICATES, seed=0, confidence=confidence
        )
        return Estimate(float(paid.mean()), float(low), float(high)).to_dict()

    report = {
        "codes": list(codes),
        "costs": costs.tolist(),
        "rule": "decide for the class of least expected cost",
        "mean_cost": mean_cost(rule.decide(values)),
        "mean_cost_most_probable": mean_cost(values.argmax(axis=1)),
    }
    return report, rule


def _balanced(
    held_out: HeldOutPredictions, groups: Sequence[str] | None, confidence: float
) -> tuple[dict[str, Any], ClassDecision]:
    """Balanced accuracy by the fitted rule and by the most probable class, on the same rows; and the rule."""
    codes, values = _multiclass(held_out, "balanced")
    truth = _places(held_out, codes)
    rule = balanced_decision(held_out.class_codes or (), values, codes)
    clusters = np.arange(truth.size) if groups is None else np.asarray(groups)
    of_class = (truth[:, None] == np.arange(len(codes))).astype(np.float32)

    def accuracy(decided: npt.NDArray[np.intp]) -> dict[str, float | None]:
        right = of_class * (decided == truth)[:, None]

        def statistic(weights: RowWeights) -> Floats:
            with np.errstate(invalid="ignore", divide="ignore"):
                return np.asarray(np.nanmean((weights @ right) / (weights @ of_class), axis=1))

        low, high = cluster_bootstrap(
            statistic, clusters, replicates=REPLICATES, seed=0, confidence=confidence
        )
        value = float(statistic(np.ones((1, truth.size), np.float32))[0])
        return Estimate(value, float(low), float(high)).to_dict()

    report = {
        "balanced_accuracy": accuracy(rule.decide(values)),
        "balanced_accuracy_most_probable": accuracy(values.argmax(axis=1)),
    }
    return report, rule


def _places(held_out: HeldOutPredictions, codes: Sequence[str]) -> npt.NDArray[np.intp]:
    """Index of the true class of each row."""
    truth = held_out.class_codes or ()
    unknown = sorted(set(truth) - set(codes))
    if unknown:
        raise InvalidArgumentError(
            f"{held_out.labels.name}: labels {', '.join(unknown)} are none of the model's classes."
        )
    return np.asarray([codes.index(code) for code in truth], np.intp)
