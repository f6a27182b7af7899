"""Help texts of every command: readable at 80 columns, each a sentence that stands alone."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from skinclf_cli.main import COMMANDS, cli


def commands(
    command: click.Command = cli, names: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield names, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from commands(inner, (*names, name))


ALL = list(commands())


@pytest.mark.parametrize(("names", "command"), ALL, ids=[" ".join(names) or "skinclf" for names, _ in ALL])
def test_help_fits_80_columns(names: tuple[str, ...], command: click.Command) -> None:
    result = CliRunner().invoke(cli, [*names, "--help"], prog_name="skinclf", terminal_width=80)
    assert result.exit_code == 0
    assert [line for line in result.output.splitlines() if len(line) > 80] == []
    assert "\\b" not in result.output


@pytest.mark.parametrize(("names", "command"), ALL, ids=[" ".join(names) or "skinclf" for names, _ in ALL])
def test_every_text_is_a_sentence_that_stands_alone(names: tuple[str, ...], command: click.Command) -> None:
    texts = {option: option.help for option in command.params if isinstance(option, click.Option)}
    assert [option.opts for option, text in texts.items() if not text] == []
    sentences = [*texts.values(), (command.help or "").split("\n\n")[0].replace("\n", " ")]
    for text in map(str, sentences):
        assert text[0].isupper(), text
        assert text.endswith("."), text
        assert not text.startswith(("Of ", "Likewise", "Its ", "Also ", "What ", "Default")), text


@pytest.mark.parametrize(("names", "command"), [(n, c) for n, c in ALL if isinstance(c, click.Group)])
def test_lists_of_commands_are_not_cut_short(names: tuple[str, ...], command: click.Command) -> None:
    result = CliRunner().invoke(cli, [*names, "--help"], prog_name="skinclf", terminal_width=80)
    listed = result.output.split("Commands:\n")[1].splitlines()
    assert [line for line in listed if not line.rstrip().endswith(".") or line.endswith("...")] == []


def test_the_table_of_commands_is_that_of_the_commands() -> None:
    assert list(COMMANDS) == [names[0] for names, _ in ALL if len(names) == 1]
