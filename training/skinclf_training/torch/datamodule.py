"""Data module of a run: images are decoded once, by the first process, then memory-mapped by all."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import numpy.typing as npt

from skinclf.errors import MismatchError
from skinclf.images.preprocess import Preprocess
from skinclf_training.augment.batch import augment
from skinclf_training.config.read import Config
from skinclf_training.config.schema import AugmentConfig
from skinclf_training.data.prepare import Prepared
from skinclf_training.data.prepared import read_prepared
from skinclf_training.data.store import JoinedStore, decoded_store
from skinclf_training.recipes.class_balance import epoch_rows
from skinclf_training.recipes.training_rows import epoch_base, sample_weights
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
        self._also = tuple(read_prepared(Path(folder)) for folder in config.data.also)
        self._train: npt.NDArray[np.uint8] | JoinedStore = _NOTHING
        self._val = _NOTHING

    def prepare_data(self) -> None:
        """Decode missing images; the other processes wait."""
        self._open()

    def setup(self, stage: str) -> None:  # noqa: ARG002 - Lightning's signature
        """Map the stores into memory."""
        self._train, self._val = self._open()

    def _open(self) -> tuple[npt.NDArray[np.uint8] | JoinedStore, npt.NDArray[np.uint8]]:
        prepared = self._prepared
        open_store = partial(decoded_store, workers=self._config.data.workers, progress=self._progress)
        val: list[Path] = [prepared.paths[i] for i in prepared.rows("val")]
        own = self._config.preprocess.build()
        stores = [open_store(p.paths, self._stored(own), cache=p.cache) for p in (prepared, *self._also)]
        train = stores[0] if len(stores) == 1 else JoinedStore(stores)
        return train, open_store(val, own, cache=prepared.cache)

    def _stored(self, own: Preprocess) -> Preprocess:
        """Preprocessing of the store: whole pictures at its size, with the steps and filter of the run."""
        d = self._config.data
        return Preprocess(
            height=d.store_height,
            width=d.store_width,
            interpolation=own.interpolation,
            library=own.library,
            scaled_decoding=own.scaled_decoding,
            steps=own.steps,
        )

    def train_dataloader(self) -> StoreLoader:
        """Training batches, drawn anew every epoch; a thread augments ahead for presets other than `batch`."""
        config, classes = self._config, len(self._prepared.labels)
        rows, targets, known = joined_rows(self._prepared, self._also)
        weights = sample_weights((self._prepared, *self._also), config.data.weight_column)
        rows = epoch_base(rows, targets, weights, classes, config)

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
            known=known,
            weights=weights,
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


def joined_rows(
    prepared: Prepared, also: Sequence[Prepared]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_] | None]:
    """Training rows, label indices and known labels of several data sets whose stores are joined.

    Args:
        prepared: Data set of the run, whose labels are those of the network.
        also: Data sets with some of its labels.

    Returns:
        Training rows of the joined store; label index of every row of it; and the labels that the data set of every
        row tells apart, shape (rows of the store, K), or None without further data sets.

    Raises:
        MismatchError: A data set has a label that the run has not.
    """
    rows, targets = [prepared.rows("train")], [prepared.targets]
    known = [np.ones((len(prepared.targets), len(prepared.labels)), bool)]
    start = len(prepared.targets)
    for other in also:
        stray = [code for code in other.labels.codes if code not in prepared.labels.codes]
        if stray:
            raise MismatchError(
                f"{other.folder} has the labels {', '.join(stray)}, which are not among those of the run: "
                f"{', '.join(prepared.labels.codes)}."
            )
        place = np.asarray([prepared.labels.position(code) for code in other.labels.codes])
        mask = np.zeros(len(prepared.labels), bool)
        mask[place] = True
        rows.append(other.rows("train") + start)
        targets.append(place[other.targets])
        known.append(np.tile(mask, (len(other.targets), 1)))
        start += len(other.targets)
    return np.concatenate(rows), np.concatenate(targets), np.concatenate(known) if also else None


def _augmented(batch: Batch, *, config: AugmentConfig) -> Batch:
    return dataclasses.replace(batch, images=augment(batch.images, config, batch.rng))
