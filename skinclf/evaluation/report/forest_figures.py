"""Forest plots: subgroups, which classes are flagged, and differences between two models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skinclf.evaluation.report import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Metrics = Mapping[str, Any]
_DIFFERENCES = (
    ("multiclass.balanced_accuracy", "Balanced accuracy"),
    ("multiclass.macro_f1", "Macro F1"),
    ("multiclass.roc_auc_macro", "Macro ROC-AUC"),
    ("multiclass.mcc", "MCC"),
    ("binary.roc_auc", "ROC-AUC, two classes"),
    ("binary.pr_auc", "PR-AUC, two classes"),
    ("binary.specificity_at_0.9", "Specificity at 90 % sensitivity"),
    ("binary.specificity_at_0.95", "Specificity at 95 % sensitivity"),
    ("binary.ece", "ECE, two classes (lower is better)"),
    ("binary.brier", "Brier score, two classes (lower is better)"),
)


def subgroups(metrics: Metrics, path: Path) -> str | None:
    """Sensitivity, specificity and AUC by subgroup; returns what the figure shows, or None."""
    rows = metrics["subgroups"]
    if not rows or metrics["binary"] is None:
        return None
    columns = (("sensitivity", "Sensitivity"), ("specificity", "Specificity"), ("roc_auc", "ROC-AUC"))
    overall = metrics["operating_point"] and metrics["operating_point"]["image"]
    reference = {name: overall[name]["value"] for name in ("sensitivity", "specificity")} if overall else {}
    reference["roc_auc"] = metrics["binary"]["roc_auc"]["value"]
    places, names, heads = _places(rows)
    with style.canvas(path, width=10.2, height=0.25 * (places[-1] + 1) + 1.0, columns=3) as (_, axes):
        for k, (axis, (name, title)) in enumerate(zip(axes, columns, strict=True)):
            if reference.get(name) is not None:
                axis.axvline(reference[name], color=style.MUTED, lw=1, ls=":")
            bases = [
                row["n"] - row["n_positive"] if name == "specificity" else row["n_positive"] for row in rows
            ]
            few = [base < style.FEW for base in bases]
            _dots(axis, places, [row[name] for row in rows], few)
            axis.set_yticks(places, names if k == 0 else [""] * len(places))
            axis.set_ylim(places[-1] + 0.7, -0.9)
            axis.set_title(title)
            style.percent_axes(axis, y=False)
            if name == "roc_auc" and all((row[name]["low"] or 1) > 0.5 for row in rows):
                axis.set_xlim(0.495, 1.005)
            if k == 0:
                for place, text in heads:
                    axis.annotate(
                        text,
                        (0, place),
                        (-6, 0),
                        xycoords=("axes fraction", "data"),
                        va="center",
                        textcoords="offset points",
                        ha="right",
                        fontweight="bold",
                    )
    return (
        f"At the threshold {metrics['threshold']['value']:.3g}; dotted lines are all images. Hollow points "
        f"rest on fewer than {style.FEW} images of the class concerned."
    )


def _places(rows: Sequence[Metrics]) -> tuple[list[int], list[str], list[tuple[int, str]]]:
    """Height of each row, its name, and a heading per column of the table."""
    places: list[int] = []
    heads: list[tuple[int, str]] = []
    height = -1
    for i, row in enumerate(rows):
        if i == 0 or row["column"] != rows[i - 1]["column"]:
            height += 1
            heads.append((height, style.column_name(row["column"])))
        height += 1
        places.append(height)
    names = [f"{row['value']}  ({row['n_positive']:,} of {row['n']:,})" for row in rows]
    return places, names, heads


def _dots(axes: Axes, places: Sequence[float], items: Sequence[Metrics], few: Sequence[bool]) -> None:
    for place, item, hollow in zip(places, items, few, strict=True):
        if item["value"] is None:
            continue
        if item["low"] is not None:
            axes.plot(
                [item["low"], item["high"]],
                [place, place],
                color=style.MAIN,
                lw=1.8,
                alpha=0.45 if hollow else 0.9,
                solid_capstyle="butt",
            )
        axes.plot(
            item["value"],
            place,
            "o",
            ms=5.5,
            mec=style.MAIN,
            mfc="white" if hollow else style.MAIN,
            mew=1.4,
            clip_on=False,
            zorder=4,
        )
    axes.grid(visible=False, axis="y")


def flagged(metrics: Metrics, path: Path) -> str | None:
    """Share of each class that the threshold flags; returns what the figure shows, or None."""
    point = metrics["operating_point"]
    if not point or not point["flagged_by_class"]:
        return None
    styles = style.line_styles(metrics["data"]["labels"])
    rows = [(code, item) for code, item in point["flagged_by_class"].items() if item["n"]]
    with style.canvas(path, width=5.6, height=0.32 * len(rows) + 0.95) as (_, axes):
        for i, (code, item) in enumerate(rows):
            colour = styles[code]["color"]
            axes.barh(i, item["value"], 0.62, color=colour, alpha=0.32)
            axes.plot([item["low"], item["high"]], [i, i], color=colour, lw=2.2, solid_capstyle="butt")
            axes.plot(item["value"], i, "o", ms=5, color=colour, clip_on=False)
        axes.set_yticks(
            range(len(rows)), [f"{code}  {item['count']:,} of {item['n']:,}" for code, item in rows]
        )
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        style.percent_axes(axes, y=False)
        axes.set_xlabel("Flagged at the threshold")
    return "For malignant classes this is the sensitivity, for benign ones the false-alarm rate."


def differences(metrics: Metrics, path: Path) -> str | None:
    """Differences between two models; returns what the figure shows, or None."""
    other = metrics["comparison"]
    if other is None:
        return None
    rows = [(text, other["differences"][name]) for name, text in _DIFFERENCES if name in other["differences"]]
    rows = [(text, item) for text, item in rows if item["difference"]["value"] is not None]
    if not rows:
        return None
    with style.canvas(path, width=7.6, height=0.34 * len(rows) + 1.2) as (_, axes):
        axes.axvline(0, color=style.MUTED, lw=1, ls=":")
        _dots(axes, range(len(rows)), [item["difference"] for _, item in rows], [False] * len(rows))
        axes.set_yticks(range(len(rows)), [text for text, _ in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlabel(f"{other['names'][0]} minus {other['names'][1]}")
    return (
        f"Paired lesion-cluster bootstrap on {other['n']:,} images, "
        f"{metrics['settings']['confidence']:.0%} intervals."
    )
