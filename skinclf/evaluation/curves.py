"""Curves as plain numbers, so that a figure can be drawn again from `metrics.json` alone.

Points come from scikit-learn; bands are percentiles of lesion-cluster bootstrap replicates.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn import metrics as sk

from skinclf._utils.arrays import Floats
from skinclf.evaluation.metric_set import MetricSet, blocks
from skinclf.metrics import calibration as cm
from skinclf.metrics import classification as metrics
from skinclf.metrics.bootstrap import percentile_interval
from skinclf.metrics.classification import Ranking
from skinclf.metrics.intervals import clopper_pearson

#: Where bands and drawn curves are given.
GRID = np.linspace(0, 1, 101)
#: Threshold probabilities of the decision curve.
DECISIONS = np.linspace(0.01, 0.6, 60)
SCORES = np.linspace(0, 1, 41)
COVERAGES = np.linspace(0.1, 1.0, 46)
#: More points than this cannot be seen.
_POINTS = 300


def roc_points(truth: npt.NDArray[np.bool_], score: npt.NDArray[Any]) -> dict[str, Any] | None:
    """Corners of a ROC curve, at most 300 of them; None when a class is absent."""
    if truth.all() or not truth.any():
        return None
    fpr, tpr, _ = sk.roc_curve(truth, score)
    keep = _thin(len(fpr))
    return {"fpr": fpr[keep], "tpr": tpr[keep]}


def pr_points(truth: npt.NDArray[np.bool_], score: npt.NDArray[Any]) -> dict[str, Any] | None:
    """Precision by rising recall, at most 300 points; None when there is no positive."""
    if not truth.any():
        return None
    precision, recall, _ = sk.precision_recall_curve(truth, score, drop_intermediate=True)
    keep = _thin(len(recall))
    return {"recall": recall[::-1][keep], "precision": precision[::-1][keep], "prevalence": truth.mean()}


def _thin(size: int) -> npt.NDArray[np.intp]:
    return np.unique(np.linspace(0, size - 1, min(size, _POINTS)).round().astype(np.intp))


def reliability(
    probability: npt.NDArray[np.float64],
    outcome: npt.NDArray[np.bool_],
    *,
    bins: int = cm.BINS,
    confidence: float = 0.95,
) -> dict[str, Any]:
    """Observed frequency by predicted probability over equal-width bins; empty bins are left out.

    Returns:
        Lists `low` and `high` (edges), `n`, `predicted` (mean), `observed`, and the exact interval of
        `observed` (`observed_low`, `observed_high`, images taken as independent).
    """
    index = cm.bin_index(probability, bins)
    n = np.bincount(index, minlength=bins)
    hits, total = (np.bincount(index, x, bins) for x in (outcome.astype(np.float64), probability))
    used = n > 0
    low, high = clopper_pearson(hits[used], n[used], confidence=confidence)
    edges = np.arange(bins + 1) / bins
    return {
        "low": edges[:-1][used],
        "high": edges[1:][used],
        "n": n[used],
        "predicted": total[used] / n[used],
        "observed": hits[used] / n[used],
        "observed_low": low,
        "observed_high": high,
    }


def curves(panel: MetricSet, *, count: int, seed: int, confidence: float) -> dict[str, Any]:
    """All curves of the report.

    Args:
        panel: What is measured.
        count: Bootstrap replicates.
        seed: Seed of the bootstrap.
        confidence: Confidence level of bands and intervals, in (0, 1).

    Returns:
        `roc` and `pr` (`classes` by code, and `binary`), `reliability` (`top_label`, `binary`), `decision`,
        `risk_coverage` and `scores` (histogram of the two-class score); None where undefined.
    """
    cases = panel.cases
    result: dict[str, Any] = {
        "roc": {"classes": {}, "binary": None},
        "pr": {"classes": {}, "binary": None},
        "reliability": {"top_label": None, "binary": None},
        "decision": None,
        "risk_coverage": None,
        "scores": None,
    }
    bands = _bands(panel, count=count, seed=seed, confidence=confidence)
    if cases.truth is not None:
        for k, code in enumerate(cases.labels.codes):
            result["roc"]["classes"][code] = roc_points(cases.truth == k, cases.probabilities[:, k])
            result["pr"]["classes"][code] = pr_points(cases.truth == k, cases.probabilities[:, k])
        top_probability, right = _confidence(panel), panel.predicted == cases.truth
        result["reliability"]["top_label"] = reliability(
            top_probability, right, bins=panel.bins, confidence=confidence
        )
        risk = metrics.risk_coverage(~right, top_probability, COVERAGES, np.ones((1, len(cases))))[0]
        result["risk_coverage"] = {"coverage": COVERAGES, "risk": risk, **bands["risk"]}
    if cases.positive is not None and cases.score is not None:
        y, p = cases.positive, cases.score.astype(np.float64).clip(0, 1)
        roc, pr = roc_points(y, p), pr_points(y, p)
        result["roc"]["binary"] = roc and {**roc, "band": {"fpr": GRID, **bands["roc"]}}
        result["pr"]["binary"] = pr and {**pr, "band": {"recall": GRID, **bands["pr"]}}
        result["reliability"]["binary"] = reliability(p, y, bins=panel.bins, confidence=confidence)
        one = np.ones((1, len(cases)))
        result["scores"] = {
            "edges": SCORES,
            "positive": np.histogram(p[y], SCORES)[0],
            "negative": np.histogram(p[~y], SCORES)[0],
        }
        result["decision"] = {
            "threshold": DECISIONS,
            "model": metrics.net_benefit(y, p, DECISIONS, one)[0],
            "all": metrics.net_benefit(y, np.ones_like(p), DECISIONS, one)[0],
            **bands["decision"],
        }
    return {name: _rounded(value) for name, value in result.items()}


def _rounded(value: Any) -> Any:
    """Six decimals are more than a figure shows."""
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    return np.round(value, 6) if isinstance(value, np.ndarray) and value.dtype.kind == "f" else value


def _confidence(panel: MetricSet) -> npt.NDArray[np.float64]:
    """Probability of the answer, shape (N,)."""
    return panel.cases.probabilities[np.arange(len(panel.cases)), panel.predicted]


def _bands(panel: MetricSet, *, count: int, seed: int, confidence: float) -> dict[str, dict[str, Floats]]:
    cases = panel.cases
    parts: dict[str, list[Floats]] = defaultdict(list)
    ranking = (
        None if cases.positive is None or cases.score is None else Ranking.of(cases.positive, cases.score)
    )
    for weights in blocks(cases, count=count, seed=seed):
        if ranking is not None and cases.positive is not None and cases.score is not None:
            hits, false = ranking.counts(weights)
            parts["roc"].append(_along(false, hits))
            parts["pr"].append(_precision(hits, false))
            parts["decision"].append(
                metrics.net_benefit(cases.positive, cases.score.astype(np.float64), DECISIONS, weights)
            )
        if cases.truth is not None:
            wrong = panel.predicted != cases.truth
            parts["risk"].append(metrics.risk_coverage(wrong, _confidence(panel), COVERAGES, weights))
    result = {}
    for name, values in parts.items():
        low, high = percentile_interval(np.concatenate(values), confidence=confidence)
        result[name] = {"band_low": low, "band_high": high}
    return result


def _along(false: Floats, hits: Floats) -> Floats:
    """Sensitivity at the false-positive rates of the grid, one row per replicate."""
    fpr, tpr = metrics.ratio(false, false[:, -1:]), metrics.ratio(hits, hits[:, -1:])
    return np.stack([np.interp(GRID, x, y) for x, y in zip(fpr, tpr, strict=True)])


def _precision(hits: Floats, false: Floats) -> Floats:
    """Precision at the first threshold that reaches the recalls of the grid, one row per replicate."""
    precision, recall = metrics.ratio(hits, hits + false), metrics.ratio(hits, hits[:, -1:])
    # A threshold that flags nothing has no precision; the first one that flags a row stands for it.
    indices = [np.clip(np.searchsorted(r, GRID - 1e-12), 1, len(r) - 1) for r in recall]
    return np.stack([p[index] for p, index in zip(precision, indices, strict=True)])
