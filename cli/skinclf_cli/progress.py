"""Progress bars on stderr; none where that is no terminal, or with `-q`."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from skinclf_cli import console

if TYPE_CHECKING:
    from rich.progress import TaskID

    from skinclf.images.discovery import Inputs
    from skinclf.jobs.progress import Summary
    from skinclf_training.recipes.batch_progress import BatchProgress


def _hidden() -> bool:
    return not sys.stderr.isatty() or console.verbosity() < 0


@contextmanager
def run_bar(inputs: Inputs) -> Iterator[Callable[[Summary], None] | None]:
    """A bar with rate, failures and remaining time for a run over inputs.

    Yields:
        Function to call after every batch; None without a bar.
    """
    if _hidden():
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]} img/s, {task.fields[failed]} failed"),
        TimeRemainingColumn(),
        console=console.stderr(),
        transient=True,
    )
    task = bar.add_task("", total=None, rate="-", failed=0)

    def count() -> None:
        with suppress(OSError):  # the total is only for show: the run itself reports unreadable inputs
            bar.update(task, total=inputs.count())

    def show(summary: Summary) -> None:
        rate = f"{summary.images_per_second:.1f}"
        bar.update(task, completed=summary.rows, rate=rate, failed=summary.failed)

    with bar:
        threading.Thread(target=count, daemon=True, name="skinclf-count").start()
        yield show


@contextmanager
def image_bar(title: str) -> Iterator[Callable[[int, int], None] | None]:
    """A bar that counts images.

    Args:
        title: Word before the bar.

    Yields:
        Function of the images done and their total; None without a bar.
    """
    if _hidden():
        yield None
        return
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    with Progress(
        *Progress.get_default_columns()[:2],
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console.stderr(),
        transient=True,
    ) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def check_bar() -> Iterator[Callable[[str, int, int], None] | None]:
    """A bar for each check of maps.

    Yields:
        Function of the name of the check, what is done and its total; None without a bar.
    """
    if _hidden():
        yield None
        return
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console.stderr(), transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def show(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=total)
            bar.update(tasks[name], completed=done)

        yield show


@contextmanager
def step_bar(total: int) -> Iterator[Callable[[str, int], None]]:
    """A bar over a known number of images in several steps.

    Args:
        total: Images of a step.

    Yields:
        Function of the name of the step and the images done.
    """
    from rich.progress import Progress

    with Progress(console=console.stderr(), transient=True, disable=_hidden()) as bar:
        task = bar.add_task("", total=total)
        yield lambda step, done: bar.update(task, description=step, completed=done)


@contextmanager
def train_bar() -> Iterator[tuple[Callable[[int, int], None] | None, Callable[[BatchProgress], None] | None]]:
    """A bar for the images that are decoded, then for the batches of each epoch; the log is printed above it.

    Yields:
        Function of the images done and their total, and function of the last batch; None and None without a bar.
    """
    if _hidden():
        yield None, None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
        console=console.stderr(),
        transient=True,
    )
    task = bar.add_task("Starting", total=None, note="")

    def images(done: int, total: int) -> None:
        bar.update(task, description="Decoding", completed=done, total=total, note="")

    def batch(now: BatchProgress) -> None:
        bar.update(
            task,
            description=f"Epoch {now.epoch}/{now.epochs}",
            completed=now.batch,
            total=now.batches,
            note=f"loss {now.loss:.4f}, {now.images_per_second:.0f} img/s",
        )

    with bar, console.logging_above(bar.console):
        yield images, batch


@contextmanager
def download_bar() -> Iterator[Callable[[str, int, int | None], None] | None]:
    """A bar for each file that is downloaded.

    Yields:
        Function of the name of a file, the bytes done and their total; None without a bar.
    """
    if _hidden():
        yield None
        return
    from rich.progress import DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    with Progress(
        *Progress.get_default_columns()[:2],
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console.stderr(),
    ) as bar:
        tasks: dict[str, TaskID] = {}

        def show(name: str, done: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=total)
            bar.update(tasks[name], completed=done, total=total)

        yield show
