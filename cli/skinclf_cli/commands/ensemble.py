"""`skinclf ensemble`: choose weights for several models by their predictions."""

from __future__ import annotations

from pathlib import Path

import click

from skinclf_cli import console
from skinclf_cli.options import (
    EXISTING,
    EXISTING_FILE,
    TableOptions,
    bootstrap_seed_option,
    confidence_option,
    json_option,
    replicates_option,
    table_options,
)
from skinclf_cli.types import Numbers, OutputFile


@click.command()
@click.option(
    "--predictions",
    "tables",
    type=EXISTING_FILE,
    multiple=True,
    required=True,
    help="Predictions table of one model; repeat it for each model.",
)
@click.option(
    "--labels",
    type=EXISTING,
    required=True,
    help="Reference labels: a table, or a folder per class.",
)
@click.option("--split", help="Name of the split of the labels that is used. Default: all rows.")
@click.option(
    "--weights",
    type=Numbers(),
    metavar="W,W,...",
    help="Weights to measure, one per table. Default: chosen on these images.",
)
@click.option(
    "--figure",
    type=click.Choice(["macro_auc", "balanced_accuracy", "malignant_auc", "malignant_pr_auc", "loss"]),
    default="macro_auc",
    show_default=True,
    help="Metric that is measured, and by which the weights are chosen.",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="Number of members that are added one by one; the weights are multiples of 1/ROUNDS.",
)
@click.option("--taxonomy", help="Label set of the predictions, where their columns do not say it.")
@click.option(
    "--group-by",
    metavar="COLUMN",
    help="Column of images that belong together. Default: the lesions, when known.",
)
@table_options
@confidence_option
@replicates_option
@bootstrap_seed_option
@click.option("--output", type=OutputFile(), help="CSV table to write with the averaged predictions.")
@json_option
def ensemble(
    *,
    tables: tuple[Path, ...],
    labels: Path,
    split: str | None,
    weights: tuple[float, ...] | None,
    figure: str,
    rounds: int,
    taxonomy: str | None,
    group_by: str | None,
    table: TableOptions,
    confidence: float,
    replicates: int,
    seed: int,
    output: Path | None,
    as_json: bool,
) -> None:
    """Choose weights for several models on labelled predictions, and compare with the best model.

    \b
    skinclf ensemble --predictions a/val.csv --predictions b/val.csv \\
        --labels split.csv --split val
    skinclf ensemble --predictions a/test.csv --predictions b/test.csv \\
        --labels split.csv --split test --weights 0.6,0.4
    """  # noqa: D301 - click's paragraph mark
    if str(output) == "-":
        raise click.UsageError("--output is a file; the figures go to stdout.")
    from skinclf._utils.files import replace_file
    from skinclf._utils.json import jsonable
    from skinclf.evaluation.ensemble_weights import measure, read_members
    from skinclf.labels import parse_labels

    members = read_members(
        tables,
        labels,
        split=split,
        label_set=None if taxonomy is None else parse_labels(taxonomy),
        group_by=group_by,
        label_options=table.options(),
    )
    result = measure(
        members,
        [str(path) for path in tables],
        weights=weights,
        figure=figure,
        rounds=rounds,
        replicates=replicates,
        seed=seed,
        confidence=confidence,
    )
    if output is not None:
        replace_file(output, result.table())
    if as_json:
        console.json_out(jsonable(result.to_dict()))
    else:
        rows = [
            [name, f"{weight:.3g}", f"{value:.4f}", ""]
            for name, weight, value in zip(result.names, result.weights, result.values, strict=True)
        ]
        rows += [
            [
                name,
                "",
                f"{item.value:+.4f}" if name == "difference" else f"{item.value:.4f}",
                f"{item.low:.4f} to {item.high:.4f}",
            ]
            for name, item in (
                ("ensemble", result.value),
                (f"best: {result.best}", result.best_value),
                ("difference", result.difference),
            )
        ]
        console.table(["predictions", "weight", figure, f"{confidence:.0%} interval"], rows)
    if result.chosen:
        console.message(
            "The weights were chosen on these images, so their figures are optimistic; measure them on others with "
            f"--weights {','.join(f'{w:.4g}' for w in result.weights)}"
        )
