"""Where a run writes to, checked before a model is loaded, and how a finished table is put in place.

CSV and JSONL grow in place. Parquet cannot grow: its rows are kept in `<output>.partial.csv`, which can be
read and resumed at any moment, and become row groups at the end; so do embeddings in a `.parquet` file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from skinclf.errors import InvalidInputError, MissingExtraError, OutputError
from skinclf.manifest import manifest_path
from skinclf.records import CsvFormat, Format, JsonlFormat, Schema, read_csv

FormatName: TypeAlias = Literal["csv", "jsonl", "parquet"]
FORMATS: tuple[FormatName, ...] = ("csv", "jsonl", "parquet")
_ENDINGS: Mapping[str, FormatName] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".pq": "parquet"}
_ROW_GROUP = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """The files of a run.

    Attributes:
        path: The table.
        format: `csv`, `jsonl` or `parquet`; None goes by the ending, else CSV.
        top_k: Adds the k most probable classes as columns.
        embeddings: `.npy` or `.parquet` file for what enters the network's last layer.
        resume: Complete an interrupted table; start one where there is none.
        overwrite: Replace an existing table.
        retry_failed: With `resume`: try again the inputs whose rows say that they failed.
    """

    path: Path
    format: FormatName | None = None
    top_k: int = 0
    embeddings: Path | None = None
    resume: bool = False
    overwrite: bool = False
    retry_failed: bool = False

    @property
    def kind(self) -> FormatName:
        """The format that is written."""
        return self.format or _ENDINGS.get(self.path.suffix.lower(), "csv")

    @property
    def journal(self) -> Path:
        """The file that grows row by row."""
        return self.path.with_name(f"{self.path.name}.partial.csv") if self.kind == "parquet" else self.path

    @property
    def vectors(self) -> Path | None:
        """The `.npy` file that embeddings grow in."""
        path = self.embeddings
        if path is None or path.suffix.lower() == ".npy":
            return path
        return path.with_name(f"{path.name}.partial.npy")

    @property
    def manifest(self) -> Path:
        """The manifest of the run."""
        return manifest_path(self.path)

    def rows(self, schema: Schema) -> Format:
        """How rows are written to `journal`."""
        return JsonlFormat(schema) if self.kind == "jsonl" else CsvFormat(schema)

    def check(self) -> None:
        """Find out now what would stop the run at its first row.

        Raises:
            InvalidInputError: The options exclude each other, or a file is there and nothing says what to do.
            OutputError: A file cannot be written.
            MissingExtraError: Parquet was asked for without pyarrow.
        """
        if self.resume and self.overwrite:
            raise InvalidInputError("--resume and --overwrite exclude each other.")
        if self.retry_failed and not self.resume:
            raise InvalidInputError("--retry-failed goes with --resume.")
        if self.format is not None and self.format not in FORMATS:
            raise InvalidInputError(f"Format {self.format!r}: expected one of {', '.join(FORMATS)}.")
        if self.embeddings is not None and self.embeddings.suffix.lower() not in {".npy", ".parquet"}:
            raise InvalidInputError(f"{self.embeddings}: embeddings are written to a .npy or a .parquet file.")
        if self.embeddings == self.path:
            raise InvalidInputError(f"{self.path}: the table and the embeddings need two files.")
        for path in filter(None, (self.path, self.embeddings)):
            check_writable(path)
            if not (self.resume or self.overwrite) and _filled(path):
                raise InvalidInputError(
                    f"{path} is already there. Complete it with --resume, or replace it with --overwrite."
                )
        if not (self.resume or self.overwrite) and _filled(self.journal):
            raise InvalidInputError(
                f"{self.journal} is left from an interrupted run. Use --resume or --overwrite."
            )
        if self.kind == "parquet" or (self.embeddings and self.embeddings.suffix.lower() == ".parquet"):
            _pyarrow()

    def finish(self, schema: Schema) -> None:
        """Turn what grew into Parquet, where that was asked for."""
        vectors = self.vectors
        if vectors is not None and self.embeddings is not None and vectors != self.embeddings:
            _embeddings_to_parquet(self.journal, self.rows(schema), vectors, self.embeddings)
            vectors.unlink()
        if self.kind == "parquet":
            _csv_to_parquet(self.journal, self.path, schema)
            self.journal.unlink()


def check_writable(path: Path) -> None:
    """Check that a file could be written; nothing is created.

    Raises:
        OutputError: It could not.
    """
    if path.is_dir():
        raise OutputError(f"{path} is a folder; expected a file.")
    if not path.parent.is_dir():
        raise OutputError(f"The folder {path.parent} does not exist.")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise OutputError(f"{path} cannot be written: permission denied.")


def _filled(path: Path) -> bool:
    """Whether a file is there and not empty (an empty one loses nothing)."""
    return path.is_file() and path.stat().st_size > 0


def _pyarrow() -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError("parquet", "Parquet output") from None
    return pyarrow


def _csv_to_parquet(source: Path, target: Path, schema: Schema) -> None:
    """Stream a complete CSV table into a Parquet file, row group by row group."""
    pa = _pyarrow()
    kinds = {str: pa.string(), float: pa.float32(), int: pa.int32(), bool: pa.bool_()}
    columns = schema.columns
    arrow = pa.schema([(name, kinds[kind]) for name, kind in columns.items()])
    partial = target.with_name(f".{target.name}.part")
    try:
        with source.open("rb") as file, pa.parquet.ParquetWriter(partial, arrow, compression="zstd") as writer:
            records = read_csv(file)
            next(records)  # the header
            while rows := [cells for cells, _, _ in _take(records)]:
                by_column = [
                    [_parse(cell, kind) for cell in cells]
                    for cells, kind in zip(zip(*rows, strict=True), columns.values(), strict=True)
                ]
                arrays = [pa.array(values, type=f.type) for values, f in zip(by_column, arrow, strict=True)]
                writer.write_table(pa.Table.from_arrays(arrays, schema=arrow), row_group_size=_ROW_GROUP)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _take(records: Iterator[tuple[list[str], bytes, int]]) -> Iterator[tuple[list[str], bytes, int]]:
    for _, record in zip(range(_ROW_GROUP), records, strict=False):
        yield record


def _parse(cell: str, kind: type) -> Any:
    if kind is str:
        return cell
    if not cell:
        return None
    return float(cell) if kind is float else bool(int(cell)) if kind is bool else int(cell)


def _embeddings_to_parquet(journal: Path, rows: Format, vectors: Path, target: Path) -> None:
    """Join image names and vectors in one Parquet file: `image`, `status`, `embedding`."""
    pa = _pyarrow()
    array = np.load(vectors, mmap_mode="r", allow_pickle=False)
    width = array.shape[1]
    arrow = pa.schema(
        [("image", pa.string()), ("status", pa.string()), ("embedding", pa.list_(pa.float32(), width))]
    )
    partial = target.with_name(f".{target.name}.part")
    try:
        with journal.open("rb") as file, pa.parquet.ParquetWriter(partial, arrow) as writer:
            reader, start = rows.read(file), 0
            while found := [(r.image, r.status) for _, r in zip(range(_ROW_GROUP), reader, strict=False)]:
                part = np.ascontiguousarray(array[start : start + len(found)])
                start += len(found)
                flat = pa.FixedSizeListArray.from_arrays(pa.array(part.reshape(-1)), width)
                names, states = zip(*found, strict=True)
                writer.write_table(pa.Table.from_arrays([pa.array(names), pa.array(states), flat], schema=arrow))
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
