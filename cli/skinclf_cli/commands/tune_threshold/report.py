"""Output of `skinclf tune-threshold`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from skinclf_cli import console
from skinclf_cli.labels_report import report_labels

if TYPE_CHECKING:
    from skinclf.decisions.held_out import HeldOutPredictions
    from skinclf.decisions.operating_point import OperatingPoint
    from skinclf.decisions.tune import Tuned

_RATES = ("threshold", "sensitivity", "specificity", "PPV", "NPV", "may be claimed")


def report_data(held_out: HeldOutPredictions) -> None:
    """Print which predictions are used, and what is left out of them."""
    model = (held_out.model or {}).get("name")
    by = f" by {model}" if model else ""
    console.message(f"{len(held_out.joined):,} labelled predictions{by} in {held_out.predictions}")
    if held_out.model is None:
        console.message(
            "No model is named, so `predict` takes the file with --force only; name the one that made the "
            "predictions with --model."
        )
    for names, reason in (
        (held_out.joined.unmatched, "predictions without a label are left out"),
        (held_out.joined.failed, "failed inputs are left out"),
    ):
        if names:
            more = ", ..." if len(names) > 10 else ""
            console.message(f"{len(names):,} {reason}: {', '.join(names[:10])}{more}")
    if held_out.joined.labels.lesion_id is None:
        console.message("The labels name neither lesions nor patients: every image counts as independent.")
    if held_out.joined.unused:
        console.message(f"{len(held_out.joined.unused):,} labels have no prediction.")
    report_labels(held_out.joined.labels)


def report_result(result: Tuned) -> None:
    """Print the operating point, its claim, and the points of other targets, classes and costs."""
    point = result.point
    positives, negatives = point.tp + point.fn, point.fp + point.tn
    console.out(f"threshold {point.threshold:.6g}: flagged at or above, once per {point.unit}")
    console.out(f"flagged: {point.tp:,} of {positives:,} positives, {point.fp:,} of {negatives:,} negatives")
    console.out("")
    _report_rates(result)
    console.out("")
    console.out(point.claim)
    console.out("")
    console.table(
        ["sensitivity of", *_RATES],
        [[f"{target:.2f}", *_cells(other)] for target, other in result.table.items()],
    )
    if result.classes:
        console.out("")
        console.table(["class", *_RATES], [[code, *_cells(other)] for code, other in result.classes.items()])
    costs = result.threshold.data.get("cost_matrix")
    if costs:
        console.out("")
        console.out(
            f"Mean cost {_cost(costs['mean_cost'])} by cost, "
            f"{_cost(costs['mean_cost_most_probable'])} for the most probable class."
        )
    balanced = result.threshold.data.get("balanced")
    if balanced:
        console.out("")
        console.out(
            f"Balanced accuracy {_cost(balanced['balanced_accuracy'])} by the fitted rule, "
            f"{_cost(balanced['balanced_accuracy_most_probable'])} for the most probable class."
        )


def _report_rates(result: Tuned) -> None:
    point = result.point
    rows = {
        "sensitivity": point.sensitivity,
        "specificity": point.specificity,
        "PPV": point.ppv,
        "NPV": point.npv,
        "LR+": point.lr_positive,
        "LR-": point.lr_negative,
        "ROC-AUC": result.auc,
    }
    if point.ppv_at_prevalence and point.npv_at_prevalence:
        rows[f"PPV at prevalence {point.prevalence:g}"] = point.ppv_at_prevalence
        rows[f"NPV at prevalence {point.prevalence:g}"] = point.npv_at_prevalence
    console.table(
        ["", "value", f"{point.confidence:.0%} interval"],
        [[name, f"{e.value:.3f}", f"{e.low:.3f} to {e.high:.3f}"] for name, e in rows.items()],
    )


def _cells(point: OperatingPoint | None) -> list[str]:
    if point is None:
        return ["too few data", "", "", "", "", "no"]
    rates = [str(e) for e in (point.sensitivity, point.specificity, point.ppv, point.npv)]
    return [f"{point.threshold:.6f}", *rates, "yes" if point.claimed else "no"]


def _cost(mean: Mapping[str, Any]) -> str:
    return f"{mean['value']:.4g} ({mean['low']:.4g} to {mean['high']:.4g})"
