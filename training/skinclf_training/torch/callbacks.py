"""Lightning callbacks: history of epochs, and checkpoints that are written whole or not at all."""

# ruff: noqa: ARG002, FBT001 - Lightning sets the signatures

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from skinclf._utils.files import writing
from skinclf.errors import OutputError
from skinclf_training.recipes.batch_progress import BatchProgress, BatchReport
from skinclf_training.recipes.run_folder import write_history
from skinclf_training.torch.distributed import rank
from skinclf_training.torch.lightning_module import Classifier

log = logging.getLogger("skinclf")
_PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")


class AtomicCheckpointIO(TorchCheckpointIO):  # type: ignore[misc]
    """Checkpoint input and output: writes are atomic, reads accept tensors and plain values only."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint so that a kill leaves the old one or the new one.

        Raises:
            OutputError: The file cannot be written.
        """
        target = Path(path)
        with writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            with writing(target), partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(target)
        except RuntimeError as error:
            # Torch closes its archive after a failed write, and reports that instead.
            reason = error.__context__ if isinstance(error.__context__, OSError) else error
            raise OutputError(f"{target}: cannot be written: {_reason(reason)}.") from None
        finally:
            partial.unlink(missing_ok=True)

    def load_checkpoint(
        self, path: Any, map_location: Any = "cpu", weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint, always with `weights_only`."""
        state: dict[str, Any] = torch.load(path, map_location=map_location, weights_only=True)
        return state


def _reason(error: BaseException) -> str:
    return (isinstance(error, OSError) and error.strerror) or " ".join(str(error).split())[:160]


class FolderCheckpoint(ModelCheckpoint):  # type: ignore[misc]
    """Checkpoint callback whose best score stays valid when the folder of the run is moved."""

    def __init__(self, folder: Path, filename: str, **options: Any) -> None:
        super().__init__(
            dirpath=folder,
            filename=filename,
            enable_version_counter=False,
            auto_insert_metric_name=False,
            **options,
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best score, with the present paths of the files."""
        assert self.dirpath is not None

        def here(path: str) -> str:
            return str(Path(self.dirpath) / Path(path).name) if path else path

        moved = {key: here(state_dict[key]) for key in _PATHS if key in state_dict}
        best = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **moved, "best_k_models": best, "dirpath": self.dirpath})


class LastCheckpoint(FolderCheckpoint):
    """Checkpoint after every complete epoch, from which a run resumes."""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save after complete epochs only; an unfinished epoch of a trial has been saved before validation."""
        if trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            super().on_train_epoch_end(trainer, pl_module)


class StepCheckpoint(FolderCheckpoint):
    """Checkpoint every few steps, except at the last step of an epoch or within an accumulated step.

    After the last step the checkpoint of the epoch follows validation; one written before would resume past it.
    """

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save after a complete step that is not the last one of the epoch."""
        whole = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if whole and batch_idx + 1 < trainer.num_training_batches:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)


class Trial(pl.Callback):  # type: ignore[misc]
    """Limit on the number of steps: save, stop, and let the unfinished epoch be validated.

    Args:
        steps: Number of optimiser steps of the whole run.
        path: Checkpoint from which a later call resumes.
    """

    def __init__(self, steps: int, path: Path) -> None:
        self._steps, self._path = steps, path

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop a run that has reached the limit already."""
        if trainer.global_step >= self._steps:
            trainer.should_stop = True

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop after the last step."""
        if trainer.global_step < self._steps or trainer.should_stop:
            return
        if batch_idx + 1 < trainer.num_training_batches:
            trainer.save_checkpoint(self._path)
        trainer.should_stop = True


class History(pl.Callback):  # type: ignore[misc]
    """History: one row per epoch in `history.csv` and `history.json`, without gaps or repeats after a resume.

    Args:
        folder: Folder of the run.
        report: Report of every batch.
    """

    def __init__(self, folder: Path, report: BatchReport) -> None:
        self.folder, self.report = folder, report
        self.rows: list[dict[str, float]] = []
        self._clock = time.monotonic()
        self._seconds = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock, and drop rows later than the resumed checkpoint."""
        self._clock = time.monotonic()
        self._write()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Report loss and throughput."""
        assert isinstance(pl_module, Classifier)
        self._tick()
        sums = pl_module.sums
        self.report(
            BatchProgress(
                epoch=batch.epoch + 1,
                epochs=pl_module.config.optim.epochs,
                batch=batch.index + 1,
                batches=pl_module.batches_per_epoch,
                loss=sums["loss"] / sums["images"],
                images_per_second=sums["images"] / self._seconds,
            )
        )

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the row of the epoch, before its checkpoint is written."""
        assert isinstance(pl_module, Classifier)
        if trainer.sanity_checking:
            return
        self._tick()
        sums = pl_module.totals()
        rates = {group["name"].partition("/")[0]: group["lr"] for group in trainer.optimizers[0].param_groups}
        row = {
            "epoch": float(trainer.current_epoch + 1),
            "step": float(trainer.global_step),
            "train_loss": sums["loss"] / sums["images"],
            "train_accuracy": sums["correct"] / sums["images"],
            **{f"val_{name}": value for name, value in pl_module.figures.items()},
            "lr": float(rates["body"]),
            "head_lr": float(rates["head"]),
            "frozen_layers": float(pl_module.frozen_layers),
            "seconds": self._seconds,
        }
        self._seconds = 0.0
        self.rows.append(row)
        for logger in trainer.loggers:
            logger.log_metrics(
                {k: v for k, v in row.items() if k not in {"epoch", "step"}}, trainer.global_step
            )
        self._write()
        if trainer.is_global_zero:
            log.info("%s", "  ".join(f"{k} {v:.4g}" for k, v in row.items()))

    def state_dict(self) -> dict[str, Any]:
        """Rows, and seconds of the running epoch."""
        return {"rows": [dict(row) for row in self.rows], "seconds": self._seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore rows and seconds."""
        self.rows = [dict(row) for row in state_dict["rows"]]
        self._seconds = float(state_dict["seconds"])

    def _tick(self) -> None:
        now = time.monotonic()
        self._seconds += now - self._clock
        self._clock = now

    def _write(self) -> None:
        if rank() == 0:
            write_history(self.folder, self.rows)


class EpochHook(pl.Callback):  # type: ignore[misc]
    """Call of a function with each new row of the history; True stops training after the epoch."""

    def __init__(self, history: History, on_epoch: Callable[[dict[str, float]], bool]) -> None:
        self._history, self._on_epoch = history, on_epoch

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Call the function after the row was added; the checkpoint of the epoch is written in any case."""
        if not trainer.sanity_checking and self._on_epoch(dict(self._history.rows[-1])):
            trainer.should_stop = True
