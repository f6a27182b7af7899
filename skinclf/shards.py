"""One job on many machines: each takes every n-th input, and `merge` puts the tables together again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

from skinclf.errors import InvalidInputError, MismatchError, OutputError
from skinclf.journal import unwritable
from skinclf.manifest import check_identity, manifest_path, now, read_manifest, write_manifest
from skinclf.output import Output, check_writable
from skinclf.records import read_csv
from skinclf.summary import Summary


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `index` (from 1) of `count`: the inputs number index - 1, index - 1 + count, and so on."""

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise InvalidInputError(f"Shard {self}: expected i/n with i from 1 to n.")

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read `i/n`.

        Raises:
            InvalidInputError: It is none.
        """
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        if match is None:
            raise InvalidInputError(f"Shard {text!r}: expected i/n, such as 1/8 to 8/8.")
        return cls(int(match[1]), int(match[2]))

    def takes(self, number: int) -> bool:
        """Whether input `number` (from 0) belongs to this part."""
        return number % self.count == self.index - 1

    def size(self, total: int) -> int:
        """How many of `total` inputs belong to this part."""
        return len(range(self.index - 1, total, self.count))

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def merge(parts: Sequence[Path], output: Path, *, overwrite: bool = False) -> Summary:
    """Put the tables of all shards together, in the order of the inputs.

    Args:
        parts: CSV or JSONL tables of one run's shards, with their manifests beside them, in any order.
        output: The whole table; it gets a manifest too.
        overwrite: Replace an existing table.

    Raises:
        InvalidInputError: The output is there already, or the parts are Parquet.
        MismatchError: A part is missing, incomplete, twice there, or of another run.
        OutputError: The output cannot be written.
    """
    found = [(path, read_manifest(manifest_path(path))) for path in parts]
    ordered, total = _check(found)
    check_writable(output)
    if output.exists() and not overwrite:
        raise InvalidInputError(f"{output} is already there; replace it with --overwrite.")
    if output.resolve() in {path.resolve() for path in parts}:
        raise InvalidInputError(f"{output} is one of the parts.")
    partial = output.with_name(f".{output.name}.part")
    first = ordered[0][1]
    try:
        with partial.open("wb") as file:
            for row in _interleave([path for path, _ in ordered], first["identity"]["format"], total):
                file.write(row)
        partial.replace(output)
    except OSError as error:
        raise unwritable(output, error) from None
    finally:
        partial.unlink(missing_ok=True)
    summary = Summary(complete=True)
    for _, manifest in ordered:
        for status, count in manifest["counts"]["statuses"].items():
            summary.statuses[status] += count
    content = {k: v for k, v in first.items() if k not in {"counts", "timings", "started", "schema"}}
    content["identity"] = {**first["identity"], "shard": None}
    report = {**summary.to_dict(), "merged": [str(path) for path, _ in ordered], "finished": now()}
    write_manifest(manifest_path(output), {**content, **report})
    return summary
