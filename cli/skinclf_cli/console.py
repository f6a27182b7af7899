"""Data on stdout, messages on stderr.

Every command reports through these few functions, so that `-q`, `-v`, `--json`, NO_COLOR and pipes
behave the same everywhere. rich is imported only when a message is printed.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import click

from skinclf.errors import OutputError
from skinclf_cli.errors import with_options

if TYPE_CHECKING:
    from rich.console import Console


#: Logger of the lines within an epoch.
_BATCHES = "skinclf.batches"


def verbosity() -> int:
    """Verbosity: -1 with `-q`, 0 by default, 1 and more with `-v`."""
    context = click.get_current_context(silent=True)
    value = context.find_root().obj if context else None
    return value if isinstance(value, int) else 0


def stderr() -> Console:
    """A rich console on stderr; plain when that is no terminal or NO_COLOR is set."""
    from rich.console import Console

    return Console(file=sys.stderr, highlight=False, soft_wrap=True)


def message(text: str) -> None:
    """Print a message to stderr, unless `-q`; parameters of the library are printed as options."""
    if verbosity() >= 0:
        stderr().print(with_options(text, _command()), markup=False)


def out(text: str) -> None:
    """Write data to stdout."""
    click.echo(text)


def json_out(value: Any) -> None:
    """Write JSON to stdout; NaN is refused, as JSON has none."""
    click.echo(json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False))


def discard_stdout() -> None:
    """Point a stdout whose reader has gone at the null device, so that the interpreter's last flush succeeds."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def stdout_writer() -> Callable[[bytes], None]:
    """A function that writes whole chunks to stdout and flushes them, so that a reader sees rows as they come."""
    stream = sys.stdout.buffer  # UTF-8 whatever the console's encoding is

    def write(data: bytes) -> None:
        try:
            stream.write(data)
            stream.flush()
        except OSError as error:
            discard_stdout()
            reason = "its reader went away" if isinstance(error, BrokenPipeError) else error.strerror
            raise OutputError(f"stdout: {reason}; not all rows were written.") from None

    return write


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


def _command() -> click.Command | None:
    context = click.get_current_context(silent=True)
    return context.command if context else None


class _OptionFormatter(logging.Formatter):
    """Log lines in which parameters of the library are options of the command that runs."""

    def format(self, record: logging.LogRecord) -> str:
        return with_options(super().format(record), _command())


@contextmanager
def logging_above(view: Console) -> Iterator[None]:
    """Print the log through a console with a progress bar, and leave out the lines that the bar replaces."""

    class Above(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.name != _BATCHES:
                view.print(self.format(record), markup=False)

    logger = logging.getLogger("skinclf")
    before, handler = logger.handlers[:], Above()
    handler.setFormatter(_OptionFormatter("%(message)s"))
    logger.handlers[:] = [handler]
    try:
        yield
    finally:
        logger.handlers[:] = before


def setup_logging(level: int) -> None:
    """Send the library's log to stderr: warnings by default, errors with `-q`, more with `-v`."""
    logger = logging.getLogger("skinclf")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OptionFormatter("%(message)s"))
    logger.handlers[:] = [handler]
    if level < 1:
        # Deprecation notices of torch and its dependencies are for developers, not for users of the command.
        warnings.simplefilter("ignore", FutureWarning)
    logger.setLevel({-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO}.get(level, logging.DEBUG))
