"""Text tables as spreadsheets and programs write them: commas, semicolons, tabs or bars, UTF-8 or UTF-16.

The separator is what the header holds, or what a first line `sep=;` says. A table that fits two separators is refused.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from skinclf._utils.lfs import ADVICE, is_pointer
from skinclf._utils.missing import is_missing
from skinclf.errors import InvalidArgumentError

Columns: TypeAlias = dict[str, list[str]]
_Rows: TypeAlias = list[tuple[int, list[str]]]

_NAMES: Mapping[str, str] = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}
_STATED = re.compile(r"sep=(.)\1*", re.IGNORECASE)
_QUOTED = re.compile(r'"[^"]*"')
# How the formats of spreadsheet programs begin: zip (xlsx, ods) and OLE2 (xls).
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
_DECIMAL = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?")
_PLAIN = re.compile(r"[+-]?\d+(?:[eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+")


def decode_table(path: Path) -> str:
    """Text of a file in UTF-8 or UTF-16, with or without a byte order mark.

    Raises:
        InvalidArgumentError: The file is a workbook or a Git LFS pointer, or its text is in another encoding.
        OSError: The file cannot be read.
    """
    data = path.read_bytes()
    if is_pointer(data):
        raise InvalidArgumentError(f"{path}: {ADVICE}")
    if data.startswith(_WORKBOOKS):
        raise InvalidArgumentError(
            f"{path}: a workbook of a spreadsheet program; save the sheet as a CSV file in UTF-8."
        )
    try:
        return data.decode(_encoding(data))
    except UnicodeDecodeError:
        raise InvalidArgumentError(
            f"{path}: not a text table in UTF-8 or UTF-16; save it as a CSV file in UTF-8."
        ) from None


def read_csv(path: Path) -> Columns:
    """Read a table with a header.

    Empty rows, and columns without a name and without content, are no part of the table. Decimal commas of a numeric
    column become points, where they cannot be separators of thousands.

    Args:
        path: File of comma-, semicolon-, tab- or bar-separated text.

    Returns:
        Cells by column name, all of one length, without surrounding blanks.

    Raises:
        InvalidArgumentError: The encoding or the separator is unknown, a column occurs twice, or a row has the wrong
            length.
        OSError: The file cannot be read.
    """
    text = decode_table(path)
    first, _, rest = text.partition("\n")
    stated = _STATED.fullmatch(first.strip(' \r"'))
    if stated is not None:
        separator = stated[1]
        header, body = _cells(path, rest, separator, start=2)
    else:
        separator, header, body = _separated(path, text)
    header, body = _without_empty(header, body)
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise InvalidArgumentError(f"{path}: column {repeated[0]!r} occurs twice.")
    for number, row in body:
        if len(row) != len(header):
            raise InvalidArgumentError(
                f"{path}: row {number} has {len(row)} cells but the header {len(header)}; is the file truncated?"
            )
    columns = {name: [row[i].strip() for _, row in body] for i, name in enumerate(header)}
    return {name: _with_points(cells, separator) for name, cells in columns.items()}


def _encoding(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    # The letters of a header in UTF-16 have one byte that is zero: the second, or the first.
    if len(data) >= 4 and data[1] == data[3] == 0 and data[0] and data[2]:
        return "utf-16-le"
    if len(data) >= 4 and data[0] == data[2] == 0 and data[1] and data[3]:
        return "utf-16-be"
    return "utf-8-sig"


def _separated(path: Path, text: str) -> tuple[str, list[str], _Rows]:
    """The separator, the header and the rows."""
    first = _QUOTED.sub("", next((line for line in text.splitlines() if line.strip()), ""))
    found = [mark for mark in _NAMES if mark in first]
    if len(found) < 2:
        separator = found[0] if found else ","
        return separator, *_cells(path, text, separator)
    read = {mark: _cells(path, text, mark) for mark in found}
    fits = [mark for mark, (header, body) in read.items() if all(len(row) == len(header) for _, row in body)]
    if len(fits) != 1:
        named = " and ".join(_NAMES[mark] for mark in found)
        raise InvalidArgumentError(
            f"{path}: the header holds {named}, and the rows do not tell which of them separates the columns; "
            "state it in a first line such as sep=; or sep=,."
        )
    return fits[0], *read[fits[0]]


def _cells(path: Path, text: str, separator: str, *, start: int = 1) -> tuple[list[str], _Rows]:
    """Header, and the rows that are not empty with their numbers as a spreadsheet counts them."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        rows = [(i, row) for i, row in enumerate(reader, start=start) if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise InvalidArgumentError(f"{path}: line {reader.line_num}: {error}.") from None
    if not rows:
        return [], []
    return [name.strip() for name in rows[0][1]], rows[1:]


def _without_empty(header: Sequence[str], body: _Rows) -> tuple[list[str], _Rows]:
    """Drop columns without a name and without content, and empty cells beyond the header."""
    used = {i for _, row in body for i, cell in enumerate(row) if cell.strip()}
    keep = [i for i, name in enumerate(header) if name or i in used]
    width = len(header)

    def cut(row: list[str]) -> list[str]:
        if len(row) < width:
            # Cells of unnamed, empty columns at the end may be absent.
            return row if len(row) <= max(keep, default=-1) else [row[i] for i in keep]
        surplus = row[width:]
        return [row[i] for i in keep] + (surplus if any(cell.strip() for cell in surplus) else [])

    return [header[i] for i in keep], [(number, cut(row)) for number, row in body]


def _with_points(cells: list[str], separator: str) -> list[str]:
    """A numeric column with decimal points; any other column as it is."""
    commas = [cell for cell in cells if "," in cell]
    if not commas or not all(_DECIMAL.fullmatch(cell) for cell in commas):
        return cells
    if not all(_PLAIN.fullmatch(cell) or is_missing(cell) for cell in cells if "," not in cell):
        return cells
    # A semicolon separates where the comma is the decimal sign; elsewhere 1,234 may be a thousand and more.
    if separator != ";" and all(_THOUSANDS.fullmatch(cell) for cell in commas):
        return cells
    return [cell.replace(",", ".") for cell in cells]
