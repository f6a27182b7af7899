"""`skinclf metadata compare`: predictions with metadata against those of the picture alone."""

from __future__ import annotations

from pathlib import Path

import click

from skinclf_cli import console
from skinclf_cli.options import (
    EXISTING,
    EXISTING_FILE,
    bootstrap_seed_option,
    confidence_option,
    json_option,
    replicates_option,
)
from skinclf_cli.types import OutputFile


@click.command()
@click.option(
    "--predictions",
    type=EXISTING_FILE,
    required=True,
    help="Predictions of the model from the picture alone.",
)
@click.option(
    "--labels", type=EXISTING, required=True, help="Reference labels: a table, or a folder per class."
)
@click.option(
    "--metadata", "table", type=EXISTING_FILE, help="Table of age, sex and site. Default: that of the labels."
)
@click.option("--split", help="Name of the split of the labels that is used. Default: all rows.")
@click.option("--model", help="Model that made the predictions. Default: the built-in model.")
@click.option(
    "--metadata-terms", "terms", type=EXISTING_FILE, help="File of terms. Default: those of the model."
)
@confidence_option
@replicates_option
@bootstrap_seed_option
@click.option("--output", type=OutputFile(), help="JSON file to write with all figures.")
@click.option(
    "--store", is_flag=True, help="Store the comparison in the bundle --model FOLDER, for its card."
)
@json_option
def compare(
    *,
    predictions: Path,
    labels: Path,
    table: Path | None,
    split: str | None,
    model: str | None,
    terms: Path | None,
    confidence: float,
    replicates: int,
    seed: int,
    output: Path | None,
    store: bool,
    as_json: bool,
) -> None:
    """Compare fused predictions with those of the picture alone.

    Differences have paired intervals. All images, then each age band, sex and site;
    a subgroup that gets worse is named.

    \b
    skinclf metadata compare --predictions test.csv --labels split.csv \\
        --split test
    """  # noqa: D301 - click's paragraph mark
    from skinclf._utils.json import jsonable, write_json
    from skinclf.evaluation.metadata_gain import compare_metadata, store_comparison
    from skinclf.inference.metadata.fused import read_terms
    from skinclf.models.load import load_model

    loaded = load_model(model)
    result = compare_metadata(
        predictions,
        labels,
        table or labels,
        loaded.spec,
        terms=None if terms is None else read_terms(terms),
        split=split,
        replicates=replicates,
        confidence=confidence,
        seed=seed,
    )
    if output is not None:
        write_json(output, result.to_dict())
    if store:
        if model is None or loaded.folder is None or terms is not None:
            raise click.UsageError("--store needs a bundle with terms of its own: --model FOLDER.")
        console.message(f"Stored in {store_comparison(loaded.folder, result)}.")
    if as_json:
        console.json_out(jsonable(result.to_dict()))
        return
    rows = [
        [group.name, group.images, group.malignant, *_cells(group.gains), group.verdict]
        for group in result.groups
    ]
    console.table(
        ["", "images", "malignant", "ROC-AUC", "specificity at 0.9", "balanced accuracy", "ROC-AUC is"], rows
    )
    console.message(result.summary())


def _cells(gains: object) -> list[str]:
    from skinclf.metrics.paired_gain import FIGURES

    if not isinstance(gains, dict):
        return [""] * len(FIGURES)
    return [
        f"{gain.before:.3f} > {gain.after:.3f} [{gain.difference.low:+.3f}, {gain.difference.high:+.3f}]"
        for gain in (gains[name] for name in FIGURES)
    ]
