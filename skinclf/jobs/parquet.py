"""Finished tables and embeddings as Parquet, streamed in row groups; needs pyarrow (extra `parquet`)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from skinclf.errors import MissingExtraError
from skinclf.jobs.formats import read_csv, read_lines

_ROW_GROUP = 65_536


def import_pyarrow() -> Any:
    """pyarrow, with its Parquet module loaded.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError("parquet", "Parquet output") from None
    return pyarrow


def csv_to_parquet(source: Path, target: Path, columns: Mapping[str, type]) -> None:
    """Stream a complete CSV table into a Parquet file.

    Args:
        source: CSV file written by `CsvFormat`.
        target: Parquet file; replaced whole or not at all.
        columns: Name to type of the columns, in order.
    """
    pa = import_pyarrow()
    kinds = {str: pa.string(), float: pa.float32(), int: pa.int32(), bool: pa.bool_()}
    schema = pa.schema([(name, kinds[kind]) for name, kind in columns.items()])
    with source.open("rb") as file, _writer(target, schema) as writer:
        records = read_csv(file)
        next(records)  # the header
        while rows := [cells for cells, _, _ in islice(records, _ROW_GROUP)]:
            arrays = [
                pa.array([_parse(cell, kind) for cell in cells], type=kinds[kind])
                for cells, kind in zip(zip(*rows, strict=True), columns.values(), strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def embeddings_to_parquet(table: Path, kind: str, vectors: Path, target: Path) -> None:
    """Join image names and vectors in one Parquet file with the columns `image`, `status`, `embedding`.

    Args:
        table: CSV file (also for `kind` parquet) or JSONL file.
        kind: Format of the table.
        vectors: `.npy` file with one row for each row of the table.
        target: Parquet file; replaced whole or not at all.
    """
    pa = import_pyarrow()
    array = np.load(vectors, mmap_mode="r", allow_pickle=False)
    width = array.shape[1]
    fields = [("image", pa.string()), ("status", pa.string()), ("embedding", pa.list_(pa.float32(), width))]
    schema, start = pa.schema(fields), 0
    with table.open("rb") as file, _writer(target, schema) as writer:
        if kind == "jsonl":
            rows = (json.loads(raw) for _, raw, _ in read_lines(file))
            names = ((row["image"], row["status"]) for row in rows)
        else:
            records = (cells for cells, _, _ in read_csv(file))
            at = next(records).index("status")
            names = ((cells[0], cells[at]) for cells in records)
        while block := list(islice(names, _ROW_GROUP)):
            part = np.ascontiguousarray(array[start : start + len(block)])
            start += len(block)
            lists = pa.FixedSizeListArray.from_arrays(pa.array(part.reshape(-1)), width)
            images, states = zip(*block, strict=True)
            writer.write_table(
                pa.Table.from_arrays([pa.array(images), pa.array(states), lists], schema=schema)
            )


@contextmanager
def _writer(target: Path, schema: Any) -> Iterator[Any]:
    """A Parquet writer whose file takes its name only when it is complete."""
    pa = import_pyarrow()
    partial = target.with_name(f".{target.name}.part")
    try:
        with pa.parquet.ParquetWriter(partial, schema, compression="zstd") as writer:
            yield writer
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _parse(cell: str, kind: type) -> Any:
    if kind is str:
        return cell
    if not cell:
        return None
    return float(cell) if kind is float else bool(int(cell)) if kind is bool else int(cell)
