"""Help in sections, and suggestions for misspelt commands."""

from __future__ import annotations

import difflib
from collections.abc import MutableSequence

import click

#: Title of the options that belong to no section.
_OTHER = "Options"
#: Attribute of a `click.Parameter` with the title of its section; `packed` sets it.
SECTION = "skinclf_section"


class SuggestingGroup(click.Group):
    """A group that suggests commands for one that does not exist."""

    def resolve_command(
        self, ctx: click.Context, args: MutableSequence[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command, or name those that are spelt alike."""
        name = args[0]
        if name.startswith("-") or ctx.resilient_parsing or self.get_command(ctx, name) is not None:
            return super().resolve_command(ctx, list(args))
        known = self.list_commands(ctx)
        near = [command for command in known if command.startswith(name)]
        near = near or difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f" Did you mean {' or '.join(near)}?" if near else f" Commands: {', '.join(known)}."
        raise click.UsageError(f"No such command {name!r}.{hint}", ctx)


def format_sections(command: click.Command, ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """Write the options in one section for each group of them, in the order of the command.

    The options of a command without groups stand in one section, as click writes them.
    """
    sections: dict[str, list[tuple[str, str]]] = {}
    for param in command.get_params(ctx):
        record = param.get_help_record(ctx)
        if record is not None:
            sections.setdefault(getattr(param, SECTION, _OTHER), []).append(record)
    other = sections.pop(_OTHER, None)
    for title, rows in (*sections.items(), *([(_OTHER, other)] if other else [])):
        with formatter.section(title):
            formatter.write_dl(rows)
