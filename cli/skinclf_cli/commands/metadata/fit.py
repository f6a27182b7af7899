"""`skinclf metadata fit`: fit what age, sex and site add to a model's log-probabilities."""

from __future__ import annotations

from pathlib import Path

import click

from skinclf_cli import console
from skinclf_cli.options import (
    EXISTING_FILE,
    bootstrap_seed_option,
    confidence_option,
    json_option,
    replicates_option,
)
from skinclf_cli.types import OutputFile


@click.command()
@click.option(
    "--table",
    type=EXISTING_FILE,
    required=True,
    help="Table of image, class, age, sex and site of training lesions and of the held-out ones; best with lesions.",
)
@click.option(
    "--split", help="Name of the split of the table that the terms are fitted on. Default: all rows."
)
@click.option("--model", help="Model that the terms are for. Default: the built-in model.")
@click.option(
    "--predictions",
    type=EXISTING_FILE,
    help="Held-out predictions of the model from the picture alone. Default: those that travel with it.",
)
@click.option(
    "--labels", type=EXISTING_FILE, help="Reference labels of --predictions. Default: in the predictions."
)
@click.option(
    "--smoothing",
    type=click.FloatRange(min=0, min_open=True),
    default=3.0,
    show_default=True,
    help="Number of lesions added to the observed and the expected ones of each class; draws rare words to no effect.",
)
@confidence_option
@replicates_option
@bootstrap_seed_option
@click.option(
    "--output",
    type=OutputFile(),
    default="metadata-terms.json",
    show_default=True,
    help="File of terms to write, for `skinclf predict --metadata-terms`.",
)
@click.option(
    "--store",
    is_flag=True,
    help="Store the terms in the bundle --model FOLDER too, if they win on the held-out images.",
)
@json_option
def fit(
    *,
    table: Path,
    split: str | None,
    model: str | None,
    predictions: Path | None,
    labels: Path | None,
    smoothing: float,
    confidence: float,
    replicates: int,
    seed: int,
    output: Path,
    store: bool,
    as_json: bool,
) -> None:
    """Fit what age, sex and site add to a model's log-probabilities.

    The terms come from labelled lesions of --table, the exponent on their sum from held-out predictions of other
    lesions. The report is cross-fitted: every image is fused with an exponent from other lesions.

    \b
    skinclf metadata fit --table split.csv --split train
    """  # noqa: D301 - click's paragraph mark
    from skinclf._utils.json import jsonable, write_json
    from skinclf.decisions.held_out import read_held_out
    from skinclf.decisions.metadata.fit import fit_metadata, store_terms
    from skinclf.tables.patient_metadata import read_patients
    from skinclf.tables.reference import read_labels

    # With predictions and no model, the run's manifest names the model, an ensemble too.
    held_out = read_held_out(predictions=predictions, labels=labels, model=model)
    patients = read_patients(table)
    for notice in patients.notices:
        console.message(notice)
    result = fit_metadata(
        held_out,
        read_labels(table, held_out.classes, split=split),
        patients,
        smoothing=smoothing,
        replicates=replicates,
        confidence=confidence,
        seed=seed,
    )
    write_json(output, result.terms.to_dict())
    if as_json:
        console.json_out(jsonable({"exponent": result.terms.exponent, **result.terms.evidence}))
    else:
        rows = [
            [
                name,
                f"{gain.before:.4f}",
                f"{gain.after:.4f}",
                f"{gain.difference.value:+.4f} [{gain.difference.low:+.4f}, {gain.difference.high:+.4f}]",
            ]
            for name, gain in result.gains.items()
        ]
        console.table(["held-out images", "picture", "with metadata", f"difference ({confidence:.0%})"], rows)
    verdict = (
        "win" if result.wins else "do not win: the interval of the ROC-AUC's gain does not lie above 0, or"
    )
    verdict += "" if result.wins else " balanced accuracy is lower beyond its interval"
    console.message(
        f"Exponent {result.terms.exponent:g}; on the held-out images the terms {verdict}. Wrote {output}."
    )
    if store:
        if held_out.folder is None:
            raise click.UsageError("--store needs a bundle on this machine: --model FOLDER.")
        console.message(f"Stored in {store_terms(held_out.folder, result)}.")
