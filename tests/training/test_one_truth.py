"""One labels file, one truth: evaluation, thresholds, calibration, label sets and the preparation of training data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.label_truths import predict, truths, write_table

from skinclf.decisions.held_out import read_held_out
from skinclf.errors import InvalidArgumentError
from skinclf.labels import ISIC2019
from skinclf.tables.reference import LabelOptions

#: Label, and whether it is malignant; None where no class is declared or the diagnosis is unknown.
_ISIC = {
    "nevus": 0,
    "Melanoma, NOS": 1,
    "Basal cell carcinoma": 1,
    "SCC": 1,
    "Squamous cell carcinoma, NOS": 1,
    "seborrheic keratosis": 0,
    "unknown": None,
    "": None,
}


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_every_command_sees_the_same(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    tmp = tmp_path_factory.mktemp("t")
    words = data.draw(st.lists(st.sampled_from(list(_ISIC)), min_size=1, max_size=8))
    words += ["nevus", "Melanoma, NOS"]
    names = [f"I{k}" for k in range(len(words))]
    columns: dict[str, list[str]] = {"image_id": names, "diagnosis": words}
    wrong = False
    if data.draw(st.booleans()):
        ones = [_ISIC[word] if _ISIC[word] is not None else data.draw(st.integers(0, 1)) for word in words]
        if wrong := data.draw(st.booleans()):
            ones[-1] = 0
        columns["target"] = [data.draw(st.sampled_from([f"{y}", f"{y}.0"])) for y in ones]
    labels = write_table(tmp / "labels.csv", columns, data.draw(st.sampled_from(",;\t")))
    found = truths(labels, predict(tmp / "p.csv", names), LabelOptions())
    assert found[0] == found[1] == found[2]
    if wrong:
        assert found[0] is InvalidArgumentError
    elif "target" in columns:
        assert found[0] == {n: int(float(y)) for n, y in zip(names, columns["target"], strict=True)}
    else:
        assert found[0] == {n: _ISIC[w] for n, w in zip(names, words, strict=True) if _ISIC[w] is not None}


@pytest.mark.parametrize(
    ("columns", "options", "expected"),
    [
        (
            {"isic_id": ["a", "b", "c"], "MEL": "100", "NV": "010", "SCC": "001", "UNK": "000"},
            {},
            {"a": 1, "b": 0, "c": 1},
        ),
        ({"image": ["a", "b", "c"], "MEL": "100", "NV": "010", "UNK": "001"}, {}, {"a": 1, "b": 0}),
        (
            {"img_id": ["a.png", "b.png", "c.png"], "diagnostic": ["ACK", "NEV", "SEK"]},
            {},
            {"a": 1, "b": 0, "c": 0},
        ),
        (
            {"photo": ["a", "b", "c"], "image": ["1", "2", "3"], "dx": ["nv", "bcc", "mel"], "y_true": "001"},
            {"id_column": "photo", "label_column": "y_true"},
            {"a": 0, "b": 0, "c": 1},
        ),
        (
            {"image": ["a", "b", "c"], "dx": ["mole", "scar", "mel"]},
            {"map_labels": {"mole": "nv"}, "drop_classes": ["scar"]},
            {"a": 0, "c": 1},
        ),
        ({"image": ["a", "b"], "dx": ["nv", "lentigo simplex"]}, {}, InvalidArgumentError),
    ],
)
def test_public_layouts_and_what_is_stated(
    tmp_path: Path, columns: dict[str, Sequence[str]], options: dict[str, object], expected: object
) -> None:
    labels = write_table(tmp_path / "labels.csv", {name: list(cells) for name, cells in columns.items()})
    predictions = predict(tmp_path / "p.csv", ["a", "b", "c"][: len(next(iter(columns.values())))])
    assert truths(labels, predictions, LabelOptions(**options)) == [expected] * 3  # type: ignore[arg-type]


def test_unknown_diagnoses_are_no_predictions_without_a_label(tmp_path: Path) -> None:
    names = [f"I{k}" for k in range(8)]
    cells = ["mel", "nv", *["UNK"] * 6]
    labels = write_table(tmp_path / "labels.csv", {"image": names, "dx": cells})
    held_out = read_held_out(predictions=predict(tmp_path / "p.csv", names), labels=labels)
    assert held_out.joined.unmatched == ()
    assert held_out.joined.labels.left_out == dict.fromkeys(names[2:], "unk")


def test_a_carcinoma_of_another_taxonomy_is_positive_for_the_class_it_becomes(tmp_path: Path) -> None:
    labels = write_table(tmp_path / "labels.csv", {"image": ["a", "b"], "dx": ["SCC", "nv"]})
    held_out = read_held_out(predictions=predict(tmp_path / "p.csv", ["a", "b"]), labels=labels)
    assert held_out.class_codes == ("akiec", "nv")
    assert held_out.joined.binary(["akiec"], held_out.classes)[0].tolist() == [1, 0]
    assert held_out.joined.labels.truth(["scc"], ISIC2019).tolist() == [1, 0]
