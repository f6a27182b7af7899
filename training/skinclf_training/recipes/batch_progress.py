"""Progress within an epoch: every batch to a function, some of them to the log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

#: Logger of the lines within an epoch, which a progress bar replaces on a terminal.
log = logging.getLogger("skinclf.batches")
_BATCHES, _SECONDS = 20, 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchProgress:
    """Position of a run within an epoch.

    Attributes:
        epoch: Epoch, counted from 1.
        epochs: Number of epochs of the run.
        batch: Batch of the epoch, counted from 1.
        batches: Number of batches of the epoch.
        loss: Mean loss of the epoch so far.
        images_per_second: Training images per second in the epoch so far.
    """

    epoch: int
    epochs: int
    batch: int
    batches: int
    loss: float
    images_per_second: float


class BatchReport:
    """Report of every batch.

    Args:
        on_batch: Function that is called after every batch; None for the log alone.
    """

    def __init__(self, on_batch: Callable[[BatchProgress], None] | None) -> None:
        self._on_batch, self._last, self._count = on_batch, time.monotonic(), 0

    def __call__(self, now: BatchProgress) -> None:
        """Pass a batch on; every 20 batches, and at least every half minute, a line goes to the log."""
        if self._on_batch is not None:
            self._on_batch(now)
        self._count += 1
        if self._count % _BATCHES and time.monotonic() - self._last < _SECONDS:
            return
        self._count, self._last = 0, time.monotonic()
        log.info(
            "epoch %d/%d batch %d/%d: loss %.4f, %.1f images/s",
            now.epoch,
            now.epochs,
            now.batch,
            now.batches,
            now.loss,
            now.images_per_second,
        )
