"""Figures of ranking and of decisions: ROC, precision and recall, scores, net benefit, risk and coverage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skinclf.evaluation.report import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Metrics = Mapping[str, Any]


def roc(metrics: Metrics, path: Path) -> str | None:
    """ROC curves; returns what the figure shows, or None when there is nothing to draw."""
    return _pair(metrics, path, "roc")


def precision_recall(metrics: Metrics, path: Path) -> str | None:
    """Precision-recall curves; returns what the figure shows, or None."""
    return _pair(metrics, path, "pr")


def _pair(metrics: Metrics, path: Path, kind: str) -> str | None:
    """The two-class view and all classes side by side, as far as they exist."""
    drawn = metrics["curves"][kind]
    classes = {code: points for code, points in drawn["classes"].items() if points}
    panels = []
    if drawn["binary"]:
        panels.append("binary")
    if classes and (len(classes) > 2 or not panels):
        panels.append("classes")
    if not panels:
        return None
    with style.canvas(path, width=4.9 * len(panels), height=4.6, columns=len(panels)) as (_, axes):
        for name, panel in zip(panels, [axes] if len(panels) == 1 else list(axes), strict=True):
            _axes(panel, kind)
            if name == "binary":
                _binary(panel, metrics, kind)
            else:
                _classes(panel, metrics, classes, kind)
    words = {"roc": "Sensitivity against specificity", "pr": "Precision (PPV) against sensitivity"}[kind]
    return f"{words} at every possible threshold; bands are {_level(metrics)}s."


def _axes(axes: Axes, kind: str) -> None:
    style.percent_axes(axes)
    axes.set_aspect("equal")
    if kind == "roc":
        axes.set(xlabel="1 - specificity", ylabel="Sensitivity")
        axes.plot([0, 1], [0, 1], color=style.MUTED, lw=0.9, ls=":", zorder=1)
    else:
        axes.set(xlabel="Sensitivity (recall)", ylabel="Precision (PPV)")


def _xy(points: Metrics, kind: str) -> tuple[list[float], list[float]]:
    return (points["fpr"], points["tpr"]) if kind == "roc" else (points["recall"], points["precision"])


def _binary(axes: Axes, metrics: Metrics, kind: str) -> None:
    points = metrics["curves"][kind]["binary"]
    band, area = points["band"], metrics["binary"][f"{kind}_auc"]
    axes.fill_between(
        band["fpr" if kind == "roc" else "recall"],
        band["band_low"],
        band["band_high"],
        color=style.MAIN,
        alpha=0.16,
        lw=0,
    )
    x, y = _xy(points, kind)
    label = f"{'AUC' if kind == 'roc' else 'AP'} {style.estimate(area)}"
    axes.plot(x, y, color=style.MAIN, label=label, drawstyle="default" if kind == "roc" else "steps-pre")
    axes.set_title(f"{style.positive_name(metrics)} against the rest")
    if kind == "pr":
        axes.axhline(points["prevalence"], color=style.MUTED, lw=0.9, ls=":", zorder=1)
        axes.annotate(
            f"prevalence {points['prevalence']:.0%}",
            (0.02, points["prevalence"]),
            (0, 4),
            textcoords="offset points",
            color=style.MUTED,
            fontsize=8,
        )
    point = metrics["operating_point"] and metrics["operating_point"]["image"]
    if point:
        sensitivity, specificity = point["sensitivity"]["value"], point["specificity"]["value"]
        precision = point["ppv"]["value"]
        across, up = (1 - specificity, sensitivity) if kind == "roc" else (sensitivity, precision)
        other = f"spec. {specificity:.1%}" if kind == "roc" else f"PPV {precision or 0:.1%}"
        if up is not None:
            axes.plot(
                across,
                up,
                "o",
                ms=7.5,
                mfc="white",
                mec=style.ALERT,
                mew=2,
                zorder=5,
                clip_on=False,
                label=f"threshold {metrics['threshold']['value']:.3g}: sens. {sensitivity:.1%}, {other}",
            )
    axes.legend(loc="lower right" if kind == "roc" else "lower left")


def _classes(axes: Axes, metrics: Metrics, classes: Metrics, kind: str) -> None:
    styles = style.line_styles(metrics["data"]["labels"])
    areas = {row["code"]: row[f"{kind}_auc"] for row in metrics["per_class"]}
    for code, points in classes.items():
        x, y = _xy(points, kind)
        text = f"{code}  {style.estimate(areas[code])}"
        axes.plot(
            x, y, lw=1.5, label=text, drawstyle="default" if kind == "roc" else "steps-pre", **styles[code]
        )
    axes.set_title("Each class against the rest")
    title = ("AUC" if kind == "roc" else "Average precision") + f" ({_level(metrics)})"
    legend = axes.legend(
        loc="lower right" if kind == "roc" else "lower left",
        title=title,
        title_fontsize=8.5,
        handlelength=2.6,
    )
    legend.set_alignment("left")


def scores(metrics: Metrics, path: Path) -> str | None:
    """How the two-class score is distributed; returns what the figure shows, or None."""
    drawn = metrics["curves"]["scores"]
    if drawn is None:
        return None
    edges, threshold = drawn["edges"], metrics["threshold"]["value"]
    names = (("negative", style.MAIN, "not "), ("positive", style.ALERT, ""))
    with style.canvas(path, width=5.6, height=3.2) as (_, axes):
        for name, colour, word in names:
            label = f"{word}{style.positive_name(metrics).lower()} ({sum(drawn[name]):,} images)"
            axes.stairs(drawn[name], edges, fill=True, color=colour, alpha=0.28)
            axes.stairs(drawn[name], edges, color=colour, lw=1.5, label=label)
        axes.axvline(threshold, color=style.INK, lw=1.2)
        axes.annotate(
            f"threshold {threshold:.3g}",
            (threshold, 1),
            (5, -11),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            fontsize=8.5,
        )
        style.percent_axes(axes, y=False)
        axes.set(xlabel="Predicted probability", ylabel="Images (log scale)", yscale="log", ylim=(0.7, None))
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    return "Predicted probabilities by reference; what lies right of the line is flagged."


def decision_curve(metrics: Metrics, path: Path) -> str | None:
    """Net benefit against threshold probability; returns what the figure shows, or None."""
    drawn = metrics["curves"]["decision"]
    if drawn is None:
        return None
    with style.canvas(path, width=5.6, height=3.6) as (_, axes):
        at = drawn["threshold"]
        axes.fill_between(at, drawn["band_low"], drawn["band_high"], color=style.MAIN, alpha=0.16, lw=0)
        axes.plot(at, drawn["all"], color=style.OTHER, ls=(0, (5, 1.6)), lw=1.4, label="act on everyone")
        axes.axhline(0, color=style.MUTED, lw=1.2, label="act on no one")
        axes.plot(at, drawn["model"], color=style.MAIN, label="act on the model")
        axes.axvline(metrics["threshold"]["value"], color=style.ALERT, lw=1, ls=":")
        style.percent_axes(axes, x=True, y=False)
        top = max(*drawn["band_high"], 0.01)  # without positives there is no benefit to show
        axes.set(
            xlim=(0, max(at)),
            ylim=(-0.25 * top, 1.1 * top),
            ylabel="Net benefit per image",
            xlabel="Risk at which one would act (threshold probability)",
        )
        axes.legend(loc="upper right")
    return (
        "Net benefit of acting on the model's probability, as it is, against acting on everyone or no one "
        f"(Vickers and Elkin 2006); bands are {_level(metrics)}s."
    )


def risk_coverage(metrics: Metrics, path: Path) -> str | None:
    """Error rate against the share of images answered; returns what the figure shows, or None."""
    drawn = metrics["curves"]["risk_coverage"]
    if drawn is None:
        return None
    with style.canvas(path, width=5.6, height=3.6) as (_, axes):
        axes.fill_between(
            drawn["coverage"], drawn["band_low"], drawn["band_high"], color=style.MAIN, alpha=0.16, lw=0
        )
        axes.plot(drawn["coverage"], drawn["risk"], color=style.MAIN)
        style.percent_axes(axes, y=False)
        style.percent_ticks(axes.yaxis)
        axes.set(
            xlabel="Coverage: share of images answered, the most confident first",
            ylabel="Error rate among them",
            xlim=(0.08, 1.01),
            ylim=(0, None),
        )
    return f"Errors left when the least confident images are referred; bands are {_level(metrics)}s."


def _level(metrics: Metrics) -> str:
    return f"{metrics['settings']['confidence']:.0%} interval"
