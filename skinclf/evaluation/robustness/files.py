"""`robustness.json`: figures of shifted images, read back for a card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from skinclf._utils.json import read_json
from skinclf.errors import InvalidArgumentError

KIND, SCHEMA = "skinclf-robustness", 1
#: Name of the file beside a card.
FILE = "robustness.json"


def read_robustness(path: Path) -> dict[str, Any]:
    """Read what `Robustness.to_dict` gives.

    Raises:
        InvalidArgumentError: The file is missing, or holds something else.
    """
    found = read_json(path)
    if found.get("kind") != KIND or found.get("schema") != SCHEMA:
        raise InvalidArgumentError(f"{path}: holds no figures of shifted images (schema {SCHEMA}).")
    return found
