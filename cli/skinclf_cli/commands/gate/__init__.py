"""`skinclf gate`: one module per subcommand."""

from __future__ import annotations

import click

from skinclf_cli.commands.gate.check import check
from skinclf_cli.commands.gate.fit import fit
from skinclf_cli.help import SuggestingGroup


@click.group(cls=SuggestingGroup)
def gate() -> None:
    """Fit the image gate of a model, or check images with it."""


for command in (check, fit):
    gate.add_command(command)
