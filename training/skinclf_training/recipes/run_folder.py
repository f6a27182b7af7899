"""The folder of a training run: file names, configuration, environment, history."""

from __future__ import annotations

import csv
import io
import json
import math
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import chain, count
from pathlib import Path
from typing import Any

import torch

from skinclf._utils.files import replace_file, writing
from skinclf._version import __version__
from skinclf.errors import InvalidArgumentError, MismatchError
from skinclf.labels import parse_labels
from skinclf_training.config.read import Config, load_config
from skinclf_training.config.schema import LAST_EPOCH
from skinclf_training.data.prepare import Prepared
from skinclf_training.recipes.schedule import check_phases
from skinclf_training.recipes.starting_weights import check_starting_weights
from skinclf_training.recipes.validation_metrics import FIGURES

#: Files of a run, relative to its folder.
CONFIG = "config.yaml"
ENVIRONMENT = "environment.json"
INIT = "init.json"
HISTORY = "history.json"
LAST = "checkpoints/last.ckpt"
BEST = "checkpoints/best.ckpt"


def chosen_on_validation(select: str) -> str:
    """What the validation part decided of a model, in words: its figures are no fair test of that.

    Args:
        select: `Config.select`.
    """
    return "the temperature" if select == LAST_EPOCH else "the epoch and the temperature"


def check_data(config: Config, prepared: Prepared) -> None:
    """Check that prepared data fit a configuration, and that it names a known validation figure.

    Raises:
        InvalidArgumentError: The labels differ from those of the configuration, the validation figure is unknown,
            the phases are no schedule, or the validation part is empty.
    """
    labels = prepared.labels
    if config.labels != "any" and parse_labels(config.labels).codes != labels.codes:
        raise InvalidArgumentError(
            f"The configuration is for the labels {config.labels}; the prepared data have "
            f"{', '.join(labels.codes)}. "
            f"Prepare the data with `labels={config.labels}`, or set `labels: any` in the configuration."
        )
    if not len(prepared.rows("val")):
        raise InvalidArgumentError(f"{prepared.folder}: no validation part; prepare the data with one.")
    known = (
        (*FIGURES, LAST_EPOCH)
        if labels.malignant_indices
        else (
            *(f for f in FIGURES if "malignant" not in f),
            LAST_EPOCH,
        )
    )
    if config.select not in known:
        raise InvalidArgumentError(f"Received `select: {config.select}`; expected one of {', '.join(known)}.")
    check_phases(config.optim)


def holds_run(run: Path) -> bool:
    """Whether a folder holds a run with something to keep: a checkpoint, or an epoch in its history.

    A start that failed before its first checkpoint leaves a configuration behind and claims nothing.
    """
    if not (run / ENVIRONMENT).is_file():
        return False
    history = run / HISTORY
    epochs = history.is_file() and bool(json.loads(history.read_text(encoding="utf-8")))
    return epochs or any((run / LAST).parent.glob("*.ckpt"))


def claim_run(run: Path, config: Config, prepared: Prepared, *, resume: str) -> None:
    """Create the folder of a run, or check that it holds this run.

    A folder in which a start failed before its first checkpoint is taken over (`holds_run`).

    Raises:
        OutputError: The folder cannot be written.
        MismatchError: The folder belongs to a run with another configuration or split.
        InvalidArgumentError: The folder holds a run and `resume` is `never`, the data do not fit (`check_data`), or
            a file that the run starts from does not exist.
    """
    check_data(config, prepared)
    environment = run / ENVIRONMENT
    text = config.to_yaml()
    if holds_run(run):
        if resume == "never":
            raise InvalidArgumentError(
                f"{run}: holds a run already. Choose another folder, or continue the run with `resume='auto'`.",
                parameter="resume",
            )
        if load_config(str(run / CONFIG)) != config:
            raise MismatchError(
                f"{run}: was started with another configuration (see {CONFIG}). Choose another folder."
            )
        split = json.loads(environment.read_text(encoding="utf-8")).get("split_sha256")
        if split != prepared.hash:
            raise MismatchError(
                f"{run}: was started on split {str(split)[:12]}, this is {prepared.hash[:12]}."
            )
        return
    check_starting_weights(config)
    with writing(run):
        run.mkdir(parents=True, exist_ok=True)
        (run / INIT).unlink(missing_ok=True)  # of a start that failed with other weights
        replace_file(run / CONFIG, text.encode())
        write_json(
            environment,
            {**describe_environment(), "split_sha256": prepared.hash, "data": str(prepared.folder)},
        )


