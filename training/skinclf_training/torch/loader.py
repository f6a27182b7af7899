"""Batches from a decoded store, in an order that depends on random seed and epoch only."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from skinclf_training.data.store import JoinedStore

#: Batches that a thread prepares ahead.
_AHEAD = 2


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch, its place in the run, and the random numbers that belong to it.

    Attributes:
        images: Pixels, shape (N, H, W, 3), uint8; or, once augmented, (N, 3, size, size), float32, 0 to 255.
        targets: Label indices, shape (N,), int64.
        known: Labels that the data set of each image tells apart, shape (N, K), bool; None where all do.
        weights: Weight of each image in the loss, shape (N,), float32; None for 1.
        epoch: Epoch, counted from 0.
        index: Number of the batch within the epoch, counted from 0.
        seed: Random seed of the network, such as for dropout.
        rng: Generator for augmentation, then for mixing.
    """

    images: Tensor
    targets: Tensor
    epoch: int
    index: int
    seed: int
    rng: np.random.Generator
    known: Tensor | None = None
    weights: Tensor | None = None

    def to(self, device: torch.device, *, non_blocking: bool = False) -> Batch:
        """Copy the batch to a device."""
        names = ("images", "targets", "known", "weights")
        tensors = {name: tensor for name in names if (tensor := getattr(self, name)) is not None}
        return replace(self, **{k: v.to(device, non_blocking=non_blocking) for k, v in tensors.items()})


class StoreLoader:
    """Loader of batches from a decoded store; resumable within an epoch.

    Reading is a copy from memory (milliseconds per batch), so there are no worker processes.

    Args:
        store: Pixels, shape (N, H, W, 3), uint8.
        rows: Rows of the store to iterate over.
        targets: Label of every row of the store.
        batch_size: Number of images per batch, over all ranks.
        seed: Random seed of the batches.
        order: Function from the epoch to its rows, as many as `rows`; None takes `rows` in order.
        drop_last: Whether to leave out an incomplete last batch (never the only one).
        rank: Rank of this process among `ranks`; each takes its share of every batch.
        ranks: Number of processes.
        known: Labels that the data set of each row of the store tells apart, shape (rows of the store, K), bool; None
            where all do.
        weights: Weight of each row of the store in the loss, float32; None for 1.
        prepare: Function that augments a batch, called ahead of time in a thread; None leaves batches unchanged.
    """

    #: Attribute that Lightning reads beside `sampler`.
    batch_sampler = None

    def __init__(
        self,
        store: npt.NDArray[np.uint8] | JoinedStore,
        rows: npt.NDArray[np.int64],
        targets: npt.NDArray[np.int64],
        *,
        batch_size: int,
        seed: int = 0,
        order: Callable[[int], npt.NDArray[np.int64]] | None = None,
        drop_last: bool = False,
        rank: int = 0,
        ranks: int = 1,
        known: npt.NDArray[np.bool_] | None = None,
        weights: npt.NDArray[np.float32] | None = None,
        prepare: Callable[[Batch], Batch] | None = None,
    ) -> None:
        self.store, self.rows, self.targets = store, rows, targets
        self.batch_size, self.seed = min(batch_size, len(rows)), seed
        self.order, self.drop_last, self.prepare = order, drop_last, prepare
        self.rank, self.ranks, self.known, self.weights = rank, ranks, known, weights
        self.epoch = 0
        self._next = 0

    def __len__(self) -> int:
        full, tail = divmod(len(self.rows), self.batch_size)
        return full + (tail > 0 and not self.drop_last)

    @property
    def sampler(self) -> StoreLoader:
        """The loader itself: Lightning calls `loader.sampler.set_epoch` at every epoch."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Start an epoch; a resumed one continues at its next batch."""
        if epoch != self.epoch:
            self.epoch, self._next = epoch, 0

    def state_dict(self) -> dict[str, int]:
        """Epoch and number of the next batch."""
        return {"epoch": self.epoch, "next": self._next}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Restore the position that `state_dict` recorded."""
        self.epoch, self._next = state["epoch"], state["next"]

    def __iter__(self) -> Iterator[Batch]:
        order = self.rows if self.order is None else self.order(self.epoch)
        start = self._next if self.order is not None and self._next < len(self) else 0
        indices = range(start, len(self))
        batches = (self._batch(order, index) for index in indices)
        for index, batch in zip(indices, self._prepared(batches), strict=True):
            self._next = index + 1
            yield batch

    def _batch(self, order: npt.NDArray[np.int64], index: int) -> Batch:
        taken = order[index * self.batch_size : (index + 1) * self.batch_size]
        taken = np.array_split(taken, self.ranks)[self.rank]
        place = [self.seed, self.epoch, index, *([self.rank] if self.ranks > 1 else [])]
        rng = np.random.default_rng(place)
        images, targets = torch.from_numpy(self.store[taken]), torch.from_numpy(self.targets[taken])
        known = None if self.known is None else torch.from_numpy(self.known[taken])
        weights = None if self.weights is None else torch.from_numpy(self.weights[taken])
        seed = int(rng.integers(2**62))
        return Batch(images, targets, self.epoch, index, seed, rng, known, weights)

    def _prepared(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        if self.prepare is None:
            yield from batches
            return
        waiting: deque[Future[Batch]] = deque()
        with ThreadPoolExecutor(1) as thread:
            try:
                for batch in batches:
                    waiting.append(thread.submit(self.prepare, batch))
                    if len(waiting) > _AHEAD:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                thread.shutdown(cancel_futures=True)
