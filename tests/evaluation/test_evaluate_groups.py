"""Evaluation by subgroups, and of two models against each other."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from support.evaluation_tables import rows_of, write_folder, write_predictions, write_rows

from skinclf.errors import InvalidArgumentError
from skinclf.evaluation.evaluate import evaluate
from skinclf.evaluation.result import Evaluation
from skinclf.evaluation.subgroups import age_band, subgroups

FEW = {"replicates": 60}
THRESHOLD = 0.3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("evaluation"))


@pytest.fixture(scope="module")
def result(folder: Path) -> Evaluation:
    return evaluate(
        folder / "test.csv",
        folder / "labels.csv",
        split="test",
        threshold=THRESHOLD,
        compare=folder / "test_b.csv",
        **FEW,
    )


# --- subgroups ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age", "band"),
    [
        ("0", "<40"),
        ("39.9", "<40"),
        ("40", "40-59"),
        ("59.0", "40-59"),
        ("60", "60+"),
        ("85.0", "60+"),
        ("", "missing"),
        ("NaN", "missing"),
        ("unknown", "missing"),
    ],
)
def test_age_bands(age: str, band: str) -> None:
    assert age_band(age) == band


@pytest.mark.parametrize("age", ["-1", "200", "old", "inf"])
def test_an_impossible_age_is_an_error(age: str) -> None:
    with pytest.raises(InvalidArgumentError, match="Age"):
        age_band(age)


def test_subgroups_partition_the_rows(result: Evaluation) -> None:
    n = result.metrics["data"]["n"]
    by_column: dict[str, int] = Counter()
    for row in result.metrics["subgroups"]:
        by_column[row["column"]] += row["n"]
    assert {by_column[c] for c in ("age_band", "sex", "localization")} == {n}
    values = [row["value"] for row in result.metrics["subgroups"] if row["column"] == "age_band"]
    assert values == ["<40", "40-59", "60+", "missing"]
    assert "missing" in [row["value"] for row in result.metrics["subgroups"] if row["column"] == "sex"]


def test_a_subgroup_equals_an_evaluation_of_its_rows(
    folder: Path, tmp_path: Path, result: Evaluation
) -> None:
    rows = [row for row in rows_of(folder) if row["dx_type"] == "histo"]
    write_rows(tmp_path / "l.csv", rows)
    chosen = {row["image_id"] + ".jpg" for row in rows}
    lines = (folder / "test.csv").read_text().splitlines()
    kept = [line for line in lines[1:] if line.split(",")[0] in chosen]
    (tmp_path / "p.csv").write_text("\n".join([lines[0], *kept]) + "\n")
    alone = evaluate(tmp_path / "p.csv", tmp_path / "l.csv", threshold=THRESHOLD, subgroups=(), **FEW).metrics
    (group,) = [row for row in result.metrics["subgroups"] if row["column"] == "dx_type"]
    assert group["n"] == alone["data"]["n"]
    assert group["roc_auc"] == alone["binary"]["roc_auc"]
    assert group["balanced_accuracy"] == alone["multiclass"]["balanced_accuracy"]
    point = alone["operating_point"]["image"]
    for name in ("sensitivity", "specificity", "ppv", "npv"):
        assert {k: group[name][k] for k in ("value", "low", "high")} == point[name]


def test_unknown_subgroups_are_errors() -> None:
    table = {"sex": ["m", "f"], "age": ["1", "2"]}
    with pytest.raises(InvalidArgumentError, match=r"'race': the labels have sex, age \(or 'age_band'"):
        subgroups(table, ["race"])
    with pytest.raises(InvalidArgumentError, match="No row has sex=x; there are f, m"):
        subgroups(table, ["sex=x"])
    with pytest.raises(InvalidArgumentError, match="at most 40"):
        subgroups({"id": [str(i) for i in range(41)]}, ["id"])


# --- comparison --------------------------------------------------------------------------------


def test_comparison_of_two_models(folder: Path, result: Evaluation) -> None:
    got = result.metrics["comparison"]
    other = evaluate(
        folder / "test_b.csv", folder / "labels.csv", split="test", threshold=THRESHOLD, subgroups=(), **FEW
    )
    for name in ("balanced_accuracy", "mcc"):
        pair = got["differences"][f"multiclass.{name}"]
        assert pair["a"] == result.metrics["multiclass"][name]["value"]
        assert pair["b"] == other.metrics["multiclass"][name]["value"]
        assert pair["difference"]["value"] == pytest.approx(pair["a"] - pair["b"], abs=1e-12)
        assert pair["difference"]["low"] > 0  # the first knows more
    assert got["delong"]["auc_a"] == pytest.approx(result.metrics["binary"]["roc_auc"]["value"], abs=1e-12)
    answer = got["mcnemar"]["answer"]
    right = result.metrics["multiclass"]["accuracy"]["count"]
    assert answer["both"] + answer["only_a"] == right


def test_a_model_does_not_differ_from_itself(folder: Path) -> None:
    """The draws are paired: every difference is 0 with the interval 0 to 0."""
    got = evaluate(
        folder / "test.csv",
        folder / "labels.csv",
        split="test",
        compare=folder / "test.csv",
        subgroups=(),
        **FEW,
    ).metrics["comparison"]
    for name, pair in got["differences"].items():
        assert pair["difference"] == {"value": 0, "low": 0, "high": 0}, name
    assert got["delong"]["p_value"] == 1
    assert got["mcnemar"]["answer"]["p_value"] == 1


def test_seven_classes_against_two(folder: Path) -> None:
    """What both have is compared: the two-class view."""
    got = evaluate(
        folder / "test.csv",
        folder / "labels.csv",
        split="test",
        compare=folder / "test_two.csv",
        subgroups=(),
        **FEW,
    ).metrics["comparison"]
    assert set(got["mcnemar"]) == {"sensitivity", "specificity"}
    assert all(name.startswith("binary.") for name in got["differences"])


def test_replicates_that_never_vary_give_no_interval(folder: Path, tmp_path: Path) -> None:
    """A perfect ranking of few images is no proof of a perfect model."""
    rows = rows_of(folder)
    write_predictions(tmp_path / "p.csv", rows, skill=60)
    got = evaluate(tmp_path / "p.csv", folder / "labels.csv", split="test", subgroups=(), **FEW).metrics
    assert got["binary"]["roc_auc"] == {"value": 1, "low": None, "high": None}
    assert got["multiclass"]["accuracy"]["low"] < 1  # exact intervals do have something to say
