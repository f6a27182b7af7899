"""`explanation.json`: the results of checks, written and read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skinclf._utils.files import writing
from skinclf._utils.json import read_json, write_json
from skinclf.errors import InvalidArgumentError
from skinclf.explanation.checks.run import KIND, SCHEMA

#: Name of the file.
FILE = "explanation.json"


def check_free(folder: Path, *, overwrite: bool) -> None:
    """Check early that results may be written to a folder.

    Raises:
        InvalidArgumentError: The path is a file, or the folder holds results and `overwrite` is False.
    """
    if folder.exists() and not folder.is_dir():
        raise InvalidArgumentError(f"{folder} is a file; expected a folder.", parameter="output")
    if (folder / FILE).exists() and not overwrite:
        raise InvalidArgumentError(f"{folder / FILE} exists; `overwrite` replaces it.", parameter="overwrite")


def write_checks(folder: Path, found: Mapping[str, Any]) -> Path:
    """Write results, whole or not at all.

    Args:
        folder: Made when it is missing.
        found: Result of `check_explanations`.

    Returns:
        The file.

    Raises:
        OutputError: The file cannot be written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / FILE, found)
    return folder / FILE


def read_checks(path: Path) -> dict[str, Any]:
    """Read results.

    Raises:
        InvalidArgumentError: The file is missing, or holds no results of checks.
    """
    found = read_json(path)
    if found.get("kind") != KIND or found.get("schema") != SCHEMA:
        raise InvalidArgumentError(f"{path}: holds no checks of maps (schema {SCHEMA}).")
    return found
