"""Parts of a model card, as a reader of the file finds them."""

from __future__ import annotations

from typing import Any

import yaml


def front_matter(text: str) -> dict[str, Any]:
    """As any reader of YAML sees it."""
    return dict(yaml.safe_load(text.split("---\n")[1]))


def cell(text: str, row: str, column: int = 1) -> str:
    line = next(line for line in text.splitlines() if line.startswith(f"| {row} |"))
    return line.split(" | ")[column].strip(" |")


def percent(item: dict[str, Any]) -> str:
    return f"{100 * item['value']:.1f}\u2009% ({100 * item['low']:.1f}\u2013{100 * item['high']:.1f})"
