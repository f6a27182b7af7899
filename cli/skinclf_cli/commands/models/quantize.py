"""`skinclf models quantize`: add an int8 network to a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from skinclf_cli import console
from skinclf_cli.commands.models.images import images_option, read_images, report_loss
from skinclf_cli.options import FOLDER, hub_options, json_option
from skinclf_cli.progress import step_bar

if TYPE_CHECKING:
    from skinclf.models.options import HubOptions


@click.command(short_help="Write a model with an int8 network as a bundle.")
@click.argument("name")
@click.argument("folder", type=FOLDER)
@images_option
@click.option(
    "--calibration",
    type=click.IntRange(min=1),
    default=300,
    show_default=True,
    help="Number of images that set the value ranges; the effect is measured on the others.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=40),
    default=2300,
    show_default=True,
    help="Largest number of images in all; from more, a fixed random sample is drawn.",
)
@hub_options
@json_option
def quantize(
    *, name: str, folder: Path, images: Path, calibration: int, limit: int, hub: HubOptions, as_json: bool
) -> None:
    """Write the model NAME with an int8 network as a bundle into FOLDER, and measure the effect of int8.

    The images should look like those that will be predicted. Use the bundle with
    `skinclf predict --model FOLDER --precision int8`.
    """
    from skinclf.conversion.precision_loss import choose_images
    from skinclf.conversion.quantize import quantize_model
    from skinclf.models.load import load_model

    chosen = choose_images(read_images(images), limit)
    with step_bar(len(chosen)) as show:
        loss = quantize_model(
            load_model(name, hub=hub), chosen, folder, calibration=calibration, progress=show
        )
    report_loss(loss, as_json=as_json)
    console.message(f"Written: {folder}")
