"""Failures of a run as one message each: what happened, which checkpoint is good, how to go on."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from skinclf.errors import DeviceError, DivergenceError, OutputError, SkinclfError
from skinclf_training.recipes.run_folder import BEST, LAST

#: Errors of the operating system that say that a file cannot be written.
_UNWRITABLE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
)


@contextmanager
def run_failures(run: Path) -> Iterator[None]:
    """Turn a full disk, exhausted memory and an interruption into messages that name the good checkpoint.

    Args:
        run: Folder of the run.

    Raises:
        OutputError: A file cannot be written, for instance because the disk is full.
        DeviceError: Memory is exhausted.
        KeyboardInterrupt: The run was interrupted; its text says how to go on.
    """
    try:
        yield
    except OutputError as error:
        raise OutputError(f"{error} {good_checkpoint(run)}") from None
    except SkinclfError:
        raise
    except (MemoryError, torch.cuda.OutOfMemoryError) as error:
        raise DeviceError(
            f"Memory is exhausted ({_line(error) or 'MemoryError'}). Lower data.batch_size, data.val_batch_size "
            f"or augment.size. {good_checkpoint(run)}"
        ) from None
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        place, reason = error.filename or run, os.strerror(error.errno)
        raise OutputError(f"{place}: cannot be written: {reason}. {good_checkpoint(run)}") from None
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"Interrupted. {good_checkpoint(run)}") from None


def good_checkpoint(run: Path) -> str:
    """Sentence that names the checkpoints of a run, which are whole: they are written whole or not at all."""
    found = [run / name for name in (BEST, LAST) if (run / name).is_file()]
    if not found:
        return "No checkpoint was written yet; the folder is free for another try."
    names = " and ".join(str(path) for path in found)
    return f"Good: {names}; the same command continues from {Path(LAST).name}, once the cause is gone."


def diverged(run: Path, what: str, *, epoch: int, batch: int | None = None) -> DivergenceError:
    """Error of a run whose loss or weights are no longer numbers.

    Args:
        run: Folder of the run.
        what: Noun of the value that is not a number, such as `the loss`.
        epoch: Epoch, counted from 1.
        batch: Batch, counted from 1; None at the end of an epoch.
    """
    place = f"Epoch {epoch}" + (f", batch {batch}" if batch is not None else "")
    found = (run / BEST).is_file()
    kept = (
        f"{run / BEST} is good, from before: exporting the run makes a bundle of it. Train in another folder"
        if found
        else "No checkpoint was written, so the folder is free: train again"
    )
    return DivergenceError(
        f"{place}: {what} is not a number. {kept} with a lower optim.lr and optim.head_lr, with optim.clip, or with "
        "optim.precision=32-true."
    )


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:160]
