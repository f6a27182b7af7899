"""Missing cells: words that programs write for no value, and words that are values."""

from __future__ import annotations

import pytest

from skinclf._utils.missing import is_missing


@pytest.mark.parametrize(
    "text", ["", "  ", "NA", "nan", "NaN", "None", "NULL", "N/A", "<NA>", "#N/A", "-", " na "]
)
def test_words_for_no_value_are_missing(text: str) -> None:
    assert is_missing(text)


@pytest.mark.parametrize("text", ["0", "nv", "NA1", "none-melanoma", "unknown", "nasal", "-1"])
def test_values_are_not_missing(text: str) -> None:
    assert not is_missing(text)
