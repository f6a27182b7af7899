"""Parquet files of images as a Ray dataset with a column for each row's position.

Ray keeps no order among blocks, so the position is computed from the files' footers: a row's index is the
number of rows before its row group plus its place in it, whichever worker reads it and however often.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from skinclf.errors import InvalidArgumentError
from skinclf.jobs.ray.dataset import import_ray, predict_dataset
from skinclf.jobs.ray.listing import find_files, resolve_path

if TYPE_CHECKING:
    import ray.data

_FOOTERS = 16
#: Rows of one block: encoded images of 100 kB make about 13 MB.
_ROWS = 128


@dataclass(frozen=True, slots=True)
class _ReadRowGroup:
    """Reads one row group, in pieces; runs in Ray's tasks."""

    columns: tuple[str, ...]
    filesystem: Any

    def __call__(self, table: Any) -> Iterator[Any]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        for row in table.to_pylist():
            filesystem, inside = resolve_path(row["file"], self.filesystem)
            start = row["start"]
            with pq.ParquetFile(inside, filesystem=filesystem) as file:
                for batch in file.iter_batches(_ROWS, row_groups=[row["group"]], columns=list(self.columns)):
                    index = pa.array(range(start, start + len(batch)), pa.int64())
                    start += len(batch)
                    yield pa.Table.from_batches([batch]).append_column("index", index)


def read_parquet(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    columns: Sequence[str],
    *,
    filesystem: Any = None,
) -> ray.data.Dataset:
    """Columns of Parquet files, and the column `index`.

    Args:
        paths: Files and folders (with all subfolders), or URIs of them; read in this order.
        columns: Names of the columns to read, without `index`.
        filesystem: A `pyarrow.fs.FileSystem`; None takes that of each path's scheme.

    Raises:
        MissingExtraError: Ray is not installed.
        InvalidArgumentError: A file is missing, lacks a column, or is not Parquet.
    """
    ray = import_ray()
    import pyarrow as pa

    if "index" in columns:
        raise InvalidArgumentError("A column named 'index' would hide the position of the rows; rename it.")
    given = [paths] if isinstance(paths, (str, os.PathLike)) else paths
    files = list(find_files(given, endings=(".parquet",), recursive=True, filesystem=filesystem))
    with ThreadPoolExecutor(_FOOTERS) as pool:
        sizes = list(pool.map(lambda file: _rows(file, columns, filesystem), files))
    tables, start = [], 0
    for file, groups in zip(files, sizes, strict=True):
        for group, rows in enumerate(groups):
            tables.append(pa.table({"file": [file], "group": [group], "start": [start]}))
            start += rows
    if not start:
        raise InvalidArgumentError(f"The Parquet files in {', '.join(map(str, given))} hold no row.")
    read = _ReadRowGroup(tuple(dict.fromkeys(columns)), filesystem)
    return ray.data.from_arrow(tables).map_batches(read.__call__, batch_size=None, batch_format="pyarrow")


def predict_parquet(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    image_column: str = "bytes",
    name_column: str | None = None,
    keep: Sequence[str] = (),
    filesystem: Any = None,
    **options: Any,
) -> ray.data.Dataset:
    """Classify images in Parquet files; `index` counts their rows in the order of the files.

    Args:
        paths: Files and folders (with all subfolders), or URIs of them.
        image_column: Name of the column of bytes, structs of bytes and path, or paths.
        name_column: Name of the column that becomes `image`; None as for `predict_dataset`.
        keep: Names of further columns to copy; no others are read.
        filesystem: A `pyarrow.fs.FileSystem` for the tables and for paths in them; None takes that of the scheme.
        **options: Options of `predict_dataset`.

    Raises:
        InvalidArgumentError: A file is missing, lacks a column, or is not Parquet; else as `predict_dataset`.
    """
    columns = [image_column, *([name_column] if name_column else []), *keep]
    return predict_dataset(
        read_parquet(paths, columns, filesystem=filesystem),
        image_column=image_column,
        name_column=name_column,
        index_column="index",
        keep=keep,
        filesystem=filesystem,
        **options,
    )


def _rows(file: str, columns: Sequence[str], filesystem: Any) -> list[int]:
    """Number of rows in each row group of one file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        inside = resolve_path(file, filesystem)
        with pq.ParquetFile(inside[1], filesystem=inside[0]) as opened:
            missing = sorted(set(columns) - set(opened.schema_arrow.names))
            found = [opened.metadata.row_group(i).num_rows for i in range(opened.num_row_groups)]
    except (OSError, pa.ArrowException) as error:
        raise InvalidArgumentError(
            f"{file}: not readable as Parquet: {' '.join(str(error).split())}"
        ) from None
    if missing:
        raise InvalidArgumentError(f"{file} has no column {', '.join(map(repr, missing))}.")
    return found
