"""`skinclf models convert`: write a model of any supported format as a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from skinclf_cli import console
from skinclf_cli.options import FOLDER, hub_options, json_option, model_options

if TYPE_CHECKING:
    from skinclf.models.options import HubOptions, ModelOptions


@click.command(short_help="Write a model of any format as a bundle.")
@click.argument("source")
@click.argument("folder", type=FOLDER)
@click.option("--name", help="Name of the bundle. Default: the model's own.")
@model_options
@click.option(
    "--sample",
    type=click.Path(exists=True, dir_okay=False),
    help="Image for the golden sample. Default: a synthetic image.",
)
@hub_options
@json_option
def convert(
    *,
    source: str,
    folder: Path,
    name: str | None,
    options: ModelOptions,
    sample: str | None,
    hub: HubOptions,
    as_json: bool,
) -> None:
    """Write SOURCE (a name, file, folder or Hub repository) as a bundle into FOLDER."""
    from skinclf.conversion.convert import convert_model

    spec = convert_model(source, folder, name=name, options=options, sample=sample, hub=hub)
    if as_json:
        console.json_out({"folder": str(folder), **spec.to_config()})
        return
    console.message(f"{spec.name}: golden sample by {', '.join(golden.source for golden in spec.golden)}.")
    console.out(str(folder))
