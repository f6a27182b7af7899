"""Figures by class: confusion matrices, rates of each class, reliability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skinclf.evaluation.report import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Metrics = Mapping[str, Any]
#: Columns of the per-class figure.
_RATES = (
    ("recall", "Sensitivity (recall)"),
    ("precision", "Precision (PPV)"),
    ("f1", "F1"),
    ("roc_auc", "ROC-AUC"),
)


def confusion(metrics: Metrics, path: Path) -> str | None:
    """Confusion matrix as counts and by row; returns what the figure shows, or None."""
    if metrics["multiclass"] is None:
        return None
    matrix = metrics["multiclass"]["confusion"]
    shares = [[n / max(1, sum(row)) for n in row] for row in matrix]
    codes = [label["code"] for label in metrics["data"]["labels"]]
    size = max(2.6, 0.58 * len(codes) + 0.9)
    with style.canvas(path, width=2 * size + 0.6, height=size + 0.35, columns=2) as (_, axes):
        _matrix(axes[0], shares, [[f"{n:,}" if n else "·" for n in row] for row in matrix], codes)
        _matrix(axes[1], shares, [[f"{100 * x:.0f}" if x else "·" for x in row] for row in shares], codes)
        axes[0].set_title("Images")
        axes[1].set_title("Per cent of the true class")
    return "Rows are the reference, columns the answer; shading is the share of the row in both panels."


def _matrix(
    axes: Axes, shares: Sequence[Sequence[float]], texts: Sequence[Sequence[str]], codes: Sequence[str]
) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    axes.imshow(shares, cmap=LinearSegmentedColormap.from_list("skinclf", style.HEAT), vmin=0, vmax=1)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_xticks(range(len(codes)), codes, rotation=45 if max(map(len, codes)) > 5 else 0)
    axes.set_yticks(range(len(codes)), codes)
    axes.set(xlabel="Answer", ylabel="Reference")
    for i, row in enumerate(texts):
        for j, text in enumerate(row):
            dark = shares[i][j] > 0.55
            colour = "white" if dark else style.INK if text != "·" else "#a8b2bc"
            axes.text(
                j,
                i,
                text,
                ha="center",
                va="center",
                color=colour,
                fontsize=8.8,
                fontweight="bold" if i == j else "normal",
            )


def per_class(metrics: Metrics, path: Path) -> str | None:
    """Rates of each class with intervals; returns what the figure shows, or None."""
    rows = metrics["per_class"]
    if not rows:
        return None
    styles = style.line_styles(metrics["data"]["labels"])
    with style.canvas(path, width=10.6, height=0.36 * len(rows) + 1.3, columns=len(_RATES)) as (_, axes):
        for k, (axis, (name, title)) in enumerate(zip(axes, _RATES, strict=True)):
            for i, row in enumerate(rows):
                item, colour = row[name], styles[row["code"]]["color"]
                if item["value"] is None:
                    axis.text(0.02, i, "undefined", va="center", color=style.MUTED, fontsize=8)
                    continue
                axis.barh(i, item["value"], 0.62, color=colour, alpha=0.32)
                if item["low"] is not None:
                    axis.plot(
                        [item["low"], item["high"]], [i, i], color=colour, lw=2.2, solid_capstyle="butt"
                    )
                axis.plot(item["value"], i, "o", ms=5, color=colour, clip_on=False)
            names = [f"{row['code']}  n={row['support']:,}" for row in rows] if k == 0 else [""] * len(rows)
            axis.set_yticks(range(len(rows)), names)
            axis.invert_yaxis()
            axis.grid(visible=False, axis="y")
            style.percent_axes(axis, y=False)
            axis.set_xticks([0, 0.5, 1])
            axis.set_title(title)
    return (
        f"Points with {metrics['settings']['confidence']:.0%} intervals; warm colours are malignant classes."
    )


def reliability(metrics: Metrics, path: Path) -> str | None:
    """Observed against predicted; returns what the figure shows, or None."""
    drawn, panels = metrics["curves"]["reliability"], list[tuple[Metrics, str, Metrics]]()
    if drawn["binary"]:
        name = f"P({style.positive_name(metrics).lower()})"
        panels.append((drawn["binary"], name, metrics["binary"]["ece"]))
    if drawn["top_label"] and (len(metrics["per_class"]) > 2 or not panels):
        panels.append(
            (drawn["top_label"], "Confidence of the answer", metrics["multiclass"]["ece_top_label"])
        )
    if not panels:
        return None
    with style.canvas(
        path, width=4.7 * len(panels), height=5.2, columns=len(panels), rows=2, heights=(4, 1)
    ) as (_, axes):
        grid = axes.reshape(2, len(panels))
        for column, (points, title, error) in enumerate(panels):
            top, below = grid[0, column], grid[1, column]
            _reliability(top, points)
            top.set_title(title)
            text = f"ECE {style.estimate(error)}"
            top.text(0.97, 0.04, text, transform=top.transAxes, ha="right", fontsize=8.8)
            width = points["high"][0] - points["low"][0]
            below.bar(
                points["low"], points["n"], width, align="edge", color=style.MAIN, alpha=0.45, ec="white"
            )
            below.set(yscale="log", xlabel="Predicted probability", ylabel="Images")
            style.percent_axes(below, y=False)
    settings = metrics["settings"]
    return (
        f"{settings['bins']} equal-width bins with exact {settings['confidence']:.0%} intervals of the share "
        "observed (images taken as independent); on the diagonal, probabilities mean what they say. Hollow "
        f"points rest on fewer than {style.FEW} images."
    )


def _reliability(axes: Axes, points: Metrics) -> None:
    axes.plot([0, 1], [0, 1], color=style.MUTED, lw=0.9, ls=":", zorder=1)
    axes.plot(points["predicted"], points["observed"], color=style.MAIN, lw=1.1, alpha=0.5)
    names = ("predicted", "observed", "observed_low", "observed_high", "n")
    for x, y, low, high, n in zip(*(points[name] for name in names), strict=True):
        few = n < style.FEW
        axes.plot(
            [x, x], [low, high], color=style.MAIN, lw=1.6, alpha=0.3 if few else 0.55, solid_capstyle="butt"
        )
        axes.plot(
            x, y, "o", ms=5.5, mec=style.MAIN, mfc="white" if few else style.MAIN, mew=1.3, clip_on=False
        )
    style.percent_axes(axes)
    axes.set_ylabel("Observed share")
    axes.set_xticklabels([])
