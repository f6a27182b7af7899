"""Report of a run: learning curves, a diagnosis of the fit, and evaluations of its predictions.

It reads `history.json`, the predictions and the bundle, so it works for both frameworks.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from skinclf._utils.files import replace_file
from skinclf._utils.notice import NOTICE
from skinclf.decisions.held_out import PREDICTIONS
from skinclf.errors import InvalidArgumentError, MismatchError, ModelError
from skinclf.models.bundle import read_spec
from skinclf.models.spec import ModelSpec
from skinclf_training.config.read import load_config
from skinclf_training.config.schema import LAST_EPOCH
from skinclf_training.data.prepared import image_files
from skinclf_training.recipes.run_folder import chosen_on_validation

log = logging.getLogger("skinclf")
CURVES, REPORT = "curves.png", "report.md"
#: Folder of each part's evaluation in the run's.
EVALUATIONS: Mapping[str, str] = {"val": "evaluation_val", "test": "evaluation"}
Row = Mapping[str, Any]
#: Training accuracy minus validation accuracy from which a run counts as mildly overfitting, overfitting, underfitting.
_MILD, _SEVERE, _UNDER = 0.05, 0.10, -0.02
#: Relative rise of the validation loss above its minimum that is reported.
_RISE = 0.05
_FEW = 3
#: Errors of each part that get a map.
_MAPS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Diagnosis of the fit from training and validation figures.

    Attributes:
        best_epoch: Epoch of the best figure, counted from 1.
        gap: Training accuracy minus validation accuracy at the best epoch.
        loss_rise: Relative rise of the last validation loss above the minimum.
        verdict: Verdict: `overfitting`, `mild overfitting`, `balanced` or `underfitting`.
        sentences: The diagnosis in words.
    """

    best_epoch: int
    gap: float
    loss_rise: float
    verdict: Literal["overfitting", "mild overfitting", "balanced", "underfitting"]
    sentences: tuple[str, ...]


def best_row(rows: Sequence[Row], select: str) -> Row:
    """Row of the epoch that is exported: the best by a figure, the first one of equals; or the last.

    Raises:
        InvalidArgumentError: No epoch has the figure.
    """
    if select == LAST_EPOCH and rows:
        return rows[-1]
    sign = -1 if select == "loss" else 1
    known = [row for row in rows if _known(row.get(f"val_{select}"))]
    if not known:
        raise InvalidArgumentError(f"No epoch of the history has a val_{select}.")
    return max(known, key=lambda row: sign * float(row[f"val_{select}"]))


def diagnose(rows: Sequence[Row], select: str) -> Diagnosis:
    """Diagnose overfitting or underfitting from the history of a run.

    The gap is that of the best epoch, whose weights are exported. Training figures are measured during the epoch, on
    augmented pictures and with dropout; they are lower than on the same pictures at prediction, so a small gap
    above 0 already indicates overfitting. The limits of 0.05 and 0.10 are Dermalyze's.

    Raises:
        InvalidArgumentError: No epoch has the figure.
    """
    best = best_row(rows, select)
    gap = float(best["train_accuracy"]) - float(best["val_accuracy"])
    losses = [float(row["val_loss"]) for row in rows if _known(row["val_loss"])]
    rise = losses[-1] / min(losses) - 1 if losses and min(losses) > 0 else 0.0
    verdict: Literal["overfitting", "mild overfitting", "balanced", "underfitting"]
    if gap >= _SEVERE:
        verdict = "overfitting"
    elif gap >= _MILD:
        verdict = "mild overfitting"
    else:
        improving = losses[-1:] == [min(losses)] if select == LAST_EPOCH and losses else best is rows[-1]
        verdict = "underfitting" if gap < _UNDER and improving else "balanced"
    words = {
        "overfitting": "It knows its training pictures far better than others; more augmentation, more "
        "weight decay, fewer epochs or a smaller network would help.",
        "mild overfitting": "It knows its training pictures somewhat better than others, as is usual.",
        "balanced": "Training and validation go together.",
        "underfitting": "It is still better on validation pictures than on augmented training pictures, and the "
        "last epoch was the best: more epochs or milder augmentation would help.",
    }
    epoch = int(best["epoch"])
    chosen = (
        f"Epoch {epoch} of {len(rows)}, the last one, is exported; no figure selected it."
        if select == LAST_EPOCH
        else f"Best epoch {epoch} of {len(rows)} by {select.replace('_', ' ')} ({float(best[f'val_{select}']):.4f})."
    )
    sentences = [
        chosen,
        (
            f"There accuracy is {float(best['train_accuracy']):.3f} in training (augmented pictures) and "
            f"{float(best['val_accuracy']):.3f} in validation, a gap of {gap:+.3f}: {verdict}."
        ),
        words[verdict],
    ]
    if rise > _RISE:
        sentences.append(
            f"The validation loss ended {rise:.0%} above its least: later epochs grew overconfident."
        )
    if len(rows) < _FEW:
        sentences.append(f"{len(rows)} epochs are too few to judge by.")
    return Diagnosis(best_epoch=epoch, gap=gap, loss_rise=rise, verdict=verdict, sentences=tuple(sentences))


