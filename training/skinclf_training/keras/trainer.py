"""Training in TensorFlow: from a configuration and a prepared data set to a run folder."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from skinclf._utils.files import replace_file
from skinclf.models.probabilities import probabilities
from skinclf_training.config.schema import Config
from skinclf_training.data.prepare import Prepared
from skinclf_training.data.store import decoded_store
from skinclf_training.keras.callbacks import Progress
from skinclf_training.keras.checkpoint import read_checkpoint, write_checkpoint
from skinclf_training.keras.data import Batches
from skinclf_training.keras.framework import check_supported, device, keras, policy, tf, using_policy
from skinclf_training.keras.init import start_from
from skinclf_training.keras.learner import Learner
from skinclf_training.keras.loss import build_loss
from skinclf_training.keras.model import ARCHITECTURE, activation, build_model
from skinclf_training.recipes.batch_progress import BatchProgress, BatchReport
from skinclf_training.recipes.class_balance import class_weights, copies_note, stacked
from skinclf_training.recipes.memory import keep_freed_memory
from skinclf_training.recipes.resolution_check import magnified
from skinclf_training.recipes.run_failures import diverged, run_failures
from skinclf_training.recipes.run_folder import (
    BEST,
    HISTORY,
    INIT,
    LAST,
    claim_run,
    read_history,
    write_history,
    write_json,
)
from skinclf_training.recipes.run_log import run_log
from skinclf_training.recipes.schedule import learning_rates, phase_at, schedule_factor
from skinclf_training.recipes.starting_weights import weights_path
from skinclf_training.recipes.training_rows import epoch_base, sample_weights, weight_note, with_weight
from skinclf_training.recipes.validation_metrics import validation_metrics

log = logging.getLogger("skinclf")


def train(
    config: Config,
    prepared: Prepared,
    run: Path,
    *,
    resume: Literal["auto", "never"] = "auto",
    progress: Callable[[int, int], None] | None = None,
    max_steps: int = -1,
    on_epoch: Callable[[dict[str, float]], bool] | None = None,
    on_batch: Callable[[BatchProgress], None] | None = None,
) -> list[dict[str, float]]:
    """Train a network, from the start or from the last checkpoint of the run.

    The run folder is that of `skinclf_training.torch.trainer.train`.

    Args:
        config: Configuration of the run.
        prepared: Data and split.
        run: Folder of the run.
        resume: Use of a folder with a run: `auto` continues from its checkpoint, `never` refuses the folder.
        progress: Function that is called with (done, total) while images are decoded.
        max_steps: Number of optimiser steps of the whole run, for trials; the unfinished epoch is validated. -1 for
            the configured epochs.
        on_epoch: Function that is called with each new row of the history; True stops after this epoch.
        on_batch: Function that is called after every batch.

    Returns:
        History, one row per epoch, over all phases.

    Raises:
        MismatchError: The folder belongs to a run with another configuration or split.
        InvalidArgumentError: The folder holds a run and `resume` is `never`, a class has no training image, or
            the configuration does not fit TensorFlow, the network or the data.
        ModelError: The network cannot be built, or its starting weights cannot be read.
        DivergenceError: The loss or the weights are no longer numbers.
        OutputError: A file cannot be written, for instance because the disk is full.
        KeyboardInterrupt: The run was interrupted; its text names the checkpoint to continue from.
    """
    check_supported(config)
    place = device(config)
    claim_run(run, config, prepared, resume=resume)
    with run_log(run), run_failures(run):
        if _is_finished(config, run, max_steps):
            log.info("%s: the run is finished; nothing is trained again", run)
            return read_history(run)
        for warning in filter(None, (stacked(config), copies_note(config), magnified(config))):
            log.warning("%s", warning)
        return _train(
            config,
            prepared,
            run,
            place,
            progress=progress,
            max_steps=max_steps,
            on_epoch=on_epoch,
            report=BatchReport(on_batch),
        )


def _is_finished(config: Config, run: Path, max_steps: int) -> bool:
    """Whether the last checkpoint is that of the last epoch, of an early stop, or of the last step of a trial."""
    if not (run / LAST).is_file() or not (run / HISTORY).is_file():
        return False
    state = read_checkpoint(run / LAST)[1]
    return state.epoch >= config.optim.epochs or state.stopped or 0 <= max_steps <= state.step


def _train(
    config: Config,
    prepared: Prepared,
    run: Path,
    place: str,
    *,
    progress: Callable[[int, int], None] | None,
    max_steps: int,
    on_epoch: Callable[[dict[str, float]], bool] | None,
    report: BatchReport,
) -> list[dict[str, float]]:
    if config.optim.deterministic:
        tf.config.experimental.enable_op_determinism()
    tf.config.experimental.enable_tensor_float_32_execution(config.optim.tf32)
    keras.utils.set_random_seed(config.seed)
    keep_freed_memory()
    threads = torch.get_num_threads()
    # Torch only augments here, several batches at a time.
    torch.set_num_threads(1)
    try:
        with tf.device(place), using_policy(policy(config, place)):
            loop = _Loop(config, prepared, run, progress=progress, report=report)
            return loop.run(max_steps=max_steps, on_epoch=on_epoch)
    except tf.errors.ResourceExhaustedError as error:
        raise MemoryError(str(error)) from None
    finally:
        torch.set_num_threads(threads)


class _Loop:
    """Training loop of one run, from its last checkpoint on."""

    def __init__(
        self,
        config: Config,
        prepared: Prepared,
        run: Path,
        *,
        progress: Callable[[int, int], None] | None,
        report: BatchReport,
    ) -> None:
        self.config, self.folder, self.labels, self.report = config, run, prepared.labels, report
        d, classes, rows = config.data, len(prepared.labels), prepared.rows("train")
        cache, own = prepared.cache, config.preprocess.build()
        stored = dataclasses.replace(
            own, height=d.store_height, width=d.store_width, fit="squash", crop_pct=1.0
        )
        store = decoded_store(prepared.paths, stored, cache, workers=d.workers, progress=progress)
        targets, column = prepared.targets, d.weight_column
        image_weights = sample_weights((prepared,), column)
        if note := weight_note(image_weights, rows):
            log.info("%s", note)
        base = epoch_base(rows, targets, image_weights, classes, config)
        rows = with_weight(rows, image_weights)
        self.batches = Batches(config, store, base, targets, classes, image_weights)
        val_rows = prepared.rows("val")
        self.truth = prepared.targets[val_rows]
        val_paths = [prepared.paths[i] for i in val_rows]
        self.images = decoded_store(val_paths, own, cache, workers=d.workers, progress=progress)
        built = build_model(config, classes)
        replace_file(run / ARCHITECTURE, built.model.to_json(indent=1).encode())
        self.state, checkpoint = Progress(), run / LAST
        resumed = checkpoint.is_file()
        if config.model.init and not resumed:
            write_json(run / INIT, dataclasses.asdict(start_from(built, weights_path(config.model.init))))
        weights = class_weights(prepared.targets[rows], classes, config.loss.class_weights)
        self.rates: dict[str, float] = {}
        loss = build_loss(config.loss, weights, classes, weighted_targets=column is not None)
        self.learner = Learner(config, built, loss)
        if resumed:
            arrays, self.state = read_checkpoint(checkpoint)
            # At an epoch's start the optimisers are still those of the epoch before.
            self.learner.enter(phase_at(config.optim, self.state.epoch - (self.state.batch == 0)))
            self.learner.restore(arrays)
        write_history(run, self.state.rows)
        log.info(
            "%d training and %d validation images, %d steps per epoch",
            len(rows),
            len(val_rows),
            len(self.batches),
        )

    def run(
        self, *, max_steps: int, on_epoch: Callable[[dict[str, float]], bool] | None
    ) -> list[dict[str, float]]:
        state = self.state
        while state.epoch < self.config.optim.epochs and not state.stopped:
            if max_steps >= 0 and state.step >= max_steps:
                break
            self._begin()
            whole = self._train(max_steps)
            row = self._row()
            if not whole:
                self._trial(row)
                break
            better = state.close_epoch(self.config, row)
            if better:
                self._save_best()
            state.stopped |= on_epoch is not None and on_epoch(dict(row))
            self._save(LAST)
            self._keep(int(row["epoch"]))
            write_history(self.folder, state.rows)
            self._draw(row)
        return state.rows

    def _phase(self) -> Any:
        return phase_at(self.config.optim, self.state.epoch)

    def _begin(self) -> None:
        """Enter the phase that begins with the epoch, and reset the sums of the epoch."""
        if self.state.batch:
            return
        before = phase_at(self.config.optim, self.state.epoch - 1) if self.state.epoch else None
        if self._phase() != before:
            count = self.learner.enter(self._phase())
            log.info(
                "epoch %d: %s learns, %d parameters", self.state.epoch + 1, self._phase().trainable, count
            )
        self.learner.sums.assign(np.zeros(3))

    def _train(self, max_steps: int) -> bool:
        """Train the rest of the epoch; return whether the epoch is complete."""
        o, state = self.config.optim, self.state
        phase, steps = self._phase(), len(self.batches)
        clock = time.monotonic()
        for pixels, soft in self.batches.epoch(state.epoch, first=state.batch):
            factor = schedule_factor(o, step=state.step, steps_per_epoch=steps) * state.watch.factor
            self.rates = learning_rates(o, phase, factor)
            state.step, state.batch = state.step + 1, state.batch + 1
            self.learner.step(pixels, soft, self.rates, state.step)
            now = time.monotonic()
            state.seconds, clock = state.seconds + now - clock, now
            loss, _, images = self.learner.sums.numpy()
            if not math.isfinite(loss):
                raise diverged(self.folder, "the loss", epoch=state.epoch + 1, batch=state.batch)
            self.report(
                BatchProgress(
                    epoch=state.epoch + 1,
                    epochs=o.epochs,
                    batch=state.batch,
                    batches=steps,
                    loss=float(loss / images),
                    images_per_second=float(images / state.seconds),
                )
            )
            if state.batch < steps and o.checkpoint_steps and state.step % o.checkpoint_steps == 0:
                self._save(LAST)
            if state.step == max_steps and state.batch < steps:
                return False
        return True

    def _row(self) -> dict[str, float]:
        """Validate, and return the row of the history."""
        clock = time.monotonic()
        scores = self.learner.scores(self.images, self.config.data.val_batch_size)
        if not np.isfinite(scores).all():
            what = "the network's output on the validation part"
            raise diverged(self.folder, what, epoch=self.state.epoch + 1)
        answers = probabilities(scores, activation(self.config))
        figures = validation_metrics(answers, self.truth, self.labels)
        loss, correct, images = self.learner.sums.numpy()
        self.state.seconds += time.monotonic() - clock
        row = {
            "epoch": float(self.state.epoch + 1),
            "step": float(self.state.step),
            "train_loss": float(loss / images),
            "train_accuracy": float(correct / images),
            **{f"val_{name}": value for name, value in figures.items()},
            "lr": self.rates["body"],
            "head_lr": self.rates["head"],
            "frozen_layers": float(self.learner.frozen_layers),
            "seconds": self.state.seconds,
        }
        log.info("%s", "  ".join(f"{k} {v:.4g}" for k, v in row.items()))
        return row

    def _trial(self, row: dict[str, float]) -> None:
        """End a trial within an epoch: save, then record its validation; a later call resumes at this step."""
        self._save(LAST)
        if self.state.close_epoch(self.config, row):
            self._save_best()
        write_history(self.folder, self.state.rows)
        self._draw(row)

    def _keep(self, epoch: int) -> None:
        """Keep the checkpoint of a whole epoch beside the last one, and remove those beyond `log.keep_epochs`."""
        keep = self.config.log.keep_epochs
        if not keep:
            return
        self._save(f"checkpoints/epoch-{epoch:03}.ckpt")
        for old in sorted((self.folder / LAST).parent.glob("epoch-*.ckpt"))[:-keep]:
            old.unlink()

    def _draw(self, row: dict[str, float]) -> None:
        """Write a row to the event files of TensorBoard."""
        if not self.config.log.tensorboard:
            return
        writer = tf.summary.create_file_writer(str(self.folder / "tensorboard"))
        with writer.as_default(step=int(row["step"])):
            for name, value in row.items():
                if name not in {"epoch", "step"}:
                    tf.summary.scalar(name, value)
        writer.close()

    def _save(self, name: str) -> None:
        arrays = self.learner.arrays()
        if not all(np.isfinite(v).all() for key, v in arrays.items() if key.startswith("model/")):
            raise diverged(self.folder, "a weight", epoch=self.state.epoch + 1)
        write_checkpoint(self.folder / name, arrays, self.state)

    def _save_best(self) -> None:
        write_checkpoint(self.folder / BEST, self.learner.weights(), self.state)
