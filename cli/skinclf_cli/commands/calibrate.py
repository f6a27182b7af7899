"""`skinclf calibrate`: fit a calibration on held-out predictions."""

from __future__ import annotations

from pathlib import Path

import click

from skinclf_cli import console

_FILE = click.Path(path_type=Path, exists=True)


@click.command()
@click.option("--model", required=True, help="Bundle folder or name of a built-in model.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder of the calibrated copy; may be the bundle itself.",
)
@click.option(
    "--method",
    type=click.Choice(["temperature", "vector", "isotonic", "none"]),
    default="temperature",
    show_default=True,
    help="none removes the calibration.",
)
@click.option("--predictions", type=_FILE, help="This model's predictions. Default: those that came with it.")
@click.option("--labels", type=_FILE, help="Labels: class codes, one-hot, 0/1, or a folder per class.")
@click.option("--split", help="Only rows of this split of the labels.")
@click.option(
    "--folds",
    type=click.IntRange(min=2),
    default=5,
    show_default=True,
    help="For the figures after calibration, by lesion.",
)
@click.option(
    "--confidence",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.95,
    show_default=True,
    help="Of the intervals.",
)
@click.option(
    "--replicates",
    type=click.IntRange(min=1),
    default=2000,
    show_default=True,
    help="Resamples of the lesions, for the intervals.",
)
@click.option("--json", "as_json", is_flag=True, help="Write the figures to stdout as JSON.")
def calibrate(
    *,
    model: str,
    output: Path,
    method: str,
    predictions: Path | None,
    labels: Path | None,
    split: str | None,
    folds: int,
    confidence: float,
    replicates: int,
    as_json: bool,
) -> None:
    """Fit a calibration to held-out predictions and write the bundle with it.

    Figures after calibration come from rows that took no part in the fit. Thresholds belong to one
    calibration: tune them anew afterwards.

    \b
    skinclf calibrate --model my-bundle --output my-bundle-calibrated
    skinclf calibrate --model my-bundle --predictions p.csv --labels l.csv --output out
    """  # noqa: D301 - click's paragraph mark
    from skinclf._utils.json import jsonable
    from skinclf.decisions.held_out import read_held_out
    from skinclf.decisions.recalibrate import recalibrate, write_recalibrated
    from skinclf.models.load import load_model

    held = read_held_out(predictions=predictions, labels=labels, model=model, split=split)
    folder = held.folder or load_model(model).folder
    if folder is None:
        raise click.UsageError(f"{model} is no bundle. Convert it first: skinclf models convert.")
    result = recalibrate(
        held,
        method=method,  # type: ignore[arg-type]
        folds=folds,
        replicates=replicates,
        confidence=confidence,
    )
    write_recalibrated(folder, output, result)
    from skinclf.evaluation.report.calibration_figure import draw_calibration

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
    console.talk(f"Written: {output} with calibration.json and calibration.png")
    if held.spec is not None and held.spec.operating_points:
        names = ", ".join(held.spec.operating_points)
        console.talk(f"Operating points of the former calibration were removed: {names}. Tune them anew.")
