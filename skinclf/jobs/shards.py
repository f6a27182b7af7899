"""Shards: a run divided among machines, each of which takes every n-th input, and `merge` of their tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skinclf._utils.append_files import unwritable
from skinclf._utils.environment import now
from skinclf.errors import InvalidArgumentError, MismatchError
from skinclf.inference.schema import TYPES
from skinclf.jobs.formats import read_csv, read_lines
from skinclf.jobs.manifest import check_identity, manifest_path, read_manifest, write_manifest
from skinclf.jobs.output import Output
from skinclf.jobs.progress import Summary


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `index` (from 1) of `count`: the inputs number index - 1, index - 1 + count, and so on.

    Attributes:
        index: Number of the part, 1 to `count`.
        count: Number of parts.
    """

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise InvalidArgumentError(f"Shard {self}: expected i/n with i from 1 to n.", parameter="shard")

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read `i/n`.

        Raises:
            InvalidArgumentError: The text is not i/n.
        """
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        if match is None:
            raise InvalidArgumentError(
                f"Shard {text!r}: expected i/n, such as 1/8 to 8/8.", parameter="shard"
            )
        return cls(int(match[1]), int(match[2]))

    def takes(self, number: int) -> bool:
        """Whether input `number` (from 0) belongs to this part."""
        return number % self.count == self.index - 1

    def size(self, total: int) -> int:
        """Number of inputs in this part, of `total`."""
        return len(range(self.index - 1, total, self.count))

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def merge(parts: Sequence[Path], output: Path, *, overwrite: bool = False) -> Summary:
    """Join the tables of all shards in the order of the inputs.

    Args:
        parts: CSV or JSONL tables of one run's shards, with their manifests beside them, in any order.
        output: Path of the whole table, in the parts' format, or Parquet from CSV; it gets a manifest too.
        overwrite: Whether to replace an existing table.

    Returns:
        Counts of the whole table.

    Raises:
        InvalidArgumentError: The output exists without `overwrite`, or the formats do not fit.
        MismatchError: A part is missing, incomplete, given twice, or of another run.
        OutputError: The output cannot be written.
    """
    manifests: dict[Shard, tuple[Path, dict[str, Any]]] = {}
    for path in parts:
        manifest = read_manifest(manifest_path(path))
        if manifest["identity"].get("shard") is None:
            raise MismatchError(
                f"{path}: this is a whole table, not one made with `shard`.", parameter="shard"
            )
        manifests[Shard.parse(manifest["identity"]["shard"])] = (path, manifest)
    if len(manifests) < len(parts):
        raise MismatchError("The same shard is given twice.")
    total = _check(manifests)
    target = Output(path=output, overwrite=overwrite)
    target.check()
    ordered = [manifests[shard] for shard in sorted(manifests, key=lambda s: s.index)]
    first = ordered[0][1]
    kind, columns = first["identity"]["format"], first["identity"]["columns"]
    if (
        kind == "parquet"
        or target.kind not in {kind, "parquet"}
        or (target.kind, kind) == ("parquet", "jsonl")
    ):
        raise InvalidArgumentError(
            f"Parts in {kind} cannot become {target.kind}; CSV merges to .csv or .parquet, JSONL to .jsonl."
        )
    partial = output.with_name(f".{output.name}.part")
    try:
        with partial.open("wb") as file:
            file.writelines(_interleaved([path for path, _ in ordered], total, header=kind == "csv"))
        partial.replace(target.journal)
    except OSError as error:
        raise unwritable(output, error) from None
    finally:
        partial.unlink(missing_ok=True)
    target.finish({name: TYPES[kind] for name, kind in columns.items()})
    summary = Summary(complete=True)
    for _, manifest in ordered:
        summary.statuses.update(manifest["counts"]["statuses"])
    content = {k: v for k, v in first.items() if k not in {"counts", "timings", "started", "options"}}
    content["identity"] = {**first["identity"], "shard": None, "format": target.kind}
    report = {**summary.to_dict(), "merged": [path.name for path, _ in ordered], "finished": now()}
    write_manifest(target.manifest, {**content, **report})
    target.remove_temporary_files()
    return summary


def _check(manifests: Mapping[Shard, tuple[Path, dict[str, Any]]]) -> int:
    """Check that parts are complete and of one run, and return the number of inputs of all of them."""
    (path, first), *_ = manifests.values()
    count = next(iter(manifests)).count
    expected = {**first["identity"], "shard": None}
    for shard, (part, manifest) in manifests.items():
        check_identity({**manifest["identity"], "shard": None}, expected, what=str(part))
        if not manifest["complete"]:
            raise MismatchError(
                f"{part}: shard {shard} is not complete; run it again with `resume`.", parameter="resume"
            )
        total = int(manifest["inputs"]["count"])
        if shard.count != count or manifest["inputs"] != first["inputs"]:
            raise MismatchError(f"{part}: shard {shard} was made from other inputs than {path}.")
        if manifest["counts"]["rows"] != shard.size(total):
            raise MismatchError(
                f"{part}: shard {shard} of {total} inputs has {manifest['counts']['rows']} rows."
            )
    missing = [str(s) for i in range(count) if (s := Shard(i + 1, count)) not in manifests]
    if missing:
        raise MismatchError(f"Not all shards are given; missing: {', '.join(missing)}.")
    return int(first["inputs"]["count"])


def _interleaved(parts: Sequence[Path], total: int, *, header: bool) -> Iterator[bytes]:
    """Rows of all parts in the order of the inputs."""
    with ExitStack() as stack:
        files = [stack.enter_context(path.open("rb")) for path in parts]
        readers = [read_csv(file) if header else read_lines(file) for file in files]
        if header:
            heads = [next(reader, None) for reader in readers]
            if any(head is None or heads[0] is None or head[1] != heads[0][1] for head in heads):
                raise MismatchError("The parts have different columns.")
            yield heads[0][1] if heads[0] else b""
        for number in range(total):
            record = next(readers[number % len(parts)], None)
            if record is None:
                raise MismatchError(f"{parts[number % len(parts)]}: rows are missing at its end.")
            yield record[1]
        for path, reader in zip(parts, readers, strict=True):
            if next(reader, None) is not None:
                raise MismatchError(f"{path}: has more rows than its manifest says.")
