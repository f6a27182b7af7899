"""Data module of a run: images are decoded once, by the first process, then memory-mapped by all."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import numpy.typing as npt

from skinclf.images.preprocess import Preprocess
from skinclf_training.augment.batch import augment
from skinclf_training.config.read import Config
from skinclf_training.config.schema import AugmentConfig
from skinclf_training.data.prepare import Prepared
from skinclf_training.data.store import decoded_store
from skinclf_training.recipes.class_balance import epoch_rows
from skinclf_training.torch.distributed import rank
from skinclf_training.torch.loader import Batch, StoreLoader

_NOTHING: npt.NDArray[np.uint8] = np.zeros((0, 0, 0, 3), np.uint8)


class StoreData(pl.LightningDataModule):  # type: ignore[misc]
    """Training and validation batches of a run.

    Args:
        config: Configuration of the run.
        prepared: Data and split.
        progress: Function that is called with (done, total) while images are decoded.
    """

    def __init__(
        self, config: Config, prepared: Prepared, *, progress: Callable[[int, int], None] | None = None
    ) -> None:
        super().__init__()
        self._config, self._prepared, self._progress = config, prepared, progress
        self._train, self._val = _NOTHING, _NOTHING

    def prepare_data(self) -> None:
        """Decode missing images; the other processes wait."""
        self._open()

    def setup(self, stage: str) -> None:  # noqa: ARG002 - Lightning's signature
        """Map the stores into memory."""
        self._train, self._val = self._open()

    def _open(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        prepared, cache = self._prepared, self._prepared.cache
        open_store = partial(
            decoded_store, cache=cache, workers=self._config.data.workers, progress=self._progress
        )
        val: list[Path] = [prepared.paths[i] for i in prepared.rows("val")]
        own = self._config.preprocess.build()
        return open_store(prepared.paths, self._stored(own)), open_store(val, own)

    def _stored(self, own: Preprocess) -> Preprocess:
        """Preprocessing of the store: whole pictures at its size, with the steps and filter of the run."""
        d = self._config.data
        return Preprocess(
            height=d.store_height,
            width=d.store_width,
            interpolation=own.interpolation,
            library=own.library,
            steps=own.steps,
        )

    def train_dataloader(self) -> StoreLoader:
        """Training batches, drawn anew every epoch; a thread augments ahead for presets other than `batch`."""
        config, targets = self._config, self._prepared.targets
        rows, classes = self._prepared.rows("train"), len(self._prepared.labels)

        def order(epoch: int) -> npt.NDArray[np.int64]:
            rng = np.random.default_rng([config.seed, epoch])
            return epoch_rows(rows, targets, classes, sampler=config.data.sampler, rng=rng)

        return StoreLoader(
            self._train,
            rows,
            targets,
            batch_size=config.data.batch_size,
            seed=config.seed,
            order=order,
            drop_last=config.data.drop_last,
            rank=rank(),
            ranks=config.optim.devices,
            prepare=None if config.augment.preset == "batch" else partial(_augmented, config=config.augment),
        )

    def val_dataloader(self) -> StoreLoader:
        """Validation batches: every image once, in order."""
        rows = self._prepared.rows("val")
        return StoreLoader(
            self._val,
            np.arange(len(rows)),
            self._prepared.targets[rows],
            batch_size=self._config.data.val_batch_size,
            rank=rank(),
            ranks=self._config.optim.devices,
        )


def _augmented(batch: Batch, *, config: AugmentConfig) -> Batch:
    return dataclasses.replace(batch, images=augment(batch.images, config, batch.rng))
