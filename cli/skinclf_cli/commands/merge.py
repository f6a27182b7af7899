"""`skinclf merge`: join the tables of all shards."""

from __future__ import annotations

from pathlib import Path

import click

from skinclf_cli import console
from skinclf_cli.errors import DONE, PARTLY_FAILED
from skinclf_cli.options import EXISTING_FILE, json_option
from skinclf_cli.types import OutputFile


@click.command()
@click.argument("parts", nargs=-1, required=True, type=EXISTING_FILE)
@click.option("-o", "--output", type=OutputFile(), required=True, help="Table to write.")
@click.option("--overwrite", is_flag=True, help="Replace an existing table.")
@json_option
def merge(*, parts: tuple[Path, ...], output: Path, overwrite: bool, as_json: bool) -> int:
    """Join the tables that `skinclf predict --shard` made, in the order of the inputs.

    Fails when a part is incomplete or missing, or when parts belong to different runs.
    """
    from skinclf.jobs import shards

    if str(output) == "-":
        raise click.UsageError("merge needs --output FILE.")
    summary = shards.merge(parts, output, overwrite=overwrite)
    if as_json:
        console.json_out({"output": str(output), **summary.to_dict()})
    console.message(f"{summary}.")
    return PARTLY_FAILED if summary.failed else DONE
