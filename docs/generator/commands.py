"""One page for each command, read from the click commands themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from inspect import cleandoc

import click

from skinclf_cli.help import SECTION
from skinclf_cli.main import COMMANDS, cli, prepare

_OTHER = "Options"


def pages() -> dict[str, str]:
    """Name of a page, such as `cli/predict.md`, to its text."""
    context = click.Context(cli, info_name="skinclf", max_content_width=80)
    made = {"cli/index.md": _index(context)}
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None, name
        made[f"cli/{name}.md"] = "".join(_sections(prepare(command), context, name, level=1))
    return made


def _index(context: click.Context) -> str:
    rows = "".join(f"| [`skinclf {name}`]({name}.md) | {line} |\n" for name, (_, line) in COMMANDS.items())
    toctree = "\n".join(COMMANDS)
    return (
        f"# Commands\n\n{_text(cli)}\n\n| command | what it does |\n|---|---|\n{rows}\n"
        f"Options of `skinclf` itself, before the name of a command:\n\n{_options(cli, context)}\n"
        "Every option of a command can also come from the environment: `SKINCLF_PREDICT_IMAGE_DIR` stands for\n"
        "`--image-dir` of `predict`.\n\n"
        f"```{{toctree}}\n:hidden:\n\n{toctree}\n```\n"
    )


def _sections(command: click.Command, parent: click.Context, name: str, *, level: int) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=parent, max_content_width=80)
    yield f"{'#' * level} {context.command_path}\n\n{_text(command)}\n\n"
    if isinstance(command, click.Group):
        for inner_name in command.list_commands(context):
            inner = command.get_command(context, inner_name)
            assert inner is not None, inner_name
            yield from _sections(inner, context, inner_name, level=level + 1)
        return
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield f"```text\n{usage}\n```\n\n"
    yield _options(command, context) + "\n"


def _options(command: click.Command, context: click.Context) -> str:
    """A table of options for each section of a command's help, in its order."""
    groups: dict[str, list[str]] = {}
    for param in command.get_params(context):
        record = param.get_help_record(context)
        if record is not None and record[1] and "--help" not in param.opts:
            row = f"| `{_cell(record[0])}` | {_escaped(record[1])} |\n"
            groups.setdefault(getattr(param, SECTION, _OTHER), []).append(row)
    if other := groups.pop(_OTHER, None):
        groups[_OTHER] = other
    return "\n".join(
        f"**{title}**\n\n| option | meaning |\n|---|---|\n{''.join(rows)}" for title, rows in groups.items()
    )


def _text(command: click.Command) -> str:
    """The help of a command, in which a paragraph marked as it stands is a block."""
    text = cleandoc(command.help or "")
    if "\f" in text:
        text = text.partition("\f")[0].rstrip()
    paragraphs = []
    for paragraph in re.split(r"\n\s*\n", text):
        if paragraph.startswith("\b"):
            paragraphs.append("```text\n" + paragraph.removeprefix("\b").strip("\n") + "\n```")
        else:
            paragraphs.append(_escaped(" ".join(paragraph.split())))
    return "\n\n".join(paragraphs)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _escaped(text: str) -> str:
    """Text for a cell or paragraph of Markdown: marks of the markup stand for themselves, code stays code."""
    parts = re.split(r"(`[^`]*`)", _cell(text))
    return "".join(p if p.startswith("`") else re.sub(r"([*_<>\[\]{}])", r"\\\1", p) for p in parts)
