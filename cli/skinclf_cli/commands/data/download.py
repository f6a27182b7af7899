"""`skinclf data download`: a public data set."""

from __future__ import annotations

from pathlib import Path

import click

from skinclf_cli import console
from skinclf_cli.options import FOLDER, json_option
from skinclf_cli.progress import download_bar


@click.command(short_help="Download a public data set.")
@click.argument("name", type=click.Choice(["ham10000", "isic2019"], case_sensitive=False))
@click.option("--output", type=FOLDER, required=True, help="Folder for the files and SOURCE.json.")
@click.option(
    "--source",
    help="Source of the files: dataverse, isic or kaggle. Default: those that need no token, in turn.",
)
@click.option(
    "--mirror",
    "mirrors",
    multiple=True,
    metavar="URL",
    help="Base URL that replaces the source's own; may be given several times.",
)
@click.option("--remove-archives", is_flag=True, help="Remove archives after they are unpacked.")
@json_option
def download(
    *,
    name: str,
    output: Path,
    source: str | None,
    mirrors: tuple[str, ...],
    remove_archives: bool,
    as_json: bool,
) -> None:
    """Download a public data set; the same command continues after an interruption.

    \b
    skinclf data download ham10000 --output ham10000
    skinclf data download isic2019 --output isic2019 --source kaggle
    """  # noqa: D301 - click's paragraph mark
    from skinclf_training.data.sources.catalogue import find_dataset
    from skinclf_training.data.sources.download import download as run
    from skinclf_training.data.sources.download import label_tables

    dataset = find_dataset(name)
    citations = "\n      ".join(dataset.citations)
    console.message(f"{dataset.title}\nLicence: {dataset.licence}\nCite: {citations}")
    with download_bar() as show:
        record = run(
            name, output, source=source, mirrors=mirrors, keep_archives=not remove_archives, progress=show
        )
    if as_json:
        console.json_out(record)
    else:
        console.table(
            ("file", "bytes", "sha256"),
            [(file, f"{entry['bytes']:,}", entry["sha256"][:16]) for file, entry in record["files"].items()],
        )
    tables = " ".join(f"--metadata {path}" for path in label_tables(record, output))
    console.message(
        f"Next: skinclf data prepare {tables} --image-dir {output} --labels {dataset.taxonomy} "
        f"--output {output}-prepared"
    )
