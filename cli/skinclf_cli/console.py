"""Data on stdout, talk on stderr.

Every command reports through these few functions, so that `-q`, `-v`, `--json`, NO_COLOR and pipes
behave the same everywhere. rich is imported only when something is said.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console


def verbosity() -> int:
    """-1 with `-q`, 0 by default, 1 and more with `-v`."""
    context = click.get_current_context(silent=True)
    value = context.find_root().obj if context else None
    return value if isinstance(value, int) else 0


def stderr() -> Console:
    """A rich console on stderr; plain when that is no terminal or NO_COLOR is set."""
    from rich.console import Console

    return Console(file=sys.stderr, highlight=False, soft_wrap=True)


def talk(message: str) -> None:
    """Say something on stderr, unless `-q`."""
    if verbosity() >= 0:
        stderr().print(message, markup=False)


def out(text: str) -> None:
    """Write data to stdout."""
    click.echo(text)


def json_out(value: Any) -> None:
    """Write JSON to stdout; NaN is refused, as JSON has none."""
    click.echo(json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False))


def give_up_stdout() -> None:
    """After stdout was closed by its reader: let the interpreter's last flush go nowhere."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table to stdout: rich on a terminal, aligned plain text in a pipe."""
    cells = [[str(c) for c in r] for r in rows]
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        view = Table(*header, box=None, pad_edge=False, header_style="bold")
        for r in cells:
            view.add_row(*r)
        Console().print(view)
        return
    widths = [max(len(str(x)) for x in column) for column in zip(header, *cells, strict=True)]
    for line in [list(header), *cells]:
        click.echo("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip())


def setup_logging(level: int) -> None:
    """Send the library's log to stderr: warnings by default, errors with `-q`, more with `-v`."""
    logger = logging.getLogger("skinclf")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.handlers[:] = [handler]
    if level < 1:
        # What torch and its friends tell developers is no news for who classifies images.
        warnings.simplefilter("ignore", FutureWarning)
    logger.setLevel({-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO}.get(level, logging.DEBUG))
