"""JSON files: NaN and infinity become null, arrays become lists, files are written whole or not at all."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from skinclf._utils.files import write_text
from skinclf.errors import InvalidArgumentError


@runtime_checkable
class HasDict(Protocol):
    """An object with a JSON form of its own."""

    def to_dict(self) -> Mapping[str, Any]:
        """The fields, in types that `jsonable` knows."""


def jsonable(value: Any) -> Any:
    """Content in JSON's own types: arrays as lists, NaN and infinity as null, objects by their `to_dict`.

    Raises:
        TypeError: The type has no JSON form.
    """
    if value is None or isinstance(value, (bool, str, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (np.ndarray, np.generic)):
        return jsonable(value.tolist())
    if isinstance(value, HasDict):
        return jsonable(value.to_dict())
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [jsonable(item) for item in value]
    raise TypeError(f"No JSON form for {type(value).__name__}.")


def write_json(path: Path, value: Any) -> None:
    """Write JSON, whole or not at all.

    Raises:
        OutputError: The file cannot be written.
    """
    text = json.dumps(jsonable(value), indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    write_text(path, text)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        InvalidArgumentError: The file is missing, or holds no JSON object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"{path}: cannot be read as JSON: {error}.") from None
    if not isinstance(data, dict):
        raise InvalidArgumentError(f"{path}: expected a JSON object, found {type(data).__name__}.")
    return data
