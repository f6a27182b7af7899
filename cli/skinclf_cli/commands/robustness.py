"""`skinclf robustness`: a model on shifted copies of labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from skinclf_cli import console
from skinclf_cli.commands.predict.options import InputOptions, input_options
from skinclf_cli.errors import DONE, PARTLY_FAILED
from skinclf_cli.options import (
    EXISTING,
    TableOptions,
    bootstrap_seed_option,
    confidence_option,
    device_option,
    hub_options,
    json_option,
    replicates_option,
    runtime_option,
    table_options,
)
from skinclf_cli.progress import image_bar
from skinclf_cli.types import OutputFile

if TYPE_CHECKING:
    from skinclf.evaluation.robustness.measure import ShiftResult
    from skinclf.models.options import HubOptions


@click.command(short_help="Measure what another camera would do to the answers of a model.")
@input_options
@click.option(
    "--labels", type=EXISTING, required=True, help="Reference labels: a table, or a folder per class."
)
@table_options
@click.option("--split", help="Name of the split of the labels that is used. Default: all rows.")
@click.option("--model", help="Model. Default: the built-in model.")
@click.option(
    "--threshold",
    metavar="FLOAT|FILE|NAME",
    help="Threshold that was frozen before this test. Default: the model's own.",
)
@click.option(
    "--shift",
    "shifts",
    multiple=True,
    metavar="NAME",
    help="Shift to measure, such as gamma-1.4; may be given several times. Default: all.",
)
@confidence_option
@replicates_option
@bootstrap_seed_option
@click.option("-o", "--output", type=OutputFile(), help="JSON file to write, such as robustness.json.")
@runtime_option("auto")
@device_option("auto")
@hub_options
@json_option
def robustness(
    *,
    source: InputOptions,
    labels: Path,
    table: TableOptions,
    split: str | None,
    model: str | None,
    threshold: str | None,
    shifts: tuple[str, ...],
    confidence: float,
    replicates: int,
    seed: int,
    output: Path | None,
    runtime: str,
    device: str,
    hub: HubOptions,
    as_json: bool,
) -> int:
    """Measure what another camera would do to the answers of a model.

    White balance, gamma, saturation, scale, blur, JPEG compression and vignetting
    are applied to labelled images; the threshold stays.

    \b
    skinclf robustness --image-dir imgs/ --labels split.csv --split test
    """  # noqa: D301 - click's paragraph mark
    from skinclf._utils.json import jsonable, write_json
    from skinclf.decisions.threshold_file import resolve_threshold
    from skinclf.evaluation.robustness.measure import FIGURES, measure_robustness
    from skinclf.evaluation.robustness.shifts import SHIFTS
    from skinclf.inference.predictor import Predictor

    predictor = Predictor(model, hub=hub, runtime=runtime, device=device, gate="off")
    if threshold is not None:
        found, notices = resolve_threshold(threshold, predictor.spec)
        for notice in notices:
            console.message(notice)
        predictor = predictor.with_threshold(found.value)
    with image_bar("Measuring") as show:
        result = measure_robustness(
            predictor,
            list(source.inputs()),
            labels,
            split=split,
            shifts=shifts or tuple(SHIFTS),
            replicates=replicates,
            confidence=confidence,
            seed=seed,
            label_options=table.options(),
            progress=show,
        )
    if output is not None:
        write_json(output, result.to_dict())
    if as_json:
        console.json_out(jsonable(result.to_dict()))
    else:
        rows = [
            [row.name, *(cell for figure in FIGURES for cell in _cells(row, figure))] for row in result.rows
        ]
        console.table(["shift", "sensitivity", "change", "specificity", "change", "ROC-AUC", "change"], rows)
    console.message(result.summary())
    return PARTLY_FAILED if result.failed else DONE


def _cells(row: ShiftResult, figure: str) -> list[str]:
    change = row.differences[figure]
    known = "" if row.name == "none" else f"{change.value:+.3f} [{change.low:+.3f}, {change.high:+.3f}]"
    return [f"{row.values[figure]:.3f}", known]
