"""Signals that stop a long run in order, and the command line that continues it."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from skinclf_cli.errors import INTERRUPTED

if TYPE_CHECKING:
    from skinclf.jobs.progress import Stop


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


def resume_command() -> str:
    """Command line that continues the interrupted run."""
    words = list(sys.argv[1:])
    if not {"predict", "explain"} & set(words):
        return "the same command with --resume"
    words = [word for word in words if word != "--overwrite"]
    return shlex.join(["skinclf", *words, *([] if "--resume" in words else ["--resume"])])
