"""Tables on disk as columns of text: CSV, tab-separated, JSON lines, Parquet.

Cells stay text until a reader parses them, so that a number printed for float32 is parsed as float32.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skinclf._utils.csv_tables import Columns, decode_table, read_csv
from skinclf._utils.lfs import ADVICE, is_pointer
from skinclf.errors import InvalidArgumentError, MissingExtraError

__all__ = ["Columns", "find", "parse_float32", "read_columns"]


def read_columns(path: Path) -> Columns:
    """Read a table; the format follows the extension, the separator of CSV the header.

    Args:
        path: File with the extension `.csv`, `.tsv`, `.tab`, `.txt`, `.jsonl`/`.ndjson` (nested `probabilities`
            become `p_<code>`) or `.parquet`.

    Returns:
        Cells by column name, all of one length; a missing cell is empty text.

    Raises:
        InvalidArgumentError: The file is missing, is no table, has no rows, or a row has the wrong length.
    """
    try:
        if path.suffix.lower() in {".jsonl", ".ndjson"}:
            columns = _read_jsonl(path)
        elif path.suffix.lower() in {".parquet", ".pq"}:
            columns = _read_parquet(path)
        else:
            columns = read_csv(path)
    except OSError as error:
        raise InvalidArgumentError(f"{path}: cannot be read: {error.strerror or error}.") from None
    if not columns or not next(iter(columns.values())):
        raise InvalidArgumentError(f"{path}: the table has no rows.")
    return columns


def _read_jsonl(path: Path) -> Columns:
    records: list[dict[str, str]] = []
    for number, line in enumerate(decode_table(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InvalidArgumentError(f"{path}: line {number} is no JSON: {error}.") from None
        if not isinstance(value, Mapping):
            raise InvalidArgumentError(f"{path}: line {number}: expected a JSON object.")
        records.append(dict(_flat(value)))
    names = dict.fromkeys(name for record in records for name in record)
    return {name: [record.get(name, "") for record in records] for name in names}


def _flat(record: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for name, value in record.items():
        if name == "probabilities" and isinstance(value, Mapping):
            yield from ((f"p_{code}", _cell(p)) for code, p in value.items())
        else:
            yield name, _cell(value)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, bool) else str(value)


def _read_parquet(path: Path) -> Columns:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise MissingExtraError("parquet", f"Reading {path.name}") from None
    with path.open("rb") as file:
        if is_pointer(file.read(64)):
            raise InvalidArgumentError(f"{path}: {ADVICE}")
    try:
        table = parquet.read_table(path)
    except pa.ArrowException as error:
        raise InvalidArgumentError(f"{path}: not a Parquet table: {error}.") from None
    return {name: [_cell(v) for v in _exact(table.column(name))] for name in table.column_names}


def _exact(column: Any) -> Iterable[Any]:
    import pyarrow as pa

    if pa.types.is_float32(column.type):
        # The shortest text of the float32 itself, not of its float64 image.
        return (None if v is None else np.float32(v) for v in column.to_pylist())
    values: list[Any] = column.to_pylist()
    return values


def find(columns: Iterable[str], names: Sequence[str]) -> str | None:
    """The first of `names` that is a column; None when there is none.

    Case does not count. Where no column has one of the names, blanks and signs do not count either (`Image Name`,
    `ImageID`), and of a name with points the last part counts (`meta.clinical.diagnosis`).

    Args:
        columns: Names of the columns.
        names: Names in lower case, the surest first.
    """
    listed = list(columns)
    for form in (str.lower, _joined, _last_part):
        present = {form(column): column for column in reversed(listed)}
        asked = str.lower if form is str.lower else _joined
        found = next((present[asked(name)] for name in names if asked(name) in present), None)
        if found is not None:
            return found
    return None


def _joined(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.lower())


def _last_part(name: str) -> str:
    return _joined(name.rpartition(".")[2])


def parse_float32(cells: Sequence[str], what: str) -> npt.NDArray[np.float32]:
    """Parse cells as float32; empty cells become NaN.

    Args:
        cells: Text of N cells.
        what: Name of the column, for the message.

    Returns:
        Shape (N,), dtype float32.

    Raises:
        InvalidArgumentError: A cell is no number.
    """
    try:
        return np.asarray([cell or "nan" for cell in cells], dtype=np.float32)
    except ValueError as error:
        raise InvalidArgumentError(f"{what}: {error}.") from None
