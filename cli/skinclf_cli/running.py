"""Around a long run: signals that stop it in order, and a progress bar on terminals."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from skinclf.errors import OutputError
from skinclf_cli import console

if TYPE_CHECKING:
    from skinclf.images.discovery import Inputs
    from skinclf.jobs.progress import Stop, Summary

INTERRUPTED = 130


@contextmanager
def stopping(stop: Stop) -> Iterator[None]:
    """Let the first SIGINT or SIGTERM end a run after the batches in hand, and a second one at once."""

    def handle(_signal: int, _frame: Any) -> None:
        if stop.requested:
            # Nothing needs to be put in order: a table is complete up to its last whole row at any moment.
            os._exit(INTERRUPTED)
        os.write(
            sys.__stderr__.fileno() if sys.__stderr__ else 2, b"\nStopping after the images in hand...\n"
        )
        stop.request()

    names = [name for name in ("SIGINT", "SIGTERM") if hasattr(signal, name)]
    before = {name: signal.signal(getattr(signal, name), handle) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


@contextmanager
def progress(inputs: Inputs) -> Iterator[Callable[[Summary], None] | None]:
    """A bar with rate and remaining time on stderr; None where that is no terminal, or with `-q`."""
    if not sys.stderr.isatty() or console.verbosity() < 0:
        yield None
        return
    from rich import progress as rich_progress

    bar = rich_progress.Progress(
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TextColumn("{task.fields[rate]} img/s, {task.fields[failed]} failed"),
        rich_progress.TimeRemainingColumn(),
        console=console.stderr(),
        transient=True,
    )
    task = bar.add_task("", total=None, rate="-", failed=0)

    def count() -> None:
        with _quiet():
            bar.update(task, total=inputs.count())

    def show(summary: Summary) -> None:
        rate = f"{summary.images_per_second:.1f}"
        bar.update(task, completed=summary.rows, rate=rate, failed=summary.failed)

    with bar:
        threading.Thread(target=count, daemon=True, name="skinclf-count").start()
        yield show


@contextmanager
def _quiet() -> Iterator[None]:
    """The total is only for show: what is wrong with the inputs is said by the run itself."""
    try:
        yield
    except OSError:
        return


def how_to_resume() -> str:
    """The command line that takes the interrupted run up again."""
    words = list(sys.argv[1:])
    if "predict" not in words:
        return "the same command with --resume"
    words = [word for word in words if word != "--overwrite"]
    return shlex.join(["skinclf", *words, *([] if "--resume" in words else ["--resume"])])


def stdout_writer() -> Callable[[bytes], None]:
    """Writes whole chunks to stdout and flushes them, so that a reader sees rows as they come."""
    stream = sys.stdout.buffer  # UTF-8 whatever the console speaks

    def write(data: bytes) -> None:
        try:
            stream.write(data)
            stream.flush()
        except OSError as error:
            console.give_up_stdout()
            reason = "its reader went away" if isinstance(error, BrokenPipeError) else error.strerror
            raise OutputError(f"stdout: {reason}; not all rows were written.") from None

    return write
