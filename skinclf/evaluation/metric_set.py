"""`MetricSet`: all metrics of labelled predictions, with bootstrap replicates and intervals.

Names are dotted: `multiclass.mcc`, `class.<code>.roc_auc`, `binary.pr_auc`. Values come from scikit-learn
(`skinclf.metrics.point_estimates`), replicates from the vectorised counterparts that tests hold to them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from skinclf._utils.arrays import Floats
from skinclf.evaluation.labelled_predictions import LabelledPredictions
from skinclf.metrics import calibration as cm
from skinclf.metrics import classification as metrics
from skinclf.metrics import point_estimates as pv
from skinclf.metrics.bootstrap import cluster_weights, inflated_interval, percentile_interval
from skinclf.metrics.classification import Ranking
from skinclf.metrics.estimate import Estimate

Replicates: TypeAlias = Mapping[str, Floats]
#: Levels at which one rate is fixed and the other read off the ROC curve.
TARGETS = (0.8, 0.9, 0.95)
#: Row weights handled at once.
_BLOCK = 1 << 19
_OVERALL = (
    "balanced_accuracy",
    "macro_precision",
    "macro_recall",
    "macro_f1",
    "weighted_precision",
    "weighted_recall",
    "weighted_f1",
    "mcc",
    "kappa",
)


@dataclass(slots=True)
class MetricSet:
    """Metrics of labelled predictions; what many weightings share is computed once.

    Attributes:
        cases: What is measured.
        threshold: Decides between two classes, see `LabelledPredictions.predicted`.
        bins: Bins of the calibration errors.
        brief: Only what subgroup tables show.
        predicted: Predicted class index, shape (N,).
    """

    cases: LabelledPredictions
    threshold: float
    bins: int = cm.BINS
    brief: bool = False
    predicted: npt.NDArray[np.intp] = field(init=False)
    _rankings: dict[str, Ranking] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        cases = self.cases
        self.predicted = cases.predicted(self.threshold)
        if cases.truth is not None and not self.brief:
            for k, code in enumerate(cases.labels.codes):
                self._rankings[f"class.{code}"] = Ranking.of(cases.truth == k, cases.probabilities[:, k])
        if cases.positive is not None and cases.score is not None:
            self._rankings["binary"] = Ranking.of(cases.positive, cases.score)

    def values(self) -> dict[str, float]:
        """Every metric of the cases as they are; NaN where undefined."""
        result: dict[str, float] = {}
        cases, p = self.cases, self.cases.probabilities
        if cases.truth is not None:
            result |= _named("multiclass", pv.multiclass_values(cases.truth, self.predicted))
            if not self.brief:
                f1 = pv.class_f1(cases.truth, self.predicted, len(cases.labels))
                for k, code in enumerate(cases.labels.codes):
                    is_class = cases.truth == k
                    error = cm.expected_calibration_error(p[:, k], is_class, bins=self.bins)
                    ranked = pv.ranking_values(is_class, p[:, k])
                    result |= _named(f"class.{code}", {"f1": float(f1[k]), "ece": float(error[0]), **ranked})
                result |= _named(
                    "multiclass", pv.confidence_values(p, cases.truth, self.predicted, bins=self.bins)
                )
                averages = self._averages({name: np.asarray([v]) for name, v in result.items()}, None)
                result |= {name: float(value[0]) for name, value in averages.items()}
        if cases.positive is not None and cases.score is not None:
            score = cases.score.astype(np.float64).clip(0, 1)
            result |= _named(
                "binary", pv.ranking_values(cases.positive, score, () if self.brief else TARGETS)
            )
            measured = pv.probability_values(score, cases.positive, bins=self.bins)
            result |= _named("binary", measured if not self.brief else _only_ratio(measured))
        return result

    def replicate(self, weights: npt.NDArray[Any]) -> dict[str, Floats]:
        """The same metrics for many weightings, each of shape (B,).

        Args:
            weights: How often each row counts, shape (B, N).
        """
        cases, result = self.cases, dict[str, Floats]()
        for name, ranking in self._rankings.items():
            targets = TARGETS if name == "binary" and not self.brief else ()
            result |= _named(name, ranking.summary(weights, specificities=targets, sensitivities=targets))
        if cases.truth is not None:
            result |= self._multiclass(cases.truth, weights)
            if not self.brief:
                result |= self._averages(result, weights)
        if cases.positive is not None and cases.score is not None:
            y, p = cases.positive, cases.score.astype(np.float64).clip(0, 1)
            result["binary.observed_expected"] = metrics.ratio(weights @ y.astype(np.float64), weights @ p)
            if not self.brief:
                slope, intercept = cm.slope_and_intercept(p, y, weights)
                result |= {
                    "binary.brier": cm.brier(p, y, weights),
                    "binary.log_loss": cm.log_loss(p, y, weights),
                    "binary.ece": cm.expected_calibration_error(p, y, weights, bins=self.bins),
                    "binary.slope": slope,
                    "binary.intercept": intercept,
                }
        return result

    def _multiclass(self, truth: npt.NDArray[np.intp], weights: npt.NDArray[Any]) -> dict[str, Floats]:
        p, codes = self.cases.probabilities, self.cases.labels.codes
        derived = metrics.from_confusion(metrics.confusion(truth, self.predicted, len(codes), weights))
        result = {f"multiclass.{name}": derived[name] for name in _OVERALL}
        if self.brief:
            return result
        errors = []
        for k, code in enumerate(codes):
            errors.append(cm.expected_calibration_error(p[:, k], truth == k, weights, bins=self.bins))
            result |= {f"class.{code}.f1": derived["f1"][:, k], f"class.{code}.ece": errors[-1]}
        confidence, right = p[np.arange(truth.size), self.predicted], self.predicted == truth
        return result | {
            "multiclass.brier": cm.brier(p, truth, weights),
            "multiclass.log_loss": cm.log_loss(p, truth, weights),
            "multiclass.ece_top_label": cm.expected_calibration_error(
                confidence, right, weights, bins=self.bins
            ),
            "multiclass.ece_classwise": np.asarray(np.mean(errors, axis=0)),
        }

    def _averages(self, found: Replicates, weights: npt.NDArray[Any] | None) -> dict[str, Floats]:
        """Areas averaged over the classes that have one, plainly and by support."""
        truth, codes = self.cases.truth, self.cases.labels.codes
        if truth is None:
            return {}
        members = np.equal.outer(truth, np.arange(len(codes))).astype(np.float64)
        support = members.sum(axis=0)[None] if weights is None else weights @ members
        result = {}
        for name in ("roc_auc", "pr_auc"):
            areas = np.stack([found[f"class.{code}.{name}"] for code in codes], axis=1)
            known = ~np.isnan(areas)
            filled = np.where(known, areas, 0.0)
            result[f"multiclass.{name}_macro"] = metrics.ratio(filled.sum(axis=1), known.sum(axis=1))
            shares = support * known
            result[f"multiclass.{name}_weighted"] = metrics.ratio(
                (filled * shares).sum(axis=1), shares.sum(axis=1)
            )
        return result

    def replicates(self, *, count: int, seed: int) -> Replicates:
        """Lesion-cluster bootstrap replicates of every metric, each of shape (count,)."""
        parts: dict[str, list[Floats]] = defaultdict(list)
        for block in blocks(self.cases, count=count, seed=seed):
            for name, value in self.replicate(block).items():
                parts[name].append(value)
        return {name: np.concatenate(values) for name, values in parts.items()}


def blocks(cases: LabelledPredictions, *, count: int, seed: int) -> Iterator[npt.NDArray[np.float32]]:
    """Bootstrap weights a few replicates at a time, shape (b, N), so that the work stays in the cache."""
    size = max(1, _BLOCK // len(cases))
    for weights in cluster_weights(cases.groups, replicates=count, seed=seed):
        for start in range(0, len(weights), size):
            yield weights[start : start + size]


def estimates(
    values: Mapping[str, float], replicates: Replicates, *, confidence: float
) -> dict[str, Estimate]:
    """Values with bootstrap intervals.

    Bounds are NaN where the value is undefined, and where every replicate equals it (such as an area of 1
    under the curve): resampling then has nothing to say, which is not the same as certainty.
    """
    result = {}
    for name, value in values.items():
        draws = replicates[name]
        known = (
            not np.isnan(value) and not np.isclose(draws[~np.isnan(draws)], value, rtol=0, atol=1e-12).all()
        )
        if name.rpartition(".")[2].startswith("ece") and known:
            low, high = inflated_interval(value, draws, confidence=confidence)
        else:
            low, high = percentile_interval(draws, confidence=confidence)
        result[name] = Estimate(value, float(low) if known else np.nan, float(high) if known else np.nan)
    return result


def _named(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{prefix}.{name}": value for name, value in values.items()}


def _only_ratio(values: Mapping[str, float]) -> dict[str, float]:
    return {"observed_expected": values["observed_expected"]}
