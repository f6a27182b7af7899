"""Training in PyTorch: from a configuration and a prepared data set to a run folder."""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy

from skinclf_training.config.read import Config
from skinclf_training.config.schema import LAST_EPOCH
from skinclf_training.data.prepare import Prepared
from skinclf_training.recipes.batch_progress import BatchProgress, BatchReport
from skinclf_training.recipes.class_balance import class_weights, copies_note, stacked
from skinclf_training.recipes.memory import keep_freed_memory
from skinclf_training.recipes.resolution_check import magnified
from skinclf_training.recipes.run_failures import run_failures
from skinclf_training.recipes.run_folder import (
    BEST,
    HISTORY,
    INIT,
    LAST,
    claim_run,
    read_history,
    write_json,
)
from skinclf_training.recipes.run_log import run_log
from skinclf_training.recipes.schedule import Watch
from skinclf_training.recipes.training_rows import sample_weights, weight_note, with_weight
from skinclf_training.torch.callbacks import (
    AtomicCheckpointIO,
    EpochHook,
    FolderCheckpoint,
    History,
    LastCheckpoint,
    StepCheckpoint,
    Trial,
)
from skinclf_training.torch.datamodule import StoreData
from skinclf_training.torch.distributed import check_ranks, rank
from skinclf_training.torch.lightning_module import Classifier, activation
from skinclf_training.torch.networks.build import build_network
from skinclf_training.torch.precision_check import emulated_bfloat16