def default_run(config: Config, split_sha256: str, *, root: Path = Path("runs"), fresh: bool = False) -> Path:
    """Folder `runs/<date>-<name>` of a run for which no folder was named.

    A folder that holds this configuration on this split is that of the run, whatever its date; a name that is taken
    by another run gets a number.

    Args:
        config: Configuration of the run.
        split_sha256: Hash of the split; of the first one, where the data are folds.
        root: Folder of all runs.
        fresh: Whether a folder that holds the run is passed over.
    """
    name = re.sub(r"[^\w.-]+", "-", config.name)
    pattern = re.compile(rf"\d{{4}}-\d\d-\d\d-{re.escape(name)}(-\d+)?")
    made = sorted(path for path in root.glob("*") if pattern.fullmatch(path.name)) if root.is_dir() else []
    mine = [path for path in made if any(_is_of(run, config, split_sha256) for run in (path, path / "fold0"))]
    if mine and not fresh:
        return mine[-1]
    first = f"{datetime.now().astimezone():%Y-%m-%d}-{name}"
    names = chain([first], (f"{first}-{i}" for i in count(2)))
    return next(path for path in map(root.__truediv__, names) if not path.exists())


def _is_of(run: Path, config: Config, split_sha256: str) -> bool:
    try:
        facts = json.loads((run / ENVIRONMENT).read_text(encoding="utf-8"))
        return facts.get("split_sha256") == split_sha256 and load_config(str(run / CONFIG)) == config
    except (OSError, ValueError):
        return False


def data_folder(run: Path) -> Path:
    """Folder of the prepared data that a run was trained on, as the run recorded it.

    Raises:
        InvalidArgumentError: The folder does not hold a run.
    """
    try:
        return Path(json.loads((run / ENVIRONMENT).read_text(encoding="utf-8"))["data"])
    except (OSError, ValueError, KeyError):
        raise InvalidArgumentError(
            f"{run}: no readable {ENVIRONMENT}; expected the folder of a run."
        ) from None


def describe_environment() -> dict[str, Any]:
    """Versions of packages, and the hardware, as `environment.json` records them."""
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


def write_history(folder: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Write `history.csv` and `history.json`, one row per epoch; NaN, which is no JSON, becomes null there."""
    buffer = io.StringIO()
    if rows:
        writer = csv.DictWriter(
            buffer, list(dict.fromkeys(k for row in rows for k in row)), lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(rows)
    replace_file(folder / "history.csv", buffer.getvalue().encode())
    plain = [{k: v if v == v else None for k, v in row.items()} for row in rows]  # noqa: PLR0124
    replace_file(folder / HISTORY, (json.dumps(plain, indent=2) + "\n").encode())


def read_history(run: Path) -> list[dict[str, float]]:
    """Rows of a run's `history.json`, NaN where it has null; none before its first epoch."""
    file = run / HISTORY
    if not file.is_file():
        return []
    rows = json.loads(file.read_text(encoding="utf-8"))
    return [{k: math.nan if v is None else float(v) for k, v in row.items()} for row in rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class InitReport:
    """Starting weights, tensor by tensor: loaded, skipped or left at random.

    Attributes:
        loaded: Names of the tensors that were loaded.
        skipped: Tensors of the file that were not loaded, each with the reason.
        fresh: Names of the tensors of the network that keep their random initial values.
    """

    loaded: tuple[str, ...]
    skipped: tuple[str, ...]
    fresh: tuple[str, ...]
