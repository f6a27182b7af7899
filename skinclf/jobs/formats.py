"""The predictions table: one row per input, in input order, in the formats that text can have.

The first four columns are those of the binary seed's table; numbers parse back to the same float32.
Text is UTF-8; bytes of a file name that are no UTF-8 are written as backslash escapes (`udcXX`).
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, NamedTuple, Protocol

import numpy as np

from skinclf.errors import MismatchError, MissingExtraError
from skinclf.inference.prediction import Prediction
from skinclf.labels import LabelSet

_HEAD: Mapping[str, type] = {
    "image": str,
    "probability_malignant": float,
    "predicted_label": int,
    "predicted_class": str,
    "threshold": float,
    "flagged": bool,
}
_TAIL: Mapping[str, type] = {"status": str, "error": str}
#: Types of columns by the names that manifests use.
TYPES: Mapping[str, type] = {kind.__name__: kind for kind in (str, float, int, bool)}
_SPECIAL = frozenset(',"\r\n')


def number(value: float | None) -> str:
    """The shortest text that parses back to the same float32; empty for None."""
    return "" if value is None else str(np.float32(value))


@dataclass(frozen=True, slots=True)
class Schema:
    """The columns of a table.

    Attributes:
        labels: Gives one column `p_<code>` for each class.
        top_k: How many pairs `top<i>_class`, `top<i>_probability` follow them.
        extra: Further columns of the scorer, before `status` and `error`: name to type.
    """

    labels: LabelSet
    top_k: int = 0
    extra: Mapping[str, type] = field(default_factory=dict)

    @property
    def columns(self) -> dict[str, type]:
        """Name to type, in order; every column but `image`, `status` and `error` may be empty."""
        result = {**_HEAD, **{f"p_{code}": float for code in self.labels.codes}}
        for i in range(1, min(self.top_k, len(self.labels)) + 1):
            result |= {f"top{i}_class": str, f"top{i}_probability": float}
        return {**result, **self.extra, **_TAIL}

    def values(self, prediction: Prediction) -> list[Any]:
        """One row in the order of `columns`; None where a cell is empty."""
        if not prediction.ok:
            pairs = min(self.top_k, len(self.labels))
            blanks = len(_HEAD) - 1 + len(self.labels) + 2 * pairs + len(self.extra)
            return [prediction.image, *[None] * blanks, prediction.status, prediction.error]
        row: list[Any] = [
            prediction.image,
            prediction.probability_malignant,
            prediction.index,
            prediction.name,
            prediction.threshold,
            prediction.flagged,
            *prediction.probabilities.values(),
        ]
        for pair in prediction.top_k(self.top_k) if self.top_k else ():
            row += pair
        row += [_known(prediction.extra[name]) for name in self.extra]
        return [*row, prediction.status, prediction.error]


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


def to_frame(schema: Schema, predictions: Iterable[Prediction]) -> Any:
    """A table as a `pandas.DataFrame`; what is missing in failed rows stays missing.

    Raises:
        MissingExtraError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError:
        raise MissingExtraError("pandas", "A DataFrame") from None
    kinds = {float: "float32", int: "Int32", bool: "boolean", str: "object"}
    rows = [schema.values(prediction) for prediction in predictions]
    return pd.DataFrame(
        {
            name: pd.Series([row[i] for row in rows], dtype=kinds[kind])
            for i, (name, kind) in enumerate(schema.columns.items())
        }
    )


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


def _known(value: Any) -> Any:
    """None for a NaN: tables leave the cell empty, and JSON has none."""
    return None if isinstance(value, float) and math.isnan(value) else value


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
