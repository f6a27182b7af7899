"""`skinclf data explore`: describe a prepared data set."""

from __future__ import annotations

from pathlib import Path

import click

from skinclf_cli import console
from skinclf_cli.commands.data.options import workers_option
from skinclf_cli.options import EXISTING_FOLDER, FOLDER, json_option, open_option
from skinclf_cli.progress import image_bar


@click.command(short_help="Describe a prepared data set in a report.")
@click.option(
    "--data",
    "folder",
    type=EXISTING_FOLDER,
    required=True,
    help="Folder made by `skinclf data prepare`.",
)
@click.option("--output", type=FOLDER, help="Folder for the report. Default: DATA/explore.")
@click.option(
    "--samples",
    type=click.IntRange(min=0),
    default=5,
    show_default=True,
    help="Number of images of each class on the sample sheet.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed of the choice of samples.")
@workers_option
@open_option
@json_option
def explore(
    *, folder: Path, output: Path | None, samples: int, seed: int, workers: int, show: bool, as_json: bool
) -> None:
    """Describe a prepared data set: classes, patients, images, lesions, samples.

    Writes explore.html (one file), explore.json and figures/*.png.
    """
    from skinclf_training.data.explore.explore import explore as run
    from skinclf_training.data.prepared import read_prepared

    target = output or folder / "explore"
    with image_bar("Reading") as progress:
        numbers = run(
            read_prepared(folder), target, samples=samples, seed=seed, workers=workers, progress=progress
        )
    if as_json:
        console.json_out(numbers)
    else:
        console.table(
            ("class", "images", "lesions", "share"),
            [
                (x["code"], f"{x['images']:,}", f"{x['lesions']:,}", f"{x['share']:.1%}")
                for x in numbers["classes"]
            ],
        )
    console.report(target / "explore.html", show=show)
