"""Exit codes, and the library's messages in the words of the command line.

The library names its parameters in backticks (`preprocess`, or with a value, `runtime="torch"`). Here each of them that
is a parameter of the running command becomes its option (`--preprocess`, `--runtime torch`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

import click

from skinclf.errors import InvalidArgumentError, SkinclfError

DONE = 0
FAILED = 1
USAGE = 2
#: The table is complete, and some of its rows say that their input failed.
PARTLY_FAILED = 3
#: As shells report SIGINT: 128 + 2.
INTERRUPTED = 130

#: Exit code by class of error; a class that is missing has that of its nearest base class.
EXIT_CODES: Mapping[type[SkinclfError], int] = MappingProxyType(
    {SkinclfError: FAILED, InvalidArgumentError: USAGE}
)

_NAMED = re.compile(r"`(?P<name>[a-z_][a-z0-9_]*)(?:=(?P<value>\"[^\"`]*\"|'[^'`]*'|[^\s`\"']+))?`")

_QUOTES = "\"'"


class LibraryError(click.ClickException):
    """An error of the library, as click shows it.

    Attributes:
        exit_code: Exit code of its class.
        message: Text with the options of the command that ran.
    """

    def __init__(self, error: SkinclfError, command: click.Command | None = None) -> None:
        super().__init__(render(error, command))
        self.exit_code = exit_code(error)  # type: ignore[misc]  # click sets it on instances too


def exit_code(error: SkinclfError) -> int:
    """Exit code of an error: that of its class or of its nearest base class in `EXIT_CODES`."""
    return next(EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES)


def render(error: SkinclfError, command: click.Command | None = None) -> str:
    """Text of an error in which parameters of the library are options of a command.

    Args:
        error: Error of the library.
        command: Command that ran; None leaves the text as it is.

    Returns:
        The message. A parameter that the error carries and its message does not name follows as a sentence.
    """
    text = with_options(str(error), command)
    option = None if command is None else option_names(command).get(error.parameter or "")
    if option is None or re.search(rf"{re.escape(option)}(?![\w-])", text):
        return text
    return f"{text} See {option}."


def with_options(text: str, command: click.Command | None) -> str:
    """A message of the library in which parameters are options of a command; as it is without a command."""
    if command is None:
        return text
    names = option_names(command)

    def replace(match: re.Match[str]) -> str:
        option, value = names.get(match["name"]), match["value"]
        if option is None:
            return match[0]
        return option if value in {None, "True", "..."} else f"{option} {value.strip(_QUOTES)}"

    return _NAMED.sub(replace, text)


def option_names(command: click.Command) -> dict[str, str]:
    """Parameter name to the longest option string of a command (`group_by` to `--group-by`), or to an argument's name.

    An option is known by its string in snake_case and, where no other option has that name, by the name of the Python
    argument (`taxonomy` and `label_set` of one option `--taxonomy`).
    """
    by_string: dict[str, str] = {}
    by_argument: dict[str, str] = {}
    for param in command.params:
        if isinstance(param, click.Option):
            shown = max(param.opts, key=len)
            by_string |= {o.lstrip("-").replace("-", "_"): shown for o in param.opts if o.startswith("--")}
        else:
            shown = param.metavar or (param.name or "").upper()
        if param.name is not None:
            by_argument[param.name] = shown
    return by_argument | by_string
