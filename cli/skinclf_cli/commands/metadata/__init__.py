"""`skinclf metadata`: one module per subcommand."""

from __future__ import annotations

import click

from skinclf_cli.commands.metadata.compare import compare
from skinclf_cli.commands.metadata.fit import fit
from skinclf_cli.help import SuggestingGroup


@click.group(cls=SuggestingGroup)
def metadata() -> None:
    """Fit what age, sex and site add to a model, and compare with the picture alone."""


for command in (fit, compare):
    metadata.add_command(command)
