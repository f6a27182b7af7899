"""Options that the subcommands of `skinclf data` share."""

from __future__ import annotations

import click

from skinclf_cli.options import EXISTING, EXISTING_FOLDER

FORMATS = ("ham10000", "isic2019", "onehot", "labels", "folders", "prefix")

metadata_option = click.option(
    "--metadata",
    type=EXISTING,
    multiple=True,
    help="Table of labels, or folder of classes; repeat it for a table with more columns, such as lesion ids.",
)
image_dir_option = click.option(
    "--image-dir",
    "image_dirs",
    type=EXISTING_FOLDER,
    multiple=True,
    help="Folder of images; may be given several times.",
)
format_option = click.option(
    "--format", type=click.Choice(FORMATS), help="Format of the labels. Default: detected."
)
workers_option = click.option(
    "--workers", type=click.IntRange(min=1), default=4, show_default=True, help="Number of decoding threads."
)
distance_option = click.option(
    "--duplicate-distance",
    "distance",
    type=click.IntRange(0, 128),
    default=40,
    show_default=True,
    help="Largest distance of near-duplicates, in bits of 256.",
)