def draw_curves(rows: Sequence[Row], select: str, path: Path) -> None:
    """Draw loss, accuracy, areas under curves, positive rate, learning rates and frozen layers by epoch.

    The best epoch is marked.

    Args:
        rows: History, one row per epoch.
        select: Figure that chose the best epoch.
        path: PNG file to write.
    """
    from skinclf.evaluation.report import style

    epochs = [float(row["epoch"]) for row in rows]
    best = float(best_row(rows, select)["epoch"])
    panels: Mapping[str, Mapping[str, tuple[str, str, str]]] = {
        "Loss": {
            "train_loss": ("training", style.OTHER, "--"),
            "val_loss": ("validation", style.MAIN, "-"),
        },
        "Accuracy": {
            "train_accuracy": ("training", style.OTHER, "--"),
            "val_accuracy": ("validation", style.MAIN, "-"),
            "val_balanced_accuracy": ("validation, balanced", "#009E73", ":"),
        },
        "Area under the curve, validation": {
            "val_macro_auc": ("macro ROC", style.MAIN, "-"),
            "val_malignant_auc": ("malignant ROC", style.ALERT, "-"),
            "val_malignant_pr_auc": ("malignant PR", "#E69F00", "--"),
        },
        "Predicted positive rate, validation": {
            "val_predicted_positive_rate": ("P(malignant) at least 0.5", style.ALERT, "-"),
        },
        "Learning rate": {"lr": ("backbone", style.MAIN, "-"), "head_lr": ("head", style.OTHER, "--")},
        "Frozen layers of the backbone": {"frozen_layers": ("frozen", style.MAIN, "-")},
    }
    with style.canvas(path, width=12.4, height=6.4, columns=3, rows=2) as (_, axes):
        for panel, (title, lines) in zip(axes.flat, panels.items(), strict=True):
            for key, (label, colour, dash) in lines.items():
                values = [float(row[key]) if _known(row.get(key)) else math.nan for row in rows]
                if any(map(_known, values)):
                    marker = "o" if len(rows) < _FEW else None
                    panel.plot(epochs, values, color=colour, ls=dash, label=label, marker=marker, ms=4)
            panel.axvline(best, color=style.MUTED, lw=0.9, ls=":", zorder=1)
            panel.set(title=title, xlabel="Epoch")
            panel.xaxis.get_major_locator().set_params(integer=True)
            if panel.lines[:-1]:
                panel.legend()
            if title == "Learning rate":
                panel.set_yscale("log")
            if title.startswith("Accuracy"):
                style.percent_ticks(panel.yaxis)
        axes.flat[0].annotate(
            f"best epoch {best:.0f}",
            (best, 1),
            xycoords=("data", "axes fraction"),
            xytext=(4, -2),
            textcoords="offset points",
            va="top",
            fontsize=8,
            color=style.MUTED,
        )


