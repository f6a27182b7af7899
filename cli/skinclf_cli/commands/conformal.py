"""`skinclf conformal`: fit label sets that hold the true class at a stated rate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from skinclf_cli import console
from skinclf_cli.labels_report import report_labels
from skinclf_cli.options import (
    EXISTING,
    EXISTING_FILE,
    INSIDE,
    TableOptions,
    json_option,
    one_model_option,
    table_options,
)
from skinclf_cli.types import OutputFile

if TYPE_CHECKING:
    from skinclf.inference.conformal_sets import Group


@click.command()
@click.option(
    "--coverage",
    type=INSIDE,
    default=0.9,
    show_default=True,
    help="Share of images whose label set contains the true class.",
)
@click.option(
    "--by",
    "group",
    type=click.Choice(["malignant", "class"]),
    default="malignant",
    show_default=True,
    help="Groups in each of which the coverage holds: malignant and benign, or every class.",
)
@click.option(
    "--predictions",
    type=EXISTING_FILE,
    help="Held-out predictions table. Default: the model's own held-out predictions.",
)
@click.option("--labels", type=EXISTING, help="Reference labels of the predictions: a table or a folder.")
@table_options
@one_model_option("Model that made the predictions. Default: the built-in model.")
@click.option(
    "--output",
    type=OutputFile(),
    default="conformal.json",
    show_default=True,
    help="File of label sets to write.",
)
@json_option
def conformal(
    *,
    coverage: float,
    group: Group,
    predictions: Path | None,
    labels: Path | None,
    table: TableOptions,
    model: str | None,
    output: Path,
    as_json: bool,
) -> None:
    """Fit conformal label sets on held-out predictions, for `skinclf predict --conformal FILE`.

    The report shows coverage and set size by class on the same images: a check of the fit, not a test.
    """
    from skinclf.decisions.conformal import coverage_by, fit_conformal, write_conformal
    from skinclf.decisions.held_out import read_held_out
    from skinclf.errors import InvalidArgumentError

    held_out = read_held_out(
        predictions=predictions, labels=labels, model=model, label_options=table.options()
    )
    report_labels(held_out.joined.labels)
    predicted, truth = held_out.joined.predictions, held_out.class_codes
    if predicted.codes is None or predicted.probabilities is None or truth is None:
        raise InvalidArgumentError(
            "Label sets need a probability per class (p_<code>) and class codes as labels."
        )
    label_set = held_out.classes
    values = predicted.in_order(label_set)
    fingerprint = held_out.spec.fingerprint if held_out.spec else None
    sets = fit_conformal(
        truth,
        values,
        label_set,
        coverage=coverage,
        group=group,
        model=fingerprint,
    )
    write_conformal(output, sets)
    rows = coverage_by(sets, truth, values, {"class": truth})
    if as_json:
        console.json_out({**sets.to_dict(), "output": str(output), "check": rows})
        return
    shown = [[r["value"], r["n"], f"{r['coverage']:.3f}", f"{r['mean_size']:.2f}"] for r in rows]
    console.table(["class", "images", "covered", "mean set size"], shown)
    console.message(f"Wrote {output}: label sets at {coverage:.0%} coverage within each {group} group.")
