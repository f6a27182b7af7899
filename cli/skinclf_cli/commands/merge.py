"""`skinclf merge`: put the tables of all shards together."""

from __future__ import annotations

from pathlib import Path

import click

from skinclf_cli import console
from skinclf_cli.types import OutputFile


@click.command()
@click.argument(
    "parts", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False)
)
@click.option("-o", "--output", type=OutputFile(), required=True, help="The whole table.")
@click.option("--overwrite", is_flag=True, help="Replace an existing table.")
@click.option("--json", "as_json", is_flag=True, help="Report the outcome as JSON on stdout.")
def merge(parts: tuple[Path, ...], output: Path, overwrite: bool, as_json: bool) -> int:  # noqa: FBT001
    """Put the tables that `predict --shard` made together, in the order of the inputs.

    Refuses parts that are incomplete, missing, or of different runs.
    """
    from skinclf.jobs import shards

    if str(output) == "-":
        raise click.UsageError("merge needs --output FILE.")
    summary = shards.merge(parts, output, overwrite=overwrite)
    if as_json:
        console.json_out({"output": str(output), **summary.to_dict()})
    console.talk(f"{summary}.")
    return 3 if summary.failed else 0