log = logging.getLogger("skinclf")
_EXPECTED = (
    "num_workers|does not have many workers|eval mode|exists and is not empty|logging interval|treespec"
)
#: Name of the checkpoints that `log.keep_epochs` keeps.
EPOCH = "epoch-{epoch_number:03.0f}"


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

    The run folder holds `config.yaml` (resolved), `environment.json`, `init.json`, `history.csv`,
    `history.json`, `train.log` and `checkpoints/{last,best}.ckpt`. A finished run is left as it is.

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
        History, one row per epoch.

    Raises:
        MismatchError: The folder belongs to a run with another configuration or split.
        InvalidArgumentError: The folder holds a run and `resume` is `never`, or a class has no training image.
        DivergenceError: The loss or the weights are no longer numbers.
        OutputError: A file cannot be written, for instance because the disk is full.
        KeyboardInterrupt: The run was interrupted; its text names the checkpoint to continue from.
    """
    keep_freed_memory()
    # Lightning logs notes on absent hardware and on services.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    check_ranks(config)
    if rank() == 0:
        claim_run(run, config, prepared, resume=resume)
    with run_log(run, on=rank() == 0), run_failures(run):
        if _is_finished(config, run, max_steps):
            log.info("%s: the run is finished; nothing is trained again", run)
            return read_history(run)
        return _train(
            config,
            prepared,
            run,
            progress=progress,
            max_steps=max_steps,
            on_epoch=on_epoch,
            report=BatchReport(on_batch),
        )


def _is_finished(config: Config, run: Path, max_steps: int) -> bool:
    """Whether the last checkpoint is that of the last epoch, of an early stop, or of the last step of a trial."""
    if not (run / LAST).is_file() or not (run / HISTORY).is_file():
        return False
    state = torch.load(run / LAST, map_location="cpu", weights_only=True, mmap=True)
    rows = state["callbacks"][History.__qualname__]["rows"]
    whole = bool(rows) and rows[-1]["epoch"] >= config.optim.epochs
    stopped = Watch.from_dict(state["skinclf_watch"]).stopped
    return whole or stopped or 0 <= max_steps <= int(state["global_step"])


def _train(
    config: Config,
    prepared: Prepared,
    run: Path,
    *,
    progress: Callable[[int, int], None] | None,
    max_steps: int,
    on_epoch: Callable[[dict[str, float]], bool] | None,
    report: BatchReport,
) -> list[dict[str, float]]:
    last = run / LAST
    if config.threads:
        torch.set_num_threads(config.threads)
    if rank() == 0:
        for warning in filter(None, _warnings(config)):
            log.warning("%s", warning)
    torch.manual_seed(config.seed)
    classes = len(prepared.labels)
    image_weights = sample_weights((prepared,), config.data.weight_column)
    if rank() == 0 and (note := weight_note(image_weights, prepared.rows("train"))):
        log.info("%s", note)
    targets = prepared.targets[with_weight(prepared.rows("train"), image_weights)]
    weights = class_weights(targets, classes, config.loss.class_weights)
    network, init = build_network(config.model, 1 if activation(config.loss) == "sigmoid" else classes)
    if init is not None and rank() == 0:
        write_json(run / INIT, {"loaded": init.loaded, "skipped": init.skipped, "fresh": init.fresh})
    data = StoreData(config, prepared, progress=progress)
    module = Classifier(
        config, network, prepared.labels, weights, batches_per_epoch=len(data.train_dataloader())
    )
    history = History(run, report)
    trainer = _trainer(config, run, history, max_steps=max_steps)
    if on_epoch is not None:
        trainer.callbacks.append(EpochHook(history, on_epoch))
    log.info(
        "%d training and %d validation images, %d steps per epoch",
        len(targets),
        len(prepared.rows("val")),
        module.steps_per_epoch,
    )
    with warnings.catch_warnings():
        # The loader is no torch DataLoader and needs no worker processes; a resumed run's folder has checkpoints.
        warnings.filterwarnings("ignore", message=f".*({_EXPECTED}).*")
        _fit(trainer, module, data, str(last) if last.is_file() else None)
    return history.rows


def _warnings(config: Config) -> tuple[str | None, ...]:
    return stacked(config), copies_note(config), magnified(config), emulated_bfloat16(config)


def _fit(trainer: pl.Trainer, module: Classifier, data: StoreData, checkpoint: str | None) -> None:
    """Fit, and let an interruption through: Lightning ends the process and leaves the signal ignored."""
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint)
    except BaseException as error:
        if isinstance(error, Exception) or not isinstance(error.__context__, KeyboardInterrupt):
            raise
        raise KeyboardInterrupt from None
    finally:
        if main:
            signal.signal(signal.SIGINT, handler)


def _trainer(config: Config, run: Path, history: History, *, max_steps: int) -> pl.Trainer:
    o = config.optim
    folder = run / Path(LAST).parent
    monitor = "epoch_number" if config.select == LAST_EPOCH else config.select
    mode = "min" if config.select == "loss" else "max"
    checkpoints = [
        FolderCheckpoint(folder, Path(BEST).stem, monitor=monitor, mode=mode),
        LastCheckpoint(folder, Path(LAST).stem, every_n_epochs=1),
    ]
    if o.checkpoint_steps:
        checkpoints.append(StepCheckpoint(folder, Path(LAST).stem, every_n_train_steps=o.checkpoint_steps))
    if config.log.keep_epochs:
        checkpoints.append(
            FolderCheckpoint(
                folder, EPOCH, monitor="epoch_number", mode="max", save_top_k=config.log.keep_epochs
            )
        )
    callbacks: list[pl.Callback] = [history, *checkpoints]
    if max_steps >= 0:
        callbacks.append(Trial(max_steps, run / LAST))
    torch.set_float32_matmul_precision("high" if o.tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = o.tf32
    return pl.Trainer(
        max_epochs=o.epochs,
        accelerator=o.accelerator,
        devices=o.devices,
        strategy=_strategy(config),
        precision=o.precision,
        gradient_clip_val=o.clip or None,
        accumulate_grad_batches=o.accumulate,
        deterministic=o.deterministic,
        benchmark=not o.deterministic,
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO()],
        logger=TensorBoardLogger(run, name="", version="tensorboard") if config.log.tensorboard else False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        default_root_dir=run,
    )


def _strategy(config: Config) -> str | DDPStrategy:
    o = config.optim
    if o.devices == 1:
        return "auto"
    # What is frozen takes no part in a step, and that changes with the phases.
    return DDPStrategy(find_unused_parameters=bool(o.phases) or o.batchnorm != "train")
