"""`skinclf data check`: labels and images of a data set."""

from __future__ import annotations

from pathlib import Path

import click

from skinclf_cli import console
from skinclf_cli.commands.data.options import (
    distance_option,
    format_option,
    image_dir_option,
    metadata_option,
    workers_option,
)
from skinclf_cli.errors import DONE, PARTLY_FAILED
from skinclf_cli.options import FOLDER, TableOptions, json_option, table_options
from skinclf_cli.progress import image_bar


@click.command(short_help="Decode images and compare labels with files.")
@metadata_option
@image_dir_option
@click.option(
    "--output", type=FOLDER, required=True, help="Folder for check.json; `prepare` can use the same one."
)
@format_option
@table_options
@workers_option
@distance_option
@json_option
def check(
    *,
    metadata: tuple[Path, ...],
    image_dirs: tuple[Path, ...],
    output: Path,
    format: str | None,  # noqa: A002 - the name of the option
    table: TableOptions,
    workers: int,
    distance: int,
    as_json: bool,
) -> int:
    """Decode every image and compare labels with files; the same command continues after an interruption.

    Exits with 3 when an image is missing or cannot be read.
    """
    from skinclf_training.data.check_report import check_data, check_table

    if not metadata:
        raise click.UsageError("Name the labels with --metadata.")
    with image_bar("Checking") as show:
        report = check_data(
            metadata,
            image_dirs=image_dirs,
            output=output,
            format=format,
            workers=workers,
            distance=distance,
            label_options=table.options(),
            progress=show,
        )
    for image, reason in list(report["rejected"].items())[:20]:
        console.message(f"{image}: {reason}")
    if as_json:
        console.json_out(report)
    else:
        console.table(("", ""), check_table(report))
    return PARTLY_FAILED if report["rejected"] else DONE
