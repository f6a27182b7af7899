"""Results of the benchmarks for the documents: `--json docs/measured/NAME.json`, then `python docs/generate.py`.

Each file says with which command and on which machine it was made, how loaded that was before, and how long it took.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from math import comb
from pathlib import Path
from typing import Any

import click

from benchmarks.common import machine

#: One-minute load of the machine when the program started.
LOAD = round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None
START = time.perf_counter()
#: Arguments that name places of this machine.
_PLACES = ("--work", "--json", "--image-dir", "--images", "--labels", "--textures", "--metadata")
#: Option `--json` of a click command, which it takes as `output`.
json_option: Callable[[Any], Any] = click.option(
    "--json",
    "output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File for the results, docs/measured/NAME.json for the documents.",
)


def report(content: Mapping[str, Any]) -> dict[str, Any]:
    """Results with the command, the machine, its load before, and the seconds since the program started."""
    words = [f"-m {_module(Path(sys.argv[0]))}", *_without_places(sys.argv[1:])]
    return {
        "command": " ".join(words),
        "machine": machine(),
        "load_before": LOAD,
        "seconds": round(time.perf_counter() - START),
        **content,
    }


def _module(program: Path) -> str:
    """Dotted name of a program of this folder, as `python -m` takes it."""
    parts = program.with_suffix("").parts
    start = max((n for n, part in enumerate(parts) if part == "benchmarks"), default=len(parts) - 1)
    return ".".join(parts[start:])


def write(path: Path | None, content: Mapping[str, Any]) -> None:
    """Write results as JSON; None writes none."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def rounded(value: Any, digits: int = 4) -> Any:
    """Floats within lists and mappings, rounded."""
    if isinstance(value, Mapping):
        return {key: rounded(one, digits) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(one, digits) for one in value]
    return round(value, digits) if isinstance(value, float) else value


def median_interval(values: Sequence[float], confidence: float = 0.95) -> dict[str, float]:
    """Median with an interval that holds for any distribution of independent values.

    The interval lies between two order statistics: the number of values below the median is Binomial(n, 1/2). Five
    values or fewer have no 95 % interval; theirs is the whole range, and `confidence` says what that is worth.
    """
    ordered, n = sorted(values), len(values)
    # Probability that the median lies below the value of rank k + 1, or beyond that of rank n - k.
    outside = [2 * sum(comb(n, i) for i in range(k + 1)) / 2**n for k in range((n + 1) // 2)]
    at = max((k for k, share in enumerate(outside) if share <= 1 - confidence), default=0)
    return {
        "median": statistics.median(ordered),
        "low": ordered[at],
        "high": ordered[n - 1 - at],
        "confidence": max(0.0, 1 - outside[at]),
    }


def _without_places(words: Sequence[str]) -> list[str]:
    kept, skip = [], False
    for word in words:
        if skip or word in _PLACES:
            skip = not skip
            continue
        kept.append(word)
    return kept
