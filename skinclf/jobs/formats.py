"""The predictions table: one row per input, in input order, in the formats that text can have.

The first four columns are those of the binary seed's table; numbers parse back to the same float32.
Text is UTF-8; bytes of a file name that are no UTF-8 are written as backslash escapes (`udcXX`).
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
    """A complete row of an existing table: its first and last cells, its text, and where it ends."""

    image: str
    status: str
    raw: bytes
    end: int


class Encoder(Protocol):
    """Rows as bytes."""

    def header(self) -> bytes:
        """What stands before the rows."""

    def encode(self, predictions: Iterable[Prediction]) -> bytes:
        """Rows as bytes; every row ends the line."""


class Format(Encoder, Protocol):
    """A table as bytes that can be appended to and read back row by row."""

    def read(self, file: IO[bytes]) -> Iterator[Row]:
        """Complete rows of an existing table, up to the first torn one.

        Raises:
            MismatchError: The header or a row has other columns.
        """


class CsvFormat:
    """Comma-separated, quoted where needed, a line feed at the end of rows."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._columns = list(schema.columns)

    def header(self) -> bytes:
        """See `Format.header`."""
        return _csv([self._columns])

    def encode(self, predictions: Iterable[Prediction]) -> bytes:
        """See `Format.encode`."""
        return _csv([[_cell(v) for v in self._schema.values(p)] for p in predictions])

    def read(self, file: IO[bytes]) -> Iterator[Row]:
        """See `Format.read`."""
        for cells, raw, end in read_csv(file):
            if end == len(raw):
                _same(cells, self._columns)
            else:
                _same(cells, self._columns, names=False)
                yield Row(cells[0], cells[-2], raw, end)


class JsonlFormat:
    """One JSON object a line, keys as the CSV's columns; failed inputs have nulls."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._columns = list(schema.columns)

    def header(self) -> bytes:
        """See `Format.header`."""
        return b""

    def encode(self, predictions: Iterable[Prediction]) -> bytes:
        """See `Format.encode`."""
        lines = []
        for p in predictions:
            cells = zip(self._columns, self._schema.values(p), strict=True)
            # A float's shortest float32 text, so that both formats hold the same numbers.
            row = {k: float(number(v)) if isinstance(v, float) else v for k, v in cells}
            lines.append(json.dumps(row, allow_nan=False, ensure_ascii=False) + "\n")
        return _utf8("".join(lines))

    def read(self, file: IO[bytes]) -> Iterator[Row]:
        """See `Format.read`."""
        for _, raw, end in read_lines(file):
            try:
                row = json.loads(raw)
                _same(list(row), self._columns)
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
    """Complete lines in the form of `read_csv`, without cells."""
    end = 0
    for raw in file:
        if not raw.endswith(b"\n"):
            return
        end += len(raw)
        yield [], raw, end


def read_csv(file: IO[bytes]) -> Iterator[tuple[list[str], bytes, int]]:
    """Complete records of a CSV file that may end in a torn one: cells, bytes, and offset of their end."""
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


def _csv(rows: Iterable[Iterable[str]]) -> bytes:
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
    """A name as it stands in a table."""
    return _utf8(name).decode("utf-8")


def _same(found: list[str], expected: list[str], *, names: bool = True) -> None:
    if (found != expected) if names else (len(found) != len(expected)):
        raise MismatchError(
            f"The existing table has other columns: {', '.join(found[:20])}; expected {', '.join(expected)}."
        )
