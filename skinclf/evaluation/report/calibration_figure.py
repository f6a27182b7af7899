"""Reliability diagrams before and after calibration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from skinclf.decisions.recalibrate import Recalibrated
from skinclf.evaluation.curves import reliability
from skinclf.evaluation.report.style import ALERT, MAIN, MUTED, canvas, percent_axes
from skinclf.metrics.calibration import BINS
from skinclf.metrics.estimate import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LOOKS: dict[str, dict[str, Any]] = {
    "before": {"color": ALERT, "marker": "s", "linestyle": (0, (5, 1.6)), "markersize": 4},
    "after": {"color": MAIN, "marker": "o", "linestyle": "-", "markersize": 5},
}


def draw_calibration(path: Path, result: Recalibrated) -> None:
    """Write the picture: confidence of the answer (when classes are known) and P(malignant).

    Args:
        path: PNG file.
        result: From `recalibrate`.
    """
    group = list(result.group)
    panels = []
    if result.truth is not None:
        pairs = {
            when: (values.max(axis=1), values.argmax(axis=1) == result.truth)
            for when, values in (("before", result.before), ("after", result.after))
        }
        panels.append(("Confidence of the answer", "ece_top_label", pairs))
    pairs = {
        when: (np.minimum(values[:, group].sum(axis=1), 1.0), result.positive)
        for when, values in (("before", result.before), ("after", result.after))
    }
    panels.append(("P(malignant)", "malignant_ece", pairs))
    with canvas(path, width=5.2 * len(panels), height=5.2, columns=len(panels)) as (figure, axes):
        method = result.spec.calibration.method if result.spec.calibration else "no"
        figure.suptitle(
            f"{result.spec.name}: {method} calibration, {result.positive.size:,} images, {BINS} bins",
            x=0.01,
            ha="left",
            fontsize=11.5,
            fontweight="bold",
        )
        for axis, (title, metric, values) in zip(np.atleast_1d(axes), panels, strict=True):
            _panel(axis, title, values, {when: result.metrics[when][metric] for when in values})


def _panel(
    axes: Axes,
    title: str,
    values: dict[str, tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]],
    errors: dict[str, Estimate],
) -> None:
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, linestyle=":")
    for when, (probability, outcome) in values.items():
        points = reliability(probability, outcome)
        error = errors[when]
        axes.errorbar(
            points["predicted"],
            points["observed"],
            yerr=[points["observed"] - points["observed_low"], points["observed_high"] - points["observed"]],
            elinewidth=1.0,
            label=f"{when.capitalize()}: ECE {error.value:.3f} ({error.low:.3f} to {error.high:.3f})",
            **_LOOKS[when],
        )
    percent_axes(axes)
    axes.set_aspect("equal")
    axes.set_xlabel("Predicted")
    axes.set_ylabel("Observed, 95% intervals per bin")
    axes.set_title(title)
    axes.legend(loc="lower right", frameon=True, framealpha=0.92, edgecolor="none")
