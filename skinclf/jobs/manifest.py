"""The manifest beside every table, `<output>.run.json`: what made it, how far it got, and how fast.

`identity` is what a resumed run must share; all else is there to be read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from skinclf._utils.append_files import unwritable
from skinclf._utils.files import replace_file
from skinclf.errors import MismatchError

SCHEMA = 1


def manifest_path(output: Path) -> Path:
    """Where the manifest of a table lies."""
    return output.with_name(f"{output.name}.run.json")


def write_manifest(path: Path, content: Mapping[str, Any]) -> None:
    """Write a manifest atomically.

    Raises:
        OutputError: It cannot be written.
    """
    text = json.dumps({"schema": SCHEMA, **content}, indent=2, allow_nan=False, ensure_ascii=False)
    try:
        replace_file(path, (text + "\n").encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise unwritable(path, error) from None


def read_manifest(path: Path) -> dict[str, Any]:
    """Read a manifest.

    Raises:
        MismatchError: It is not there or is none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MismatchError(
            f"{path}: not found, so nobody knows what made the table beside it. Start again with --overwrite."
        ) from None
    except (OSError, ValueError) as error:
        raise MismatchError(f"{path}: not readable as a run manifest: {error}.") from None
    if not isinstance(content, dict) or content.get("schema") != SCHEMA or "identity" not in content:
        raise MismatchError(f"{path}: no run manifest of schema {SCHEMA}.")
    return content


def check_identity(found: Mapping[str, Any], expected: Mapping[str, Any], *, what: str) -> None:
    """Refuse to mix two runs.

    Raises:
        MismatchError: They differ; each difference is named.
    """
    old, new = dict(_flat(found)), dict(_flat(json.loads(json.dumps(expected))))
    differences = [
        f"{key} was {old.get(key)!r}, is {new.get(key)!r}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]
    if differences:
        raise MismatchError(f"{what} was made by another run: {'; '.join(differences)}.")


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if isinstance(item, Mapping):
            yield from _flat(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", item
