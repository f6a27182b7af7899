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
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from skinclf._version import __version__
from skinclf.bundle import replace_file
from skinclf.errors import InvalidInputError, MismatchError
from skinclf.labels import parse_labels
from skinclf.preprocess import Preprocess
from skinclf_training.callbacks import AtomicCheckpointIO, EpochHook, History, StepCheckpoint
from skinclf_training.config import Config, load_config
from skinclf_training.data.prepare import Prepared
from skinclf_training.data.store import decoded_store
from skinclf_training.imbalance import class_weights
from skinclf_training.loader import StoreLoader
from skinclf_training.memory import keep_freed_memory
from skinclf_training.module import Classifier
from skinclf_training.network import build_network

log = logging.getLogger("skinclf")
CONFIG, ENVIRONMENT, INIT = "config.yaml", "environment.json", "init.json"
LAST, BEST = "checkpoints/last.ckpt", "checkpoints/best.ckpt"


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
        max_steps: Stop after so many optimiser steps in all, for trials; -1 for the configured epochs.
        on_epoch: Called with each new row of the history; True stops after this epoch.

    Returns:
        History, one row per epoch.

    Raises:
        MismatchError: The folder belongs to a run with another configuration or split.
        InvalidInputError: The folder holds a run and `resume` is `never`, or a class has no training image.
    """
    last = run / LAST
    keep_freed_memory()
    if config.threads:
        torch.set_num_threads(config.threads)
    claim_run(run, config, prepared, resume=resume)
    torch.manual_seed(config.seed)
    cache = prepared.folder / "cache"
    stored = Preprocess(
        height=config.data.store_height, width=config.data.store_width, fit="squash", interpolation="lanczos"
    )
    workers = config.data.workers
    train_rows, val_rows = prepared.rows("train"), prepared.rows("val")
    classes = len(prepared.labels)
    if len(np.unique(prepared.targets[train_rows])) < classes:
        raise InvalidInputError(
            "A class has no training image; prepare the data again with a fitting taxonomy."
        )
    train_store = decoded_store(prepared.paths, stored, cache, workers=workers, progress=progress)
    val_paths = [prepared.paths[i] for i in val_rows]
    val_store = decoded_store(val_paths, config.preprocess.build(), cache, workers=workers, progress=progress)
    loader = StoreLoader(
        train_store, train_rows, prepared.targets, batch_size=config.data.batch_size, shuffle_seed=config.seed
    )
    val_loader = StoreLoader(
        val_store, np.arange(len(val_rows)), prepared.targets[val_rows], batch_size=config.data.val_batch_size
    )
    network, init = build_network(config.model, classes)
    if init is not None:
        write_json(run / INIT, {"loaded": init.loaded, "skipped": init.skipped, "fresh": init.fresh})
    weights = class_weights(prepared.targets[train_rows], classes, config.loss.class_weights)
    module = Classifier(config, network, prepared.labels, weights, steps_per_epoch=len(loader))
    history = History(run)
    trainer = _trainer(config, run, history, max_steps=max_steps)
    if on_epoch is not None:
        trainer.callbacks.append(EpochHook(history, on_epoch))
    log.info(
        "%d training and %d validation images, %d steps per epoch",
        len(train_rows),
        len(val_rows),
        len(loader),
    )
    with warnings.catch_warnings():
        # The loader is no torch DataLoader and needs no worker processes.
        warnings.filterwarnings("ignore", message=".*(num_workers|does not have many workers|eval mode).*")
        trainer.fit(module, loader, val_loader, ckpt_path=str(last) if last.is_file() else None)
    return history.rows


def _trainer(config: Config, run: Path, history: History, *, max_steps: int) -> pl.Trainer:
    o = config.optim
    folder = run / Path(LAST).parent
    common: dict[str, Any] = {
        "dirpath": folder,
        "enable_version_counter": False,
        "auto_insert_metric_name": False,
    }
    checkpoints = [
        ModelCheckpoint(filename=Path(BEST).stem, monitor=config.select, mode="max", **common),
        ModelCheckpoint(filename=Path(LAST).stem, every_n_epochs=1, **common),
    ]
    if o.checkpoint_steps:
        checkpoints.append(
            StepCheckpoint(filename=Path(LAST).stem, every_n_train_steps=o.checkpoint_steps, **common)
        )
    return pl.Trainer(
        max_epochs=o.epochs,
        max_steps=max_steps,
        accelerator=o.accelerator,
        devices=1,
        precision=o.precision,
        gradient_clip_val=o.clip or None,
        callbacks=[history, *checkpoints],
        plugins=[AtomicCheckpointIO()],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        default_root_dir=run,
    )


def claim_run(run: Path, config: Config, prepared: Prepared, *, resume: str) -> None:
    """Make the run's folder, or check that it is this run's.

    Raises:
        MismatchError: The folder belongs to a run with another configuration or split.
        InvalidInputError: The folder holds a run and `resume` is `never`, or the data have other labels than
            the configuration says.
    """
    if config.labels != "any" and parse_labels(config.labels).codes != prepared.labels.codes:
        raise InvalidInputError(
            f"The configuration is for the labels {config.labels}; the prepared data have "
            f"{', '.join(prepared.labels.codes)}. Prepare the data with --labels {config.labels}, or set labels: any."
        )
    environment = run / ENVIRONMENT
    text = config.to_yaml()
    if environment.is_file():
        if resume == "never":
            raise InvalidInputError(f"{run}: holds a run already; choose another --output or --resume auto.")
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
        InvalidInputError: Not the folder of a run.
    """
    try:
        return Path(json.loads((run / ENVIRONMENT).read_text(encoding="utf-8"))["data"])
    except (OSError, ValueError, KeyError):
        raise InvalidInputError(f"{run}: no readable {ENVIRONMENT}; expected the folder of a run.") from None


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
