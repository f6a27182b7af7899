"""`skinclf data`: one module per subcommand."""

from __future__ import annotations

import click

from skinclf_cli.commands.data.check import check
from skinclf_cli.commands.data.download import download
from skinclf_cli.commands.data.explore import explore
from skinclf_cli.commands.data.prepare import prepare
from skinclf_cli.help import SuggestingGroup


@click.group(cls=SuggestingGroup)
def data() -> None:
    """Download, check, prepare and explore training data."""


for command in (download, check, prepare, explore):
    data.add_command(command)
