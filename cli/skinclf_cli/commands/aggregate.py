"""`skinclf aggregate`: one row per lesion or patient."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

import click

from skinclf_cli import console
from skinclf_cli.options import EXISTING_FILE
from skinclf_cli.types import OutputFile

if TYPE_CHECKING:
    from skinclf.metrics.clusters import Combine


@click.command()
@click.argument("predictions", type=EXISTING_FILE)
@click.option(
    "--groups",
    required=True,
    type=EXISTING_FILE,
    help="Table with the lesion or patient of each image.",
)
@click.option(
    "--by", default="lesion_id", show_default=True, help="Column of --groups with lesions or patients."
)
@click.option(
    "--combine",
    type=click.Choice(["mean", "max"]),
    default="mean",
    show_default=True,
    help="Combination of the probabilities of a group.",
)
@click.option(
    "--threshold",
    help="Threshold of the decisions, as a number or a threshold file. Default: that of the predictions.",
)
@click.option(
    "--output", type=OutputFile(), default="-", show_default=True, help="Table to write; - for stdout."
)
def aggregate(
    *, predictions: Path, groups: Path, by: str, combine: Combine, threshold: str | None, output: Path
) -> None:
    """Combine the images of each lesion or patient into one row."""
    from skinclf._utils.files import replace_file
    from skinclf.inference.schema import number
    from skinclf.tables.aggregate import aggregate as combine_images
    from skinclf.tables.aggregate import group_names, stated_threshold
    from skinclf.tables.predictions import label_set_of, read_predictions

    table = read_predictions(predictions)
    value = stated_threshold(predictions) if threshold is None else _number(threshold, predictions, combine)
    result = combine_images(table, group_names(table.ids, groups, by), combine=combine)
    rows = result.rows(value, label_set_of(table))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([by, *list(rows[0])[1:]])
    for row in rows:
        writer.writerow([x if isinstance(x, (str, int)) else number(x) for x in row.values()])
    if str(output) == "-":
        console.out(text.getvalue().rstrip("\n"))
    else:
        replace_file(output, text.getvalue().encode())
    console.message(f"{len(table.ids)} images, {len(rows)} groups by {by}.")
    if value is None:
        console.message("No decisions: the predictions state no one threshold; give --threshold.")
    elif result.malignant is not None:
        flagged = sum(row["flagged"] == 1 for row in rows)
        console.message(f"At or above the threshold of {number(value)}: {flagged}.")


def _number(threshold: str, predictions: Path, combine: str) -> float:
    """A number as it stands, or the value of a threshold file that fits the predictions and the combination."""
    from skinclf.errors import InvalidArgumentError
    from skinclf.evaluation.inputs import open_predictions, open_threshold, refuse_other_model

    used = open_threshold(threshold, {})
    refuse_other_model(used, open_predictions(predictions).model)
    tuned = used.data.get("combine")
    if tuned not in {None, combine}:
        raise InvalidArgumentError(
            f"{used.source}: tuned for the {tuned} of a group's images, not their {combine}; expected `combine` "
            f"{tuned}.",
            parameter="combine",
        )
    return used.value
