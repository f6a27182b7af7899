"""JSON without surprises: NaN and infinity become null, arrays become lists, files are written whole."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skinclf.decisions.operating_point import Estimate
from skinclf.errors import InvalidInputError, OutputError
from skinclf.models.bundle import replace_file


def jsonable(value: Any) -> Any:
    """The same content in JSON's own types; an `Estimate` becomes `value`, `low` and `high`.

    Raises:
        TypeError: A type that nobody said how to write.
    """
    if value is None or isinstance(value, (bool, str, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (np.ndarray, np.generic)):
        return jsonable(value.tolist())
    if isinstance(value, Estimate):
        return {name: jsonable(getattr(value, name)) for name in ("value", "low", "high")}
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
    try:
        replace_file(path, text.encode())
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}.") from None


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        InvalidInputError: Missing, or no JSON object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"{path}: cannot be read as JSON: {error}.") from None
    if not isinstance(data, dict):
        raise InvalidInputError(f"{path}: expected a JSON object, found {type(data).__name__}.")
    return data
