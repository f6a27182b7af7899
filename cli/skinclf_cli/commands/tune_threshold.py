"""`skinclf tune-threshold`: choose an operating point that one can defend."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skinclf_cli import console
from skinclf_cli.types import Codes, OutputFile

if TYPE_CHECKING:
    from skinclf.decisions.held_out import HeldOut
    from skinclf.decisions.operating_point import OperatingPoint
    from skinclf.metrics.estimate import Estimate

_FILE = click.Path(path_type=Path, exists=True)
_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
_SHARE = click.FloatRange(0, 1, min_open=True)
_INSIDE = click.FloatRange(0, 1, min_open=True, max_open=True)


@click.command()
@click.option("--target-sensitivity", type=_SHARE, help="Highest specificity with at least this sensitivity.")
@click.option("--target-specificity", type=_SHARE, help="Highest sensitivity with at least this specificity.")
@click.option("--target-ppv", type=_SHARE, help="Highest sensitivity with at least this PPV.")
@click.option(
    "--cost-ratio",
    type=click.FloatRange(0, min_open=True),
    help="Least cost, when a miss costs this many false alarms.",
)
@click.option("--youden", is_flag=True, help="Highest sensitivity + specificity.")
@click.option(
    "--grade",
    type=click.Choice(["empirical", "expected", "guaranteed"]),
    default="empirical",
    show_default=True,
    help="Reached on these data, on average, or with --confidence.",
)
@click.option(
    "--confidence", type=_INSIDE, default=0.95, show_default=True, help="Of intervals and guarantee."
)
@click.option("--prevalence", type=_INSIDE, help="Share of positives where the model will be used.")
@click.option("--positive", type=Codes(), help="Positive class or classes. Default: the malignant ones.")
@click.option("--group-by", metavar="COLUMN", help="Decide once per lesion (lesion_id) or patient.")
@click.option(
    "--combine",
    type=click.Choice(["max", "mean"]),
    default="max",
    show_default=True,
    help="How the images of a lesion combine with --group-by.",
)
@click.option("--per-class", is_flag=True, help="Also a threshold for each class against the rest.")
@click.option("--cost-matrix", type=_FILE, help="Also decisions of least cost; CSV, a row per true class.")
@click.option("--predictions", type=_FILE, help="Predictions table. Default: those that came with the model.")
@click.option("--labels", type=_FILE, help="Labels: 0/1, class codes, one-hot, or a folder per class.")
@click.option("--split", help="Only rows of this split of the labels.")
@click.option("--run-dir", type=_FOLDER, help="Folder of a training run.")
@click.option("--model", help="Model that made the predictions. Default: the built-in one, for its own.")
@click.option(
    "--max-unmatched",
    type=click.FloatRange(0, 1),
    default=0.05,
    show_default=True,
    help="Share of predictions that may lack a label.",
)
@click.option("--name", help="Name of the operating point. Default: made from the criterion.")
@click.option(
    "--store", metavar="NAME", help="Also keep it as an operating point of the bundle --model FOLDER."
)
@click.option("--output", type=OutputFile(), default="threshold.json", show_default=True)
@click.option(
    "--plot/--no-plot", default=True, show_default=True, help="Write threshold_analysis.png beside it."
)
@click.option("--json", "as_json", is_flag=True, help="Write the content of the file to stdout.")
def tune_threshold(
    *,
    target_sensitivity: float | None,
    target_specificity: float | None,
    target_ppv: float | None,
    cost_ratio: float | None,
    youden: bool,
    per_class: bool,
    cost_matrix: Path | None,
    positive: tuple[str, ...] | None,
    group_by: str | None,
    name: str | None,
    store: str | None,
    output: Path,
    plot: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Choose a decision threshold on held-out predictions, with intervals for everything.

    \b
    skinclf tune-threshold --target-sensitivity 0.9
    skinclf tune-threshold --target-sensitivity 0.9 --grade guaranteed --group-by lesion_id
    skinclf tune-threshold --target-sensitivity 0.95 --predictions preds.csv --labels labels.csv
    """  # noqa: D301 - click's paragraph mark
    from skinclf.decisions.held_out import read_held_out
    from skinclf.decisions.tune import Criterion, tune

    criterion = {
        "target_sensitivity": target_sensitivity,
        "target_specificity": target_specificity,
        "target_ppv": target_ppv,
        "cost_ratio": cost_ratio,
        "youden": youden or None,
    }
    chosen = {key: value for key, value in criterion.items() if value is not None}
    if len(chosen) != 1:
        raise click.UsageError("State one criterion, for example --target-sensitivity 0.9.")
    places = ("predictions", "labels", "split", "run_dir", "model", "max_unmatched")
    held = read_held_out(**{key: options.pop(key) for key in places})
    _talk_about(held)
    result = tune(
        held,
        criterion=Criterion(**chosen),  # type: ignore[arg-type]
        positive=positive,
        group_by=group_by,
        name=name,
        per_class=per_class,
        cost_matrix=cost_matrix,
        **options,
    )
    if str(output) == "-":
        as_json, plot = True, False
    else:
        result.threshold.write(output)
    if as_json:
        console.json_out(dict(result.threshold.data))
    else:
        _show(result.point, result.table, result.auc)
        _show_classes(result.classes, result.threshold.data.get("cost_matrix"))
    written = [] if str(output) == "-" else [str(output)]
    if store is not None:
        _store(held, store, result.threshold.value, result.threshold.data)
        written.append(f"operating point {store!r} of {held.folder}")
    if plot:
        picture = output.with_name("threshold_analysis.png")
        from skinclf.evaluation.report.threshold_figure import draw_threshold

        draw_threshold(picture, result)
        written.append(str(picture))
    if written:
        console.talk(f"Written: {', '.join(written)}")


