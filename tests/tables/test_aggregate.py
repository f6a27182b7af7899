"""One row per lesion: means, maxima, failures, unknown images."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from skinclf.errors import InvalidArgumentError
from skinclf.tables.aggregate import aggregate, group_names
from skinclf.tables.predictions import PredictionTable

P = np.array([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8], [np.nan, np.nan], [np.nan, np.nan]], np.float32)
TABLE = PredictionTable(
    ("a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"),
    ("benign", "malignant"),
    P,
    P[:, 1],
    ("ok", "ok", "ok", "truncated", "missing"),
)
GROUPS = ["L2", "L1", "L2", "L1", "L3"]


@pytest.mark.parametrize(("combine", "malignant"), [("mean", 0.45), ("max", 0.8)])
def test_images_of_a_lesion_combine(combine: str, malignant: float) -> None:
    result = aggregate(TABLE, GROUPS, combine=combine)  # type: ignore[arg-type]
    assert result.groups == ("L2", "L1", "L3")
    assert (result.images, result.failed) == ((2, 1, 0), (0, 1, 1))
    assert result.malignant is not None
    assert result.probabilities is not None
    np.testing.assert_allclose(result.malignant[:2], [malignant, 0.5], atol=1e-6)
    np.testing.assert_allclose(result.probabilities[0], [0.55, 0.45], atol=1e-6)
    rows = result.rows(0.5)
    assert [r["flagged"] for r in rows] == [int(malignant >= 0.5), 1, None]
    assert rows[2]["probability_malignant"] is None


def test_groups_come_from_a_table_by_stem(tmp_path: Path) -> None:
    table = tmp_path / "meta.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([["image_id", "lesion_id"], ["a", "L1"], ["b", "L2"], ["c", ""]])
    assert group_names(["x/a.jpg", "b.png"], table, "lesion_id") == ["L1", "L2"]
    with pytest.raises(InvalidArgumentError, match=r"1 of 2 images have no lesion_id: c\.jpg"):
        group_names(["a.jpg", "c.jpg"], table, "lesion_id")
    with pytest.raises(InvalidArgumentError, match="patient"):
        group_names(["a.jpg"], table, "patient")


def test_wrong_number_of_groups() -> None:
    with pytest.raises(InvalidArgumentError, match="5 groups"):
        aggregate(TABLE, GROUPS[:3])
    with pytest.raises(InvalidArgumentError, match="no group"):
        aggregate(TABLE, {"a.jpg": "L1"})
