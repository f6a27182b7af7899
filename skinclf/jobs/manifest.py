"""The manifest beside every table, `<output>.run.json`: model, options, versions, counts and times.

Its `identity` decides whether a run may be resumed or merged: model, threshold, format, columns, batch size, shard.
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
    """Path of the manifest of a table."""
    return output.with_name(f"{output.name}.run.json")


def write_manifest(path: Path, content: Mapping[str, Any]) -> None:
    """Write a manifest, whole or not at all.

    Raises:
        OutputError: The file cannot be written.
    """
    text = json.dumps({"schema": SCHEMA, **content}, indent=2, allow_nan=False, ensure_ascii=False)
    try:
        replace_file(path, (text + "\n").encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise unwritable(path, error) from None


def read_manifest(path: Path) -> dict[str, Any]:
    """Read a manifest.

    Raises:
        MismatchError: The file is missing, or is no run manifest.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MismatchError(
            f"{path}: not found, so the run that made the table beside it is unknown; start again with `overwrite`.",
            parameter="overwrite",
        ) from None
    except (OSError, ValueError) as error:
        raise MismatchError(f"{path}: not readable as a run manifest: {error}.") from None
    if not isinstance(content, dict) or content.get("schema") != SCHEMA or "identity" not in content:
        raise MismatchError(f"{path}: no run manifest of schema {SCHEMA}.")
    return content


def check_identity(found: Mapping[str, Any], expected: Mapping[str, Any], *, what: str) -> None:
    """Check that two runs may share a table: every entry of their identities is equal.

    Args:
        found: Identity in an existing manifest.
        expected: Identity of the run at hand.
        what: Name of the table, for the message.

    Raises:
        MismatchError: An entry differs; each one that does is named.
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
