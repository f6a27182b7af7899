"""`skinclf models update`: take the newest commit of a registered model's branch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from skinclf_cli import console
from skinclf_cli.options import hub_options

if TYPE_CHECKING:
    from skinclf.models.options import HubOptions


@click.command(short_help="Take the newest commit of a model on the Hub.")
@click.argument("name")
@hub_options
def update(*, name: str, hub: HubOptions) -> None:
    """Fetch what the branch of the model NAME leads to today, and pin that commit.

    The first use of a registered model pins its branch to a commit; later runs take that commit until this command.
    """
    from skinclf.models.hub.fetch import update as fetch_newest

    if hub.revision is not None:
        raise click.UsageError(
            "--revision names a commit or branch for one run; update follows the model's own branch."
        )
    before, after = fetch_newest(name, hub=hub)
    if before == after:
        console.out(f"{name}: already at commit {after}, the newest.")
    elif before is None:
        console.out(f"{name}: pinned to commit {after}.")
    else:
        console.out(f"{name}: commit {after} instead of {before}. Results of the two do not mix.")
