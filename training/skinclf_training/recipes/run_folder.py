"""The folder of a training run: file names, configuration, environment, history."""

from __future__ import annotations

import csv
import io
import json
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from skinclf._utils.files import replace_file
from skinclf._version import __version__
from skinclf.errors import InvalidArgumentError, MismatchError
from skinclf.labels import parse_labels
from skinclf_training.config.read import Config, load_config
from skinclf_training.config.schema import LAST_EPOCH
from skinclf_training.data.prepare import Prepared
from skinclf_training.recipes.schedule import check_phases
from skinclf_training.recipes.validation_metrics import FIGURES

#: Files of a run, relative to its folder.
CONFIG = "config.yaml"
ENVIRONMENT = "environment.json"
INIT = "init.json"
LAST = "checkpoints/last.ckpt"
BEST = "checkpoints/best.ckpt"


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
        (LAST_EPOCH, *FIGURES)
        if labels.malignant_indices
        else (
            LAST_EPOCH,
            *(f for f in FIGURES if "malignant" not in f),
        )
    )
    if config.select not in known:
        raise InvalidArgumentError(f"Received `select: {config.select}`; expected one of {', '.join(known)}.")
    check_phases(config.optim)


def claim_run(run: Path, config: Config, prepared: Prepared, *, resume: str) -> None:
    """Create the folder of a run, or check that it holds this run.

    Raises:
        MismatchError: The folder belongs to a run with another configuration or split.
        InvalidArgumentError: The folder holds a run and `resume` is `never`, or the data do not fit (`check_data`).
    """
    check_data(config, prepared)
    environment = run / ENVIRONMENT
    text = config.to_yaml()
    if environment.is_file():
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
    run.mkdir(parents=True, exist_ok=True)
    replace_file(run / CONFIG, text.encode())
    write_json(
        environment, {**describe_environment(), "split_sha256": prepared.hash, "data": str(prepared.folder)}
    )


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
    replace_file(folder / "history.json", (json.dumps(plain, indent=2) + "\n").encode())


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