#: What of a threshold file an operating point keeps beside its threshold.
_EVIDENCE = (
    "sensitivity",
    "specificity",
    "ppv",
    "npv",
    "tp",
    "fn",
    "fp",
    "tn",
    "unit",
    "grade",
    "target",
    "n",
)


def _store(held: HeldOut, name: str, threshold: float, data: Any) -> None:
    """Make it an operating point of the bundle; the first one becomes the default of `predict`."""
    from skinclf.models.bundle import write_spec

    if held.spec is None or held.folder is None:
        raise click.UsageError("--store needs a bundle on this machine: --model FOLDER.")
    point = {"threshold": threshold, **{key: data[key] for key in _EVIDENCE if key in data}}
    spec = held.spec
    points = {**spec.operating_points, name: point}
    default = spec.default_operating_point or name
    write_spec(held.folder, spec.replace(operating_points=points, default_operating_point=default))


def _talk_about(held: HeldOut) -> None:
    model = (held.model or {}).get("name")
    by = f" by {model}" if model else ""
    console.talk(f"{len(held.joined):,} labelled predictions{by} in {held.predictions}")
    if held.model is None:
        console.talk("No model is named, so the file will fit any; name the one that made them with --model.")
    for names, what in (
        (held.joined.unmatched, "predictions without a label are left out"),
        (held.joined.failed, "failed inputs are left out"),
    ):
        if names:
            console.talk(
                f"{len(names):,} {what}: {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}"
            )
    if held.joined.unused:
        console.talk(f"{len(held.joined.unused):,} labels have no prediction.")


def _show(point: OperatingPoint, table: dict[float, OperatingPoint | None], auc: Estimate) -> None:
    level = f"{point.confidence:.0%} interval"
    console.out(f"threshold {point.threshold:.6g}: flagged at or above, once per {point.unit}")
    positives, negatives = point.tp + point.fn, point.fp + point.tn
    console.out(f"flagged: {point.tp:,} of {positives:,} positives, {point.fp:,} of {negatives:,} negatives")
    console.out("")
    rows = {
        "sensitivity": point.sensitivity,
        "specificity": point.specificity,
        "PPV": point.ppv,
        "NPV": point.npv,
        "LR+": point.lr_positive,
        "LR-": point.lr_negative,
        "ROC-AUC": auc,
    }
    if point.ppv_at_prevalence and point.npv_at_prevalence:
        rows[f"PPV at prevalence {point.prevalence:g}"] = point.ppv_at_prevalence
        rows[f"NPV at prevalence {point.prevalence:g}"] = point.npv_at_prevalence
    console.table(
        ["", "value", level], [[k, f"{e.value:.3f}", f"{e.low:.3f} to {e.high:.3f}"] for k, e in rows.items()]
    )
    console.out("")
    console.out(point.claim)
    console.out("")
    console.table(
        ["sensitivity of", "threshold", "sensitivity", "specificity", "PPV", "NPV", "may be claimed"],
        [[f"{target:.2f}", *_cells(other)] for target, other in table.items()],
    )


def _cells(point: OperatingPoint | None) -> list[str]:
    if point is None:
        return ["too few data", "", "", "", "", "no"]
    rates = [str(e) for e in (point.sensitivity, point.specificity, point.ppv, point.npv)]
    return [f"{point.threshold:.6f}", *rates, "yes" if point.claimed else "no"]


def _show_classes(classes: dict[str, OperatingPoint], costs: dict[str, Any] | None) -> None:
    if classes:
        console.out("")
        console.table(
            ["class", "threshold", "sensitivity", "specificity", "PPV", "NPV", "may be claimed"],
            [[code, *_cells(point)] for code, point in classes.items()],
        )
    if costs:
        console.out("")
        least, usual = costs["mean_cost"], costs["mean_cost_most_probable"]
        console.out(
            f"Mean cost {least['value']:.4g} ({least['low']:.4g} to {least['high']:.4g}) by cost, "
            f"{usual['value']:.4g} ({usual['low']:.4g} to {usual['high']:.4g}) for the most probable class."
        )
