"""Tables in Markdown, and what is said of the machine that figures come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table, with a line feed at its end."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def machine_of(results: Mapping[str, Any]) -> str:
    """The machine and its load before the run, as a sentence; results that name none say where they come from."""
    if "machine" not in results:
        return str(results["note"])
    machine, load = results["machine"], results.get("load_before")
    versions = ", ".join(
        f"{key} {machine[key]}" for key in ("openvino", "torch", "tensorflow") if key in machine
    )
    text = f"{machine['processor']}, {machine['cores']} cores, {versions}"
    if load is not None and load >= 1:
        text += f"; the load was {load} when the run began, so that only ratios mean something"
    return f"{text}."
