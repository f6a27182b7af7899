"""Command lines in documents: read from `console` blocks, and checked as the command itself would."""

from __future__ import annotations

import re
import shlex

import click

from skinclf_cli.main import cli


def command_lines(text: str) -> list[str]:
    """The `skinclf ...` lines of a document, without comments and redirections."""
    lines = [re.split(r" #| > ", line[2:])[0].strip() for line in text.splitlines() if line.startswith("$ ")]
    return [line[line.index("skinclf ") :] for line in lines if re.search(r"(^|\| | -m )skinclf ", line)]


def parse(line: str) -> tuple[str, dict[str, object]]:
    """Name and options of a command line; unknown commands, options and choices and missing ones fail."""
    words = shlex.split(line)[1:]
    command: click.Command = cli
    names = []
    while isinstance(command, click.Group):
        found = command.get_command(click.Context(command), words[0])
        assert found is not None, f"no command {words[0]}"
        names.append(words[0])
        command, words = found, words[1:]
    context = click.Context(command, info_name=names[-1])
    options, rest, _ = command.make_parser(context).parse_args(list(words))
    assert not rest, f"not understood: {rest}"
    for param in command.params:
        given = options.get(param.name)
        assert given is not None or not param.required, f"{names}: needs {param.name}"
        if isinstance(param.type, (click.Choice, click.IntRange, click.FloatRange)) and given is not None:
            for value in given if param.multiple else [given]:
                param.type.convert(value, param, context)
    return " ".join(names), options
