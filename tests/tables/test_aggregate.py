"""One row per lesion: means, maxima, failures, unknown images."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from skinclf.errors import InvalidArgumentError
from skinclf.labels import MALIGNANT
from skinclf.tables.aggregate import aggregate, group_names, stated_threshold
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


@pytest.mark.parametrize(
    ("names", "rows", "groups"),
    [
        (["P1/0.jpg", "P2/0.jpg"], ["P1/0.jpg,P1", "P2/0.jpg,P2"], ["P1", "P2"]),
        (["d/P1/0.jpg", "d/P2/0.jpg"], ["P2\\0,P2", "P1\\0,P1"], ["P1", "P2"]),
        (["0.jpg"], ["P1/0.jpg,P1", "P2/1.jpg,P2"], ["P1"]),
        (["a.jpg"], ["a,P1", "a,P1"], ["P1"]),
    ],
)
def test_groups_are_those_of_the_same_path(
    tmp_path: Path, names: list[str], rows: list[str], groups: list[str]
) -> None:
    (tmp_path / "g.csv").write_text("\n".join(["image,patient_id", *rows]))
    assert group_names(names, tmp_path / "g.csv", "patient_id") == groups


@pytest.mark.parametrize(
    ("names", "rows", "message"),
    [
        (["0.jpg"], ["P1/0.jpg,P1", "P2/0.jpg,P2"], "0.jpg of the predictions is P1/0.jpg, P2/0.jpg"),
        (
            ["P3/0.jpg"],
            ["P1/0.jpg,P1"],
            "have no patient_id: P3/0.jpg. The table names files of other folders",
        ),
        (["a.jpg"], ["a,P1", "a.jpg,P1", "./a,P2"], "a has two values of patient_id, P1 and P2"),
        (["a.jpg", "b.jpg"], ["a,NA", "b,nan"], "2 of 2 images have no patient_id"),
    ],
)
def test_doubtful_groups_are_refused(tmp_path: Path, names: list[str], rows: list[str], message: str) -> None:
    (tmp_path / "g.csv").write_text("\n".join(["image,patient_id", *rows]))
    with pytest.raises(InvalidArgumentError, match=message):
        group_names(names, tmp_path / "g.csv", "patient_id")


def test_rows_name_the_class_and_the_decision() -> None:
    rows = aggregate(TABLE, GROUPS).rows(0.4, MALIGNANT)
    assert [r["predicted_code"] for r in rows] == ["malignant", "malignant", None]
    assert [r["predicted_class"] for r in rows] == ["Malignant", "Malignant", None]
    assert [r["flagged"] for r in rows] == [1, 1, None]
    assert [r["predicted_code"] for r in aggregate(TABLE, GROUPS).rows(0.48, MALIGNANT)][:2] == [
        "benign",
        "malignant",
    ]


def test_the_threshold_of_the_predictions_is_taken_where_they_state_one(tmp_path: Path) -> None:
    for cells, value in ((["0.3", "", "0.3"], np.float32(0.3)), (["0.3", "0.4"], None), ([""], None)):
        (tmp_path / "p.csv").write_text("\n".join(["image,threshold", *(f"x,{cell}" for cell in cells)]))
        assert stated_threshold(tmp_path / "p.csv") == value


def test_wrong_number_of_groups() -> None:
    with pytest.raises(InvalidArgumentError, match="5 groups"):
        aggregate(TABLE, GROUPS[:3])
    with pytest.raises(InvalidArgumentError, match="no group"):
        aggregate(TABLE, {"a.jpg": "L1"})
