"""Sections of `metrics.json`, each a plain mapping; `docs/metrics.md` describes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from skinclf._utils.arrays import Bools
from skinclf.decisions.operating_point import OperatingPoint
from skinclf.decisions.sample import Unit
from skinclf.decisions.thresholds import evaluate_threshold
from skinclf.errors import InvalidArgumentError
from skinclf.evaluation.labelled_predictions import LabelledPredictions
from skinclf.evaluation.metric_set import TARGETS, MetricSet, estimates
from skinclf.evaluation.subgroups import Subgroup
from skinclf.metrics import classification as metrics
from skinclf.metrics.clusters import Combine
from skinclf.metrics.estimate import Estimate, proportion

#: Shares of images answered in the table of selective prediction.
COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.5)
#: How many errors are listed of each kind.
_ERRORS = 12


def share(cases: LabelledPredictions, hit: Bools, among: Bools, *, confidence: float) -> dict[str, Any]:
    """A proportion of images with its exact interval, its count and its base.

    Where lesions are known, the interval is that of the effective number of images.
    """
    groups = cases.groups[among] if cases.grouped else None
    estimate = proportion(hit[among], groups, confidence=confidence)
    return {**asdict(estimate), "count": int((hit & among).sum()), "n": int(among.sum())}


def multiclass(
    panel: MetricSet, found: Mapping[str, Estimate], *, confidence: float
) -> dict[str, Any] | None:
    """Overall metrics over all classes and the confusion matrix; None without reference classes."""
    cases = panel.cases
    if cases.truth is None:
        return None
    everything = np.ones(len(cases), np.bool_)
    matrix = metrics.confusion(cases.truth, panel.predicted, len(cases.labels), np.ones((1, len(cases))))[0]
    top_k = {
        str(k): share(
            cases, metrics.top_k_hits(cases.truth, cases.probabilities, k), everything, confidence=confidence
        )
        for k in (2, 3)
        if k < len(cases.labels)
    }
    return {
        "n": len(cases),
        "accuracy": share(cases, panel.predicted == cases.truth, everything, confidence=confidence),
        "top_k_accuracy": top_k,
        **_strip(found, "multiclass."),
        "confusion": matrix.astype(np.int64),
    }


def per_class(panel: MetricSet, found: Mapping[str, Estimate], *, confidence: float) -> list[dict[str, Any]]:
    """One entry per class, in label order; empty without reference classes."""
    cases, rows = panel.cases, []
    if cases.truth is None:
        return []
    for k, label in enumerate(cases.labels):
        is_class, is_predicted = cases.truth == k, panel.predicted == k
        rows.append(
            {
                "code": label.code,
                "support": int(is_class.sum()),
                "lesions": int(np.unique(cases.groups[is_class]).size) if cases.grouped else None,
                "recall": share(cases, is_predicted, is_class, confidence=confidence),
                "precision": share(cases, is_class, is_predicted, confidence=confidence),
                "specificity": share(cases, ~is_predicted, ~is_class, confidence=confidence),
                **_strip(found, f"class.{label.code}."),
            }
        )
    return rows


def binary(panel: MetricSet, found: Mapping[str, Estimate]) -> dict[str, Any] | None:
    """Discrimination and calibration of the probability of the positive classes; None when unknown."""
    cases = panel.cases
    if cases.positive is None:
        return None
    flat = _strip(found, "binary.")
    at = {
        name: {f"{target:g}": flat.pop(f"{name}_at_{target:g}") for target in TARGETS}
        for name in ("sensitivity", "specificity")
    }
    return {
        "positive": cases.positive_codes,
        "n": len(cases),
        "n_positive": int(cases.positive.sum()),
        "n_negative": int((~cases.positive).sum()),
        "lesions_positive": int(np.unique(cases.groups[cases.positive]).size) if cases.grouped else None,
        "prevalence": float(cases.positive.mean()),
        **flat,
        "sensitivity_at_specificity": at["sensitivity"],
        "specificity_at_sensitivity": at["specificity"],
    }


def operating_point(
    cases: LabelledPredictions,
    threshold: float,
    *,
    confidence: float,
    combine: Combine,
    prevalence: float | None,
) -> dict[str, Any] | None:
    """What the frozen threshold does, by image and by lesion, and which classes it flags.

    Returns:
        None when there is no two-class reference or it has one kind only.
    """
    if cases.positive is None or cases.score is None or cases.positive.all() or not cases.positive.any():
        return None
    units: dict[str, Any] = {"image": None, "lesion": None}
    for unit in ("image", "lesion") if cases.grouped else ("image",):
        units[unit] = _point(
            cases, threshold, unit, confidence=confidence, combine=combine, prevalence=prevalence
        )
    flagged = cases.score >= np.float32(threshold)
    by_class = None
    if cases.truth is not None:
        by_class = {
            code: share(cases, flagged, cases.truth == k, confidence=confidence)
            for k, code in enumerate(cases.labels.codes)
        }
    return {**units, "flagged_by_class": by_class}


def _point(
    cases: LabelledPredictions,
    threshold: float,
    unit: Unit,
    *,
    confidence: float,
    combine: Combine,
    prevalence: float | None,
) -> dict[str, Any] | None:
    if cases.positive is None or cases.score is None:
        return None
    try:
        point = evaluate_threshold(
            cases.positive,
            cases.score,
            threshold,
            confidence=confidence,
            groups=cases.groups if cases.grouped else None,
            unit=unit,
            combine=combine,
            prevalence=prevalence,
        )
    except InvalidArgumentError:  # every lesion has a positive image: no specificity by lesion
        return None
    return _describe(point)


def _describe(point: OperatingPoint) -> dict[str, Any]:
    rates = ("sensitivity", "specificity", "ppv", "npv", "accuracy", "lr_positive", "lr_negative")
    return {
        "unit": point.unit,
        "combine": point.combine,
        "n": point.n,
        "tp": point.tp,
        "fn": point.fn,
        "fp": point.fp,
        "tn": point.tn,
        **{name: getattr(point, name) for name in rates},
        "prevalence": point.prevalence,
        "ppv_at_prevalence": point.ppv_at_prevalence,
        "npv_at_prevalence": point.npv_at_prevalence,
    }


def selective(panel: MetricSet, threshold: float, *, confidence: float) -> list[dict[str, Any]]:
    """What is gained by answering only the images of highest confidence and referring the rest."""
    cases, rows = panel.cases, []
    if cases.truth is None:
        return []
    top_probability = cases.probabilities[np.arange(len(cases)), panel.predicted]
    order = np.argsort(-top_probability, kind="stable")
    for coverage in COVERAGES:
        kept = np.zeros(len(cases), np.bool_)
        kept[order[: max(1, round(coverage * len(cases)))]] = True
        row = {
            "coverage": coverage,
            "n": int(kept.sum()),
            "lowest_confidence": float(top_probability[kept].min()),
            "accuracy": share(cases, panel.predicted == cases.truth, kept, confidence=confidence),
        }
        rows.append(row | _rates(cases, threshold, kept, confidence=confidence))
    return rows


def _rates(cases: LabelledPredictions, threshold: float, rows: Bools, *, confidence: float) -> dict[str, Any]:
    """Sensitivity, specificity and predictive values at the threshold among some rows."""
    if cases.positive is None or cases.score is None:
        return dict.fromkeys(("sensitivity", "specificity", "ppv", "npv"))
    truth, flagged = cases.positive, cases.score >= np.float32(threshold)
    return {
        "sensitivity": share(cases, flagged, truth & rows, confidence=confidence),
        "specificity": share(cases, ~flagged, ~truth & rows, confidence=confidence),
        "ppv": share(cases, truth, flagged & rows, confidence=confidence),
        "npv": share(cases, ~truth, ~flagged & rows, confidence=confidence),
    }


def subgroup(
    cases: LabelledPredictions, group: Subgroup, threshold: float, *, count: int, seed: int, confidence: float
) -> dict[str, Any]:
    """The figures of one subgroup, with its counts."""
    part = cases.take(group.rows)
    panel = MetricSet(part, threshold, brief=True)
    found = estimates(panel.values(), panel.replicates(count=count, seed=seed), confidence=confidence)
    everything = np.ones(len(part), np.bool_)
    right = None if part.truth is None else panel.predicted == part.truth
    missing = Estimate(np.nan, np.nan, np.nan)
    return {
        "column": group.column,
        "value": group.value,
        "n": len(part),
        "lesions": part.lesions if cases.grouped else None,
        "n_positive": None if part.positive is None else int(part.positive.sum()),
        "accuracy": None if right is None else share(part, right, everything, confidence=confidence),
        "balanced_accuracy": found.get("multiclass.balanced_accuracy", missing),
        "roc_auc": found.get("binary.roc_auc", missing),
        "pr_auc": found.get("binary.pr_auc", missing),
        "observed_expected": found.get("binary.observed_expected", missing),
        **_rates(part, threshold, everything, confidence=confidence),
    }


def errors(panel: MetricSet, threshold: float) -> dict[str, list[dict[str, Any]]]:
    """The errors that deserve a look: `confident`, `missed` and `false_alarms`, the worst first."""
    cases = panel.cases
    lists: dict[str, list[dict[str, Any]]] = {"confident": [], "missed": [], "false_alarms": []}
    top_probability = cases.probabilities[np.arange(len(cases)), panel.predicted]
    if cases.truth is not None:
        lists["confident"] = _worst(panel, panel.predicted != cases.truth, -top_probability)
    if cases.positive is not None and cases.score is not None:
        flagged = cases.score >= np.float32(threshold)
        lists["missed"] = _worst(panel, cases.positive & ~flagged, cases.score)
        lists["false_alarms"] = _worst(panel, ~cases.positive & flagged, -cases.score)
    return lists


def _worst(panel: MetricSet, wrong: Bools, rank: npt.NDArray[Any]) -> list[dict[str, Any]]:
    cases, codes = panel.cases, panel.cases.labels.codes
    rows = np.flatnonzero(wrong)
    rows = rows[np.argsort(rank[rows], kind="stable")][:_ERRORS]
    return [
        {
            "image": cases.ids[i],
            "truth": codes[cases.truth[i]] if cases.truth is not None else None,
            "positive": None if cases.positive is None else bool(cases.positive[i]),
            "predicted": codes[panel.predicted[i]],
            "confidence": float(cases.probabilities[i, panel.predicted[i]]),
            "probability": None if cases.score is None else float(cases.score[i]),
        }
        for i in rows
    ]


def _strip(found: Mapping[str, Estimate], prefix: str) -> dict[str, Estimate]:
    return {name[len(prefix) :]: value for name, value in found.items() if name.startswith(prefix)}
