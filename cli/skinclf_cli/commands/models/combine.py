"""`skinclf models combine`: write a recipe of models that are averaged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from skinclf_cli import console
from skinclf_cli.options import FOLDER, hub_options, json_option
from skinclf_cli.types import Numbers

if TYPE_CHECKING:
    from skinclf.models.options import HubOptions
    from skinclf.models.recipe import Average


@click.command(short_help="Write a recipe of models that are averaged.")
@click.argument("models", nargs=-1, required=True)
@click.option("--output", type=FOLDER, required=True, help="Folder of the recipe, new or empty.")
@click.option(
    "--weights",
    type=Numbers(),
    metavar="W,W,...",
    help="Weights of the models, one each in their order. Default: equal.",
)
@click.option(
    "--average",
    type=click.Choice(["probability", "logit"]),
    default="probability",
    show_default=True,
    help="Quantity that is averaged over several models.",
)
@click.option(
    "--tta",
    type=click.Choice(["none", "flips", "d4", "d4+zoom"]),
    default="none",
    show_default=True,
    help="Test-time augmentation: views of each image that are averaged.",
)
@click.option("--name", help="Name of the recipe. Default: made from the names of the models.")
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
    hub: HubOptions,
    as_json: bool,
) -> None:
    """Write a recipe: a folder that names MODELS and says how they are averaged.

    It holds no weights and is used as any other model, with a calibration and operating points of its own. A member
    that has changed since is refused.

    \b
    skinclf models combine a/ b/ --tta d4 --output best/
    skinclf tune-threshold --model best/ --image-dir val/ --labels val.csv \\
        --target-sensitivity 0.9 --store sensitivity-0.9
    skinclf predict --image-dir imgs/ --model best/
    """  # noqa: D301 - click's paragraph mark
    from skinclf.conversion.combine import combine as write_recipe

    spec = write_recipe(models, output, weights=weights, average=average, tta=tta, name=name, hub=hub)
    if as_json:
        console.json_out({"path": str(output), **spec.to_config()})
        return
    console.message(
        f"{spec.name}: no threshold is measured for it yet. Tune one: skinclf tune-threshold --model {output} "
        "--image-dir DIR --labels FILE --target-sensitivity 0.9 --store NAME"
    )
    console.out(str(output))