def evaluate_part(run: Path, bundle: Path, part: str, *, explain: int = 0) -> Path:
    """Evaluate the predictions of one part with the default threshold of the bundle.

    Args:
        run: Folder of an exported run.
        bundle: Bundle of the run.
        part: Part: `val` or `test`.
        explain: How many of the most confident errors get a map in the report, as far as their images are there.

    Returns:
        Path of `metrics.json` in `evaluation/` (or `evaluation_val/`) of the run; the report is beside it.

    Raises:
        InvalidArgumentError: The data or predictions of the run are missing or belong to another bundle.
    """
    from skinclf.decisions.threshold_file import resolve_threshold
    from skinclf.evaluation.evaluate import evaluate
    from skinclf.evaluation.result import Evaluation
    from skinclf_training.recipes.run_folder import data_folder

    spec, own, travelling = read_spec(bundle), run / PREDICTIONS, bundle / PREDICTIONS
    if not own.is_file() or not travelling.is_file() or own.read_bytes() != travelling.read_bytes():
        raise InvalidArgumentError(
            f"{run}: its predictions were not made by {bundle}. Export the run again, or evaluate "
            "predictions of the bundle (`skinclf.evaluate`) and name the file as `metrics`."
        )
    log.info("%s: evaluating its predictions of the %s part", run, part)
    default = spec.default_operating_point
    found = evaluate(
        run / f"predictions_{part}.csv",
        data_folder(run) / "split.csv",
        split=part,
        label_set=spec.labels,
        threshold=None if default is None else resolve_threshold(default, spec)[0],
        name=spec.name,
    )
    identified = Evaluation({**found.metrics, "model": spec.identity.to_dict()})
    folder = run / EVALUATIONS[part]
    if explain:
        from skinclf.explanation.explainer import Explainer

        try:
            files = image_files(data_folder(run))
            identified.write(folder, images=files, explainer=Explainer(bundle), explain=explain)
        except (
            ModelError,
            InvalidArgumentError,
            MismatchError,
        ) as error:  # figures are worth having without maps
            log.warning("%s: its errors are shown without maps: %s", run, error)
            identified.write(folder)
    else:
        identified.write(folder)
    return folder / "metrics.json"


def write_run_report(run: Path, bundle: Path) -> Path:
    """Draw the curves, evaluate validation and test predictions, and write one page.

    Args:
        run: Folder of an exported run.
        bundle: Bundle of the run.

    Returns:
        Path of `report.md` in the folder of the run.

    Raises:
        InvalidArgumentError: The run or its predictions do not belong to the bundle.
    """
    config = load_config(str(run / "config.yaml"))
    rows = json.loads((run / "history.json").read_text(encoding="utf-8"))
    draw_curves(rows, config.select, run / CURVES)
    found = diagnose(rows, config.select)
    parts = [part for part in EVALUATIONS if (run / f"predictions_{part}.csv").is_file()]
    metrics = {
        part: json.loads(evaluate_part(run, bundle, part, explain=_MAPS).read_text(encoding="utf-8"))
        for part in parts
    }
    text = _page(read_spec(bundle), found, metrics)
    replace_file(run / REPORT, text.encode())
    return run / REPORT


def _page(spec: ModelSpec, found: Diagnosis, metrics: Mapping[str, Mapping[str, Any]]) -> str:
    t = spec.training
    lines = [
        f"# {spec.name}",
        "",
        NOTICE,
        "",
        (
            f"{spec.architecture}, {spec.preprocess.height} x {spec.preprocess.width} px, trained on {t['data']} "
            f"(split `{str(t['split_sha256'])[:16]}`, seed {t['seed']}, start: {t['init']}; "
            f"{t['minutes']} minutes on {t['hardware']})."
        ),
        "",
        f"![Curves of training and validation]({CURVES})",
        "",
        " ".join(found.sentences),
        "",
        f"The validation part chose {chosen_on_validation(t['config']['select'])}; only the test part is a fair test.",
        "",
        "| | " + " | ".join(metrics) + " |",
        "|---|" + "---|" * len(metrics),
    ]
    named = {part: dict(_headline(values)) for part, values in metrics.items()}
    names = dict.fromkeys(name for values in named.values() for name in values)
    lines += [
        " | ".join([f"| {name}", *(values.get(name, "") for values in named.values())]) + " |"
        for name in names
    ]
    lines += ["", "Reports: " + ", ".join(f"[{p}]({EVALUATIONS[p]}/report.html)" for p in metrics), ""]
    return "\n".join(lines)


def _headline(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    overall, binary = metrics["multiclass"], metrics["binary"]
    items: list[tuple[str, Any]] = []
    if overall:
        items += [
            (key.replace("_", " "), overall[key]) for key in ("accuracy", "balanced_accuracy", "macro_f1")
        ]
        items.append(("macro ROC-AUC", overall["roc_auc_macro"]))
    if binary:
        positive = "+".join(binary["positive"])
        names = {"roc_auc": "ROC-AUC", "pr_auc": "PR-AUC", "ece": "calibration error"}
        items += [(f"{title} {positive}", binary[key]) for key, title in names.items()]
    return [(name, _interval(item)) for name, item in items if item and item["value"] is not None]


def _interval(item: Mapping[str, Any]) -> str:
    known = item["low"] is not None
    return f"{item['value']:.3f}" + (f" ({item['low']:.3f}-{item['high']:.3f})" if known else "")


def _known(value: Any) -> bool:
    return value is not None and not math.isnan(float(value))
