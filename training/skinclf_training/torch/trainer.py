"""`skinclf train`: from a configuration and a prepared data set to a run folder."""

from __future__ import annotations

import json
import logging
import platform
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy

from skinclf._utils.files import replace_file
from skinclf._version import __version__
from skinclf.errors import InvalidArgumentError, MismatchError
from skinclf.labels import parse_labels
from skinclf_training.config.read import Config, load_config
from skinclf_training.data.prepare import Prepared
from skinclf_training.recipes.class_balance import class_weights, stacked
from skinclf_training.recipes.resolution_check import magnified
from skinclf_training.recipes.schedule import check_phases
from skinclf_training.recipes.validation_metrics import FIGURES
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
from skinclf_training.torch.malloc import keep_freed_memory
from skinclf_training.torch.networks.build import build_network

log = logging.getLogger("skinclf")
_EXPECTED = (
    "num_workers|does not have many workers|eval mode|exists and is not empty|logging interval|treespec"
)
CONFIG, ENVIRONMENT, INIT = "config.yaml", "environment.json", "init.json"
LAST, BEST = "checkpoints/last.ckpt", "checkpoints/best.ckpt"
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
) -> list[dict[str, float]]:
    """Train until done, from the start or from the run's last checkpoint.

    The run folder holds `config.yaml` (resolved), `environment.json`, `init.json`, `history.csv`,
    `history.json` and `checkpoints/{last,best}.ckpt`.

    Args:
        config: The run.
        prepared: Data and split.
        run: Folder of the run.
        resume: `auto` goes on when the folder holds a checkpoint; `never` refuses such a folder.
        progress: Called with (done, total) while images are decoded.
        max_steps: Stop after so many optimiser steps in all, for trials; the epoch is then validated as far as
            it went. -1 for the configured epochs.
        on_epoch: Called with each new row of the history; True stops after this epoch.

    Returns:
        History, one row per epoch.

    Raises:
        MismatchError: The folder belongs to a run with another configuration or split.
        InvalidArgumentError: The folder holds a run and `resume` is `never`, or a class has no training image.
    """
    last = run / LAST
    keep_freed_memory()
    # Lightning's notes on hardware that is not there, and on services.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    if config.threads:
        torch.set_num_threads(config.threads)
    check_ranks(config)
    if rank() == 0:
        claim_run(run, config, prepared, resume=resume)
        for warning in filter(None, (stacked(config), magnified(config))):
            log.warning("%s", warning)
    torch.manual_seed(config.seed)
    classes = len(prepared.labels)
    targets = prepared.targets[prepared.rows("train")]
    weights = class_weights(targets, classes, config.loss.class_weights)
    network, init = build_network(config.model, 1 if activation(config.loss) == "sigmoid" else classes)
    if init is not None and rank() == 0:
        write_json(run / INIT, {"loaded": init.loaded, "skipped": init.skipped, "fresh": init.fresh})
    data = StoreData(config, prepared, progress=progress)
    module = Classifier(
        config, network, prepared.labels, weights, batches_per_epoch=len(data.train_dataloader())
    )
    history = History(run)
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
        trainer.fit(module, datamodule=data, ckpt_path=str(last) if last.is_file() else None)
    return history.rows


def _trainer(config: Config, run: Path, history: History, *, max_steps: int) -> pl.Trainer:
    o = config.optim
    folder = run / Path(LAST).parent
    mode = "min" if config.select == "loss" else "max"
    checkpoints = [
        FolderCheckpoint(folder, Path(BEST).stem, monitor=config.select, mode=mode),
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


def check_data(config: Config, prepared: Prepared) -> None:
    """Refuse data or a figure to select by that the configuration cannot be run with.

    Raises:
        InvalidArgumentError: Other labels than the configuration asks for, no such validation figure, phases that
            are none, or nothing to validate on.
    """
    labels = prepared.labels
    if config.labels != "any" and parse_labels(config.labels).codes != labels.codes:
        raise InvalidArgumentError(
            f"The configuration is for the labels {config.labels}; the prepared data have "
            f"{', '.join(labels.codes)}. Prepare the data with --labels {config.labels}, or set labels: any."
        )
    if not len(prepared.rows("val")):
        raise InvalidArgumentError(f"{prepared.folder}: no validation part; prepare the data with one.")
    known = FIGURES if labels.malignant_indices else tuple(f for f in FIGURES if "malignant" not in f)
    if config.select not in known:
        raise InvalidArgumentError(f"select {config.select!r}: expected one of {', '.join(known)}.")
    check_phases(config.optim)


def claim_run(run: Path, config: Config, prepared: Prepared, *, resume: str) -> None:
    """Make the run's folder, or check that it is this run's.

    Raises:
        MismatchError: The folder belongs to a run with another configuration or split.
        InvalidArgumentError: The folder holds a run and `resume` is `never`, or see `check_data`.
    """
    check_data(config, prepared)
    environment = run / ENVIRONMENT
    text = config.to_yaml()
    if environment.is_file():
        if resume == "never":
            raise InvalidArgumentError(
                f"{run}: holds a run already; choose another --output or --resume auto."
            )
        if load_config(str(run / CONFIG)) != config:
            raise MismatchError(
                f"{run}: was started with another configuration (see {CONFIG}); choose another --output."
            )
        split = json.loads(environment.read_text(encoding="utf-8")).get("split_sha256")
        if split != prepared.hash:
            raise MismatchError(
                f"{run}: was started on split {str(split)[:12]}, this is {prepared.hash[:12]}."
            )
        return
    run.mkdir(parents=True, exist_ok=True)
    replace_file(run / CONFIG, text.encode())
    write_json(
        environment, {**describe_environment(), "split_sha256": prepared.hash, "data": str(prepared.folder)}
    )


def data_folder(run: Path) -> Path:
    """The prepared data that a run was trained on, as it was named then.

    Raises:
        InvalidArgumentError: Not the folder of a run.
    """
    try:
        return Path(json.loads((run / ENVIRONMENT).read_text(encoding="utf-8"))["data"])
    except (OSError, ValueError, KeyError):
        raise InvalidArgumentError(
            f"{run}: no readable {ENVIRONMENT}; expected the folder of a run."
        ) from None


def describe_environment() -> dict[str, Any]:
    """Versions and hardware, for the record."""
    names = ("torch", "timm", "lightning", "tensorflow", "keras", "numpy", "pillow", "scikit-learn")
    versions: dict[str, str | None] = {}
    for name in names:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    return {
        "skinclf": __version__,
        "python": sys.version.split()[0],
        "versions": versions,
        "platform": platform.platform(),
        "machine": _processor(),
        "threads": torch.get_num_threads(),
        "cuda": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def write_json(path: Path, data: Any) -> None:
    """Write indented JSON, whole or not at all."""
    replace_file(path, (json.dumps(data, indent=2) + "\n").encode())
