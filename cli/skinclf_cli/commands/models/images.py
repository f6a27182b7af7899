"""Images to measure on and the report, for `skinclf models precision` and `skinclf models quantize`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from skinclf_cli import console
from skinclf_cli.options import EXISTING

if TYPE_CHECKING:
    from skinclf.models.precision import PrecisionLoss

images_option = click.option(
    "--images", required=True, type=EXISTING, help="Folder of images, or a file with a list of paths."
)


def read_images(given: Path) -> list[str]:
    """The images of a folder and its subfolders, or of a list."""
    from skinclf.images.discovery import Inputs

    inputs = Inputs([given], recursive=True) if given.is_dir() else Inputs(listing=given)
    inputs.check()
    return list(inputs)


def report_loss(loss: PrecisionLoss, *, as_json: bool) -> None:
    """Print a measurement."""
    if as_json:
        console.json_out(loss.to_dict())
    else:
        console.out(str(loss))
