"""Checkpoints of a Keras run: one safetensors file of arrays and a JSON text, written atomically."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from skinclf._utils.files import replace_file
from skinclf.errors import ModelError
from skinclf_training.keras.callbacks import Progress

_KEY = "skinclf"


def write_checkpoint(path: Path, arrays: Mapping[str, npt.NDArray[Any]], progress: Progress) -> None:
    """Write arrays and progress so that a kill leaves the old file or the new one."""
    from safetensors.numpy import save

    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, save(dict(arrays), metadata={_KEY: json.dumps(progress.to_dict())}))


def read_checkpoint(path: Path) -> tuple[dict[str, npt.NDArray[Any]], Progress]:
    """Read what `write_checkpoint` wrote.

    Raises:
        ModelError: The file is not a checkpoint of a TensorFlow run.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            data = json.loads((file.metadata() or {})[_KEY])
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
        return arrays, Progress.from_dict(data)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: not a checkpoint of a TensorFlow run: {error!r}.") from None
