"""Batches from a decoded store, in an order that depends on nothing but seed and epoch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch and its place in the run.

    Attributes:
        images: Shape (N, H, W, 3), uint8.
        targets: Shape (N,), int64.
        epoch: Counted from 0.
        index: Of the batch within the epoch.
    """

    images: Tensor
    targets: Tensor
    epoch: int
    index: int

    def to(self, device: torch.device, **_: Any) -> Batch:
        """The batch on a device."""
        return Batch(self.images.to(device), self.targets.to(device), self.epoch, self.index)


class StoreLoader:
    """Iterates over a decoded store; resumable within an epoch.

    Reading is a copy from memory (milliseconds per batch), so there are no worker processes.

    Args:
        store: Shape (N, H, W, 3), uint8.
        rows: Rows of the store to go through.
        targets: Label of every row of the store.
        batch_size: Images per batch.
        shuffle_seed: Shuffle anew every epoch and drop the incomplete batch; None keeps order and tail.
    """

    #: Lightning asks for it beside `sampler`.
    batch_sampler = None

    def __init__(
        self,
        store: npt.NDArray[np.uint8],
        rows: npt.NDArray[np.int64],
        targets: npt.NDArray[np.int64],
        *,
        batch_size: int,
        shuffle_seed: int | None = None,
    ) -> None:
        self.store, self.rows, self.targets = store, rows, targets
        self.batch_size, self.shuffle_seed = min(batch_size, len(rows)), shuffle_seed
        self.epoch = 0
        self._next = 0

    def __len__(self) -> int:
        full, tail = divmod(len(self.rows), self.batch_size)
        return full + (tail > 0 and self.shuffle_seed is None)

    @property
    def sampler(self) -> StoreLoader:
        """Itself: Lightning announces every epoch to `loader.sampler.set_epoch`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Start an epoch; a resumed one goes on where it stopped."""
        if epoch != self.epoch:
            self.epoch, self._next = epoch, 0

    def state_dict(self) -> dict[str, int]:
        """Where the loader is."""
        return {"epoch": self.epoch, "next": self._next}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go back to where `state_dict` was taken."""
        self.epoch, self._next = state["epoch"], state["next"]

    def __iter__(self) -> Iterator[Batch]:
        order = self.rows
        if self.shuffle_seed is not None:
            order = order[np.random.default_rng([self.shuffle_seed, self.epoch]).permutation(len(order))]
        start = self._next if self.shuffle_seed is not None and self._next < len(self) else 0
        for index in range(start, len(self)):
            taken = order[index * self.batch_size : (index + 1) * self.batch_size]
            images = torch.from_numpy(self.store[taken])
            self._next = index + 1
            yield Batch(images, torch.from_numpy(self.targets[taken]), self.epoch, index)
