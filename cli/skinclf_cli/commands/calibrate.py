"""`skinclf calibrate`: fit a calibration on held-out predictions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from skinclf_cli import console
from skinclf_cli.labels_report import report_labels
from skinclf_cli.options import (
    EXISTING,
    FOLDER,
    TableOptions,
    confidence_option,
    json_option,
    one_model_option,
    replicates_option,
    table_options,
)

if TYPE_CHECKING:
    from skinclf.decisions.recalibrate import Choice
    from skinclf.models.spec import ModelSpec


@click.command()
@one_model_option("Bundle folder, or name of a built-in model.", required=True)
@click.option(
    "--output",
    type=FOLDER,
    required=True,
    help="Folder of the calibrated copy; may be the bundle itself.",
)
@click.option(
    "--method",
    type=click.Choice(["temperature", "vector", "isotonic", "none"]),
    default="temperature",
    show_default=True,
    help="Calibration method; none removes the calibration.",
)
@click.option(
    "--predictions", type=EXISTING, help="Predictions of this model. Default: its own held-out predictions."
)
@click.option(
    "--labels",
    type=EXISTING,
    help="Reference labels: a table of class codes, one-hot or 0/1 columns, or a folder per class.",
)
@table_options
@click.option("--split", help="Name of the split of the labels that is used. Default: all rows.")
@click.option(
    "--folds",
    type=click.IntRange(min=2),
    default=5,
    show_default=True,
    help="Number of cross-validation folds by lesion, for the figures after calibration.",
)
@confidence_option
@replicates_option
@json_option
def calibrate(
    *,
    model: str,
    output: Path,
    method: Choice,
    predictions: Path | None,
    labels: Path | None,
    table: TableOptions,
    split: str | None,
    folds: int,
    confidence: float,
    replicates: int,
    as_json: bool,
) -> None:
    """Fit a calibration to held-out predictions and write the bundle with it.

    Figures after calibration come from rows that took no part in the fit. A threshold belongs to one
    calibration: tune it again afterwards.

    \b
    skinclf calibrate --model my-bundle --output my-bundle-calibrated
    skinclf calibrate --model my-bundle --predictions p.csv --labels l.csv \\
        --output out
    """  # noqa: D301 - click's paragraph mark
    from skinclf._utils.json import jsonable
    from skinclf.decisions.held_out import read_held_out
    from skinclf.decisions.recalibrate import recalibrate, write_recalibrated, write_uncalibrated
    from skinclf.evaluation.report.calibration_figure import draw_calibration
    from skinclf.models.load import load_model

    if method == "none" and predictions is None and (source := _not_undone(model)) is not None:
        spec = write_uncalibrated(source, output)
        if as_json:
            console.json_out(spec.to_config())
        console.message(
            f"Written: {output}, without held-out predictions, operating points and metadata terms, which were "
            "those of the calibrated model. Predict labelled images with it, then calibrate on them."
        )
        _say_gate(spec)
        return
    held_out = read_held_out(
        predictions=predictions, labels=labels, model=model, split=split, label_options=table.options()
    )
    report_labels(held_out.joined.labels)
    folder = held_out.folder or load_model(model).folder
    if folder is None:
        raise click.UsageError(f"{model} is no bundle. Convert it first: skinclf models convert.")
    result = recalibrate(held_out, method=method, folds=folds, replicates=replicates, confidence=confidence)
    write_recalibrated(folder, output, result)
    draw_calibration(output / "calibration.png", result)
    if as_json:
        console.json_out(jsonable(result.spec.training["calibration"]))
    else:
        console.table(
            ["", f"before ({confidence:.0%} interval)", f"after ({confidence:.0%} interval)"],
            [
                [name, str(value), str(result.metrics["after"][name])]
                for name, value in result.metrics["before"].items()
            ],
        )
    console.message(f"Written: {output} with calibration.json and calibration.png")
    if held_out.spec is not None and held_out.spec.operating_points:
        names = ", ".join(held_out.spec.operating_points)
        console.message(f"Operating points of the former calibration were removed: {names}. Tune them again.")
    _say_gate(result.spec)


def _say_gate(spec: ModelSpec) -> None:
    """Say that an image gate belongs to the former calibration, where it does."""
    from skinclf.inference.gate.gate import other_classes

    if spec.gate and other_classes(spec.gate.get("made_from", {}), spec):
        console.message(
            "The image gate is not used any more: its p-values go by predicted classes, which this calibration "
            "changes. Fit it again: skinclf gate fit."
        )


def _not_undone(model: str) -> Path | None:
    """Folder of a bundle whose calibration cannot be undone in its predictions; None for others."""
    from skinclf.models.load import load_model

    loaded = load_model(model)
    calibration = loaded.spec.calibration
    return loaded.folder if calibration is not None and calibration.method != "temperature" else None
