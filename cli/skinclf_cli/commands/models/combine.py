"""`skinclf models combine`: write a recipe of models that are averaged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from skinclf_cli import console
from skinclf_cli.labels_report import report_labels
from skinclf_cli.options import (
    EXISTING,
    EXISTING_FOLDER,
    FOLDER,
    TableOptions,
    hub_options,
    json_option,
    mean_options,
    table_options,
)

if TYPE_CHECKING:
    from skinclf.models.options import HubOptions
    from skinclf.models.recipe import Average


@click.command(short_help="Write a recipe of models that are averaged.")
@click.argument("models", nargs=-1, required=True)
@click.option("--output", type=FOLDER, required=True, help="Folder of the recipe, new or empty.")
@mean_options
@click.option("--name", help="Name of the recipe. Default: made from the names of the models.")
@click.option(
    "--image-dir",
    type=EXISTING_FOLDER,
    help="Folder of held-out images, also in subfolders; predictions of those with labels then travel with the recipe, "
    "as `tune-threshold`, `calibrate` and `conformal` take them.",
)
@click.option(
    "--labels",
    type=EXISTING,
    help="Reference labels of the images: a table of class codes or one-hot columns, or a folder per class.",
)
@click.option("--split", help="Name of the split of the labels that is used. Default: all rows.")
@table_options
@hub_options
@json_option
def combine(
    *,
    models: tuple[str, ...],
    output: Path,
    weights: tuple[float, ...] | None,
    average: Average,
    tta: str,
    name: str | None,
    image_dir: Path | None,
    labels: Path | None,
    split: str | None,
    table: TableOptions,
    hub: HubOptions,
    as_json: bool,
) -> None:
    """Write a recipe: a folder that names MODELS and says how they are averaged.

    It holds no weights and is used as any other model, with a calibration and operating points of its own. A member
    that has changed since is refused.

    \b
    skinclf models combine a/ b/ --tta d4 --output best/ --image-dir val/ \\
        --labels val.csv
    skinclf tune-threshold --model best/ --target-sensitivity 0.9 --store s90
    skinclf predict --image-dir imgs/ --model best/
    """  # noqa: D301 - click's paragraph mark
    from skinclf.conversion.combine import combine as write_recipe

    if (image_dir is None) != (labels is None):
        raise click.UsageError("--image-dir and --labels go together: held-out images and their classes.")
    spec = write_recipe(models, output, weights=weights, average=average, tta=tta, name=name, hub=hub)
    if image_dir is not None and labels is not None:
        _carry(output, image_dir, labels, split, table)
    if as_json:
        console.json_out({"path": str(output), **spec.to_config()})
        return
    images = "--image-dir DIR --labels FILE " if image_dir is None else ""
    console.message(
        f"{spec.name}: no threshold is measured for it yet. Tune one: skinclf tune-threshold --model {output} "
        f"{images}--target-sensitivity 0.9 --store NAME"
    )
    console.out(str(output))


def _carry(folder: Path, image_dir: Path, labels: Path, split: str | None, table: TableOptions) -> None:
    from skinclf.decisions.predicted import carry
    from skinclf_cli.commands.predict.options import ModelChoice
    from skinclf_cli.predicted import predict_labelled

    choice = ModelChoice(model=(str(folder),), average="probability", weights=None, tta="none")
    made = folder.with_name(f"{folder.name}_predictions.csv")
    held_out = predict_labelled(choice, image_dir, labels, made, split=split, label_options=table.options())
    report_labels(held_out.joined.labels)
    console.message(
        f"{len(held_out.joined):,} labelled predictions travel with it: {carry(folder, held_out)}"
    )
