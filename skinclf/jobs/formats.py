"""Text formats of the predictions table: CSV, JSON lines and plain text; one row per input, in input order.

The first four columns are those of devatreya's prediction tables; numbers parse back to the same float32.
Text is UTF-8; bytes of a file name that are not UTF-8 are written as backslash escapes (`udcXX`).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from typing import IO, Any, NamedTuple, Protocol

from skinclf.errors import MismatchError
from skinclf.inference.prediction import Prediction
from skinclf.inference.schema import Schema, number

_SPECIAL = frozenset(',"\r\n')


class Row(NamedTuple):
    """A complete row of an existing table.

    Attributes:
        image: Cell of the column `image`.
        status: Cell of the column `status`.
        raw: Bytes of the row, with the line end.
        end: Position of the row's end in the file, in bytes.
    """

    image: str
    status: str
    raw: bytes
    end: int


class Encoder(Protocol):
    """Encodes predictions as rows of a table."""

    def header(self) -> bytes:
        """Bytes before the rows."""

    def encode(self, predictions: Iterable[Prediction]) -> bytes:
        """Rows as bytes; each ends with a line feed."""


class Format(Encoder, Protocol):
    """Encodes rows and reads them back from an existing table."""

    def read(self, file: IO[bytes]) -> Iterator[Row]:
        """Complete rows of an existing table, up to the first incomplete one.

        Raises:
            MismatchError: The header or a row has other columns.
        """


class CsvFormat:
    """Comma-separated values, quoted where needed, with a line feed at the end of rows."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._columns = list(schema.columns)

    def header(self) -> bytes:
        """See `Format.header`."""
        return csv_bytes([self._columns])

    def encode(self, predictions: Iterable[Prediction]) -> bytes:
        """See `Format.encode`."""
        return csv_bytes(map(self.cells, predictions))

    def cells(self, prediction: Prediction) -> list[str]:
        """Cells of one row as text, in the order of the columns."""
        return [_cell(v) for v in self._schema.values(prediction)]

    def read(self, file: IO[bytes]) -> Iterator[Row]:
        """See `Format.read`."""
        for cells, raw, end in read_csv(file):
            if end == len(raw):
                check_columns(cells, self._columns)
            else:
                check_columns(cells, self._columns, names=False)
                yield Row(cells[0], cells[-2], raw, end)


class JsonlFormat:
    """JSON lines: one object per row, with the columns as keys; null for what a failed input lacks."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._columns = list(schema.columns)

    def header(self) -> bytes:
        """See `Format.header`."""
        return b""

    def encode(self, predictions: Iterable[Prediction]) -> bytes:
        """See `Format.encode`."""
        rows = map(self.row, predictions)
        return _utf8("".join(json.dumps(row, allow_nan=False, ensure_ascii=False) + "\n" for row in rows))

    def row(self, prediction: Prediction) -> dict[str, Any]:
        """One row as an object: column to value, None for what a failed input lacks."""
        cells = zip(self._columns, self._schema.values(prediction), strict=True)
        # A float's shortest float32 text, so that both formats hold the same numbers.
        return {k: float(number(v)) if isinstance(v, float) else v for k, v in cells}

    def read(self, file: IO[bytes]) -> Iterator[Row]:
        """See `Format.read`."""
        for _, raw, end in read_lines(file):
            try:
                row = json.loads(raw)
                check_columns(list(row), self._columns)
            except (ValueError, TypeError):
                raise MismatchError(f"Row {raw[:80]!r} is no row of a predictions table.") from None
            yield Row(row["image"], row["status"], raw, end)


class TextFormat:
    """One readable line per input, for terminals."""

    def header(self) -> bytes:
        """See `Format.header`."""
        return b""

    def encode(self, predictions: Iterable[Prediction]) -> bytes:
        """See `Format.encode`."""
        return _utf8("".join(f"{p}\n" for p in predictions))


def read_lines(file: IO[bytes]) -> Iterator[tuple[list[str], bytes, int]]:
    """Complete lines of a file, in the form of `read_csv`; the cells are empty."""
    end = 0
    for raw in file:
        if not raw.endswith(b"\n"):
            return
        end += len(raw)
        yield [], raw, end


def read_csv(file: IO[bytes]) -> Iterator[tuple[list[str], bytes, int]]:
    """Complete records of a CSV file that may end in an incomplete one.

    Yields:
        Cells, bytes, and position of the record's end in the file.
    """
    taken: list[bytes] = []

    def lines() -> Iterator[str]:
        for raw in file:
            taken.append(raw)
            yield raw.decode("utf-8", "replace")

    records = csv.reader(lines(), strict=True)
    end = 0
    while True:
        taken.clear()
        try:
            cells = next(records)
        except (StopIteration, csv.Error):  # strict: an open quote at the end of the file is an error
            return
        raw = b"".join(taken)
        if not raw.endswith(b"\n"):
            return
        end += len(raw)
        yield cells, raw, end


def csv_bytes(rows: Iterable[Iterable[str]]) -> bytes:
    """Rows of cells as CSV in UTF-8; each ends with a line feed."""
    # Not the csv module: before Python 3.13 it leaves a carriage return inside a name unquoted.
    return _utf8("".join(",".join(map(_quoted, cells)) + "\n" for cells in rows))


def _quoted(cell: str) -> str:
    if _SPECIAL.isdisjoint(cell):
        return cell
    return '"' + cell.replace('"', '""') + '"'


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    return number(value) if isinstance(value, float) else str(value)


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def printable(name: str) -> str:
    """A file name as it is written in a table."""
    return _utf8(name).decode("utf-8")


def check_columns(found: list[str], expected: list[str], *, names: bool = True) -> None:
    """Refuse a table with other columns.

    Args:
        found: Cells of its header, or with `names` False of a row.
        expected: Names of the columns.
        names: Whether the cells are names; else only their number is compared.

    Raises:
        MismatchError: The columns differ.
    """
    if (found != expected) if names else (len(found) != len(expected)):
        raise MismatchError(
            f"The existing table has other columns: {', '.join(found[:20])}; expected {', '.join(expected)}."
        )
