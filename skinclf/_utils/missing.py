"""Missing cells of tables: blank, or one of the words that programs write for a missing value."""

from __future__ import annotations

from typing import Final

#: In lower case: what pandas reads as missing, R's and SQL's words, SAS's dot, dashes and the question mark.
MISSING: Final = frozenset(
    {
        "",
        "-",
        "--",
        ".",
        "?",
        "#n/a",
        "#n/a n/a",
        "#na",
        "-nan",
        "<na>",
        "n.a.",
        "n/a",
        "na",
        "nan",
        "nat",
        "none",
        "null",
    }
)

_UNKNOWN: Final = frozenset({"unknown", "unspecified", "not available"})


def is_missing(text: str) -> bool:
    """Whether a cell stands for a missing value.

    Args:
        text: Cell as text; case and surrounding blanks do not count.
    """
    return text.strip().lower() in MISSING


def is_unnamed(text: str) -> bool:
    """Whether a cell of a column of names (lesion, patient, sex, site) names nothing: missing, or `unknown`."""
    return is_missing(text) or text.strip().lower() in _UNKNOWN
