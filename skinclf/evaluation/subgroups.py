"""Subgroups: rows grouped by a column of the labels table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from skinclf._utils.missing import is_unnamed
from skinclf.errors import InvalidArgumentError

#: Derived from `age`, in years.
AGE_BANDS = ("<40", "40-59", "60+")
MISSING = "missing"
#: A column with more values is no grouping.
MAX_LEVELS = 40


def age_band(text: str) -> str:
    """`<40`, `40-59`, `60+` or `missing`, from an age in years as a table holds it.

    Raises:
        InvalidArgumentError: Neither blank nor a number of years.
    """
    if is_unnamed(text):
        return MISSING
    try:
        age = float(text)
    except ValueError:
        age = math.nan
    if not 0 <= age < 150:
        raise InvalidArgumentError(f"Age {text!r}: expected years between 0 and 150, or nothing.")
    return AGE_BANDS[(age >= 40) + (age >= 60)]


@dataclass(frozen=True, slots=True)
class Subgroup:
    """Rows that share a value.

    Attributes:
        column: Column that was grouped, such as `sex`.
        value: The shared value; `missing` for blanks.
        rows: Which rows, shape (n,), bool.
    """

    column: str
    value: str
    rows: npt.NDArray[np.bool_]


def subgroups(table: Mapping[str, Sequence[str]], wanted: Sequence[str]) -> list[Subgroup]:
    """Split rows as asked.

    Args:
        table: Columns of text, all of the same length.
        wanted: Column names, each giving one group per value (`age_band` is made from `age`), or
            `column=value` for that one value.

    Raises:
        InvalidArgumentError: An unknown column, a value that no row has, or a column with too many values.
    """
    groups: list[Subgroup] = []
    for item in wanted:
        column, equals, value = (part.strip() for part in item.partition("="))
        values = _column(table, column)
        found = sorted(set(values), key=lambda v: (v == MISSING, _rank(column, v)))
        if equals:
            if value not in found:
                raise InvalidArgumentError(f"No row has {column}={value}; there are {', '.join(found[:20])}.")
            found = [value]
        elif len(found) > MAX_LEVELS:
            raise InvalidArgumentError(
                f"{column} has {len(found)} values; a subgroup column has at most {MAX_LEVELS}."
            )
        array = np.asarray(values, dtype=object)
        groups += [Subgroup(column, level, np.asarray(array == level, bool)) for level in found]
    return groups


def _column(table: Mapping[str, Sequence[str]], column: str) -> list[str]:
    if column == "age_band" and "age_band" not in table and "age" in table:
        return [age_band(text) for text in table["age"]]
    if column not in table:
        extra = " (or 'age_band', made from 'age')" if "age" in table else ""
        raise InvalidArgumentError(f"Subgroup {column!r}: the labels have {', '.join(table)}{extra}.")
    return [MISSING if is_unnamed(text) else text.strip() for text in table[column]]


def _rank(column: str, value: str) -> tuple[int, str]:
    return (AGE_BANDS.index(value), "") if column == "age_band" and value in AGE_BANDS else (0, value)
