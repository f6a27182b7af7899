"""`skinclf models`: one module per subcommand."""

from __future__ import annotations

import click

from skinclf_cli.commands.models.combine import combine
from skinclf_cli.commands.models.convert import convert
from skinclf_cli.commands.models.listing import list_, show
from skinclf_cli.commands.models.precision import precision
from skinclf_cli.commands.models.quantize import quantize
from skinclf_cli.commands.models.update import update
from skinclf_cli.commands.models.verify import verify
from skinclf_cli.help import SuggestingGroup


@click.group(cls=SuggestingGroup)
def models() -> None:
    """List, show, verify, convert, combine, quantise and update models."""


for command in (list_, show, verify, convert, combine, precision, quantize, update):
    models.add_command(command)
