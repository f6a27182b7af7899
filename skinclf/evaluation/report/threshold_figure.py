"""Figure of an operating point: both rates against the threshold, and the point on the ROC curve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from skinclf.decisions.operating_point import OperatingPoint
from skinclf.decisions.thresholds import Curve
from skinclf.decisions.tune import Tuned
from skinclf.evaluation.report.style import ALERT, INK, MAIN, MUTED, canvas, percent_axes
from skinclf.metrics.estimate import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_threshold(path: Path, result: Tuned) -> None:
    """Write the figure of an operating point as PNG.

    Args:
        path: PNG file.
        result: Operating point with its sample, from `skinclf.decisions.tune.tune`.

    Raises:
        OutputError: The file cannot be written.
    """
    data = result.threshold.data
    name = (data["model"] or {}).get("name") or data["data"]["predictions"]
    classes = " + ".join(data["positive"] or ["malignant"])
    curve = Curve.of(result.sample.truth, result.sample.score)
    with canvas(path, width=10.4, height=4.7, columns=2) as (figure, (left, right)):
        title = f"{name}: {classes} against the rest"
        figure.suptitle(title, x=0.01, ha="left", fontsize=11.5, fontweight="bold")
        _rates(left, curve, result.point)
        _roc(right, curve, result.point, result.auc)


def _rates(axes: Axes, curve: Curve, point: OperatingPoint) -> None:
    # A rate at threshold t counts scores >= t, so it holds on the interval that ends at a score: steps "pre".
    edges = np.concatenate([[0.0], curve.thresholds, [max(1.0, float(curve.thresholds[-1]))]])
    for rate, estimate, colour, dash, name in (
        (curve.sensitivity, point.sensitivity, ALERT, "-", "Sensitivity"),
        (curve.specificity, point.specificity, MAIN, (0, (5, 1.6)), "Specificity"),
    ):
        heights = np.concatenate([[rate[0]], rate, [rate[-1]]])
        label = f"{name} {_percent(estimate)}"
        axes.step(edges, heights, where="pre", color=colour, linestyle=dash, label=label)
        axes.errorbar(
            [point.threshold],
            [estimate.value],
            yerr=[[estimate.value - estimate.low], [estimate.high - estimate.value]],
            color=colour,
            marker="o",
            markersize=5.5,
            capsize=4,
            elinewidth=1.6,
            zorder=4,
        )
    axes.axvline(point.threshold, color=INK, linewidth=1, linestyle=":", zorder=1)
    side = point.threshold < 0.6
    axes.annotate(
        f"threshold {point.threshold:.4f}",
        (point.threshold, 0.02),
        xytext=(6 if side else -6, 0),
        textcoords="offset points",
        ha="left" if side else "right",
        color=INK,
        fontsize=8.5,
    )
    percent_axes(axes, x=False)
    axes.set_xlim(0, edges[-1])
    axes.set_xlabel("Threshold on the probability (flagged at or above)")
    axes.set_title(f"What each threshold does, {point.confidence:.0%} intervals")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncol=2)


def _roc(axes: Axes, curve: Curve, point: OperatingPoint, auc: Estimate | None) -> None:
    from matplotlib.patches import Rectangle

    area = "" if auc is None else f", area {auc.value:.3f} ({auc.low:.3f} to {auc.high:.3f})"
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, linestyle=":")
    axes.plot(1 - curve.specificity, curve.sensitivity, color=MAIN, label=f"ROC curve{area}")
    sensitivity, specificity = point.region
    corner = (1 - specificity.high, sensitivity.low)
    size = (specificity.high - specificity.low, sensitivity.high - sensitivity.low)
    label = f"Joint {point.confidence:.0%} confidence region"
    axes.add_patch(
        Rectangle(corner, *size, facecolor=ALERT, alpha=0.22, edgecolor=ALERT, label=label, zorder=3)
    )
    axes.plot(
        [1 - point.specificity.value],
        [point.sensitivity.value],
        color=ALERT,
        marker="o",
        markersize=6,
        linestyle="none",
        zorder=5,
        label=f"Operating point: {point.tp:,} of {point.tp + point.fn:,} positives flagged",
    )
    if point.criterion in {"sensitivity", "specificity"} and point.target is not None:
        line = axes.axhline if point.criterion == "sensitivity" else axes.axvline
        at = point.target if point.criterion == "sensitivity" else 1 - point.target
        line(
            at,
            color=INK,
            linewidth=0.9,
            linestyle=(0, (2, 2)),
            label=f"Target {point.criterion} {point.target:g}",
        )
    percent_axes(axes)
    axes.set_aspect("equal")
    axes.set_xlabel("1 - specificity")
    axes.set_ylabel("Sensitivity")
    unit = "lesion" if point.unit == "lesion" else "image"
    axes.set_title(f"ROC curve, {point.n:,} {unit}s")
    axes.legend(loc="lower right", frameon=True, framealpha=0.92, edgecolor="none")


def _percent(estimate: Estimate) -> str:
    return f"{100 * estimate.value:.1f}% ({100 * estimate.low:.1f} to {100 * estimate.high:.1f})"
