"""Tables of labels as they are published, filled in by hand, or saved by other programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from skinclf._utils.columns import find
from skinclf.errors import InvalidArgumentError
from skinclf.labels import HAM10000, MELANOMA, LabelSet
from skinclf.tables.class_marks import mark_columns
from skinclf.tables.reference import LabelOptions, LabelTable, read_labels

ISIC2017 = "image_id,melanoma,seborrheic_keratosis\nI0,0.0,0.0\nI1,1.0,0.0\nI2,0.0,1.0\n"


def read(folder: Path, text: str, labels: LabelSet = HAM10000, **stated: object) -> LabelTable:
    path = folder / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return read_labels(path, labels, options=LabelOptions(**stated))  # type: ignore[arg-type]


# --- names of columns -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "Image Name",
        "ImageID",
        "image-id",
        "IMAGE ID",
        "image_path",
        "filepath",
        "File Name",
        "img_name",
        "img",
    ],
)
def test_the_image_column_is_found_however_it_is_written(tmp_path: Path, name: str) -> None:
    assert read(tmp_path, f"{name},Diagnosis\na,nv\nb,mel\n").ids == ("a", "b")


def test_a_name_as_written_comes_before_a_similar_one() -> None:
    # The older ISIC archive: `_id` is the key of its data base, `name` the image.
    assert find(["_id", "name", "meta.clinical.sex"], ("image_id", "id", "name")) == "name"
    assert find(["_id", "meta.clinical.sex"], ("sex",)) == "meta.clinical.sex"
    assert find(["image id", "Image_ID"], ("image_id",)) == "Image_ID"
    assert find(["age"], ("image",)) is None


def test_the_older_isic_archive(tmp_path: Path) -> None:
    text = (
        "_id,name,meta.clinical.benign_malignant,meta.clinical.diagnosis\n"
        "54,ISIC_0,benign,nevus\n55,ISIC_2,malignant,melanoma\n"
    )
    table = read(tmp_path, text)
    assert table.ids == ("ISIC_0", "ISIC_2")
    assert table.codes == ("nv", "mel")


@pytest.mark.parametrize(
    ("header", "cells", "expected"),
    [
        ("isic_id,lesion_id,iddx_1", ["a,,Benign", "b,L1,Malignant"], [0, 1]),
        ("isic_id,diagnosis_full", ["a,Basal cell carcinoma", 'b,"Nevus, Dermal"'], [1, 0]),
        ("image,class_name", ["a,nevus", "b,melanoma"], [0, 1]),
        ("image_id,cell_type", ["a,Melanocytic nevi ", "b,Basal cell carcinoma"], [0, 1]),
    ],
)
def test_further_columns_of_labels(
    tmp_path: Path, header: str, cells: list[str], expected: list[int]
) -> None:
    assert read(tmp_path, "\n".join([header, *cells])).truth(labels=HAM10000).tolist() == expected


def test_a_target_decides_where_further_columns_would_not_agree(tmp_path: Path) -> None:
    # ISIC 2024 has actinic keratoses with target 0.
    text = (
        "isic_id,target,iddx_1,iddx_3\na,0,Indeterminate,Solar or actinic keratosis\nb,1,Malignant,Melanoma\n"
    )
    assert read(tmp_path, text).truth().tolist() == [0, 1]


# --- no header --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "ISIC_0000000,benign\nISIC_0000001,malignant\nISIC_0000002,benign\n",
        "ISIC_0000000,0.0\nISIC_0000001,1.0\nISIC_0000002,0.0\n",
        "ISIC_0000000;nevus\nISIC_0000001;melanoma\nISIC_0000002;nevus\n",
    ],
)
def test_a_table_without_a_header_loses_no_row(tmp_path: Path, text: str) -> None:
    table = read(tmp_path, text)
    assert table.ids == ("ISIC_0000000", "ISIC_0000001", "ISIC_0000002")
    assert table.truth(labels=HAM10000).tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    "text", ["photo,benign\na,0\nb,1\n", "photo,grade\na,0\nb,1\n", "photo,mel\na,nv\nb,?x\n"]
)
def test_a_header_is_not_taken_for_a_row(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="no column names the image"):
        read(tmp_path, text)


# --- one column per class ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("image,MEL,NV,BCC\na,True,False,False\nb,False,True,False\n", ("mel", "nv")),
        ("image;MEL;NV;BCC\na;1,0;0,0;0,0\nb;0,0;0,0;1,0\n", ("mel", "bcc")),
        ("Image Name,Common Nevus,Atypical Nevus,Melanoma\na,X,,\nb,,x,\nc,,,X\n", ("nv", "nv", "mel")),
        ("image,melanoma,nevus,basal cell carcinoma\na,yes,no,no\nb,no,no,yes\n", ("mel", "bcc")),
        ("image,MEL,NV,malignant\na,1,0,1\nb,0,1,0\n", ("mel", "nv")),
        ("image,MEL,NV,score_weight\na,1,0,0.5\nb,0,1,1\n", ("mel", "nv")),
    ],
)
def test_marks_as_people_and_programs_write_them(tmp_path: Path, text: str, codes: tuple[str, ...]) -> None:
    assert read(tmp_path, text).codes == codes


def test_isic_2017_marks_two_of_its_three_classes(tmp_path: Path) -> None:
    assert read(tmp_path, ISIC2017).codes == ("nv", "mel", "bkl")
    assert read(tmp_path, ISIC2017, MELANOMA).truth(["melanoma"], MELANOMA).tolist() == [0, 1, 0]


def test_a_row_without_any_cell_has_no_label(tmp_path: Path) -> None:
    table = read(tmp_path, "image,MEL,NV\na,1,0\nb,,\nc,NA,NA\n")
    assert table.ids == ("a",)
    assert table.left_out == {"b": "no label", "c": "no label"}


@pytest.mark.parametrize("row", ["0,0,0", "1,1,0", "1,,0", "0.7,0.3,0", "1,0,maybe"])
def test_a_row_that_marks_no_class_alone_is_refused(tmp_path: Path, row: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"row 3 does not mark exactly one .*`label_column`"):
        read(tmp_path, f"image,MEL,NV,BCC\na,1,0,0\nb,{row}\n")


def test_marks_beside_a_malignant_column_must_agree_with_it(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match=r"MEL, \.\.\. .* and malignant disagree in 1 of 2"):
        read(tmp_path, "image,MEL,NV,BCC,malignant\na,1,0,0,1\nb,0,0,1,0\n")


def test_marks_that_cannot_be_used_are_said(tmp_path: Path) -> None:
    table = read(tmp_path, "image,dx,MEL,NV\na,mel,1,0\nb,nv,1,1\n")
    assert table.codes == ("mel", "nv")
    assert "columns MEL, NV do not mark one class in every row" in table.note


def test_benign_and_malignant_are_a_pair_of_marks_only_alone() -> None:
    assert mark_columns(["image", "benign", "malignant"], None) == ("benign", "malignant")
    assert mark_columns(["image", "mel", "nv", "malignant"], None) == ("mel", "nv")
    assert mark_columns(["image", "mel"], None) == ()


# --- words ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [("N", "Y"), ("negative", "positive"), ("benigno", "maligno"), ("gutartig", "b\u00f6sartig")]
)
def test_words_of_a_0_1_column(tmp_path: Path, words: tuple[str, str]) -> None:
    assert read(tmp_path, f"image,label\na,{words[1]}\nb,{words[0]}\nc,NA\n").truth().tolist() == [1, 0]


def test_numbers_of_classes_are_never_guessed(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="unknown label '5'"):
        read(tmp_path, "image,label\na,5\nb,4\n")


# --- parts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", ["val", "Validation", "valid"])
def test_a_part_has_several_names(tmp_path: Path, asked: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("image,dx,split\na,nv,train\nb,mel,VALIDATION\nc,bcc,Val\nd,nv,test\n")
    assert read_labels(path, HAM10000, split=asked).ids == ("b", "c")


def test_folders_of_parts_in_any_case(tmp_path: Path) -> None:
    for name in ("Train/nevus/a.jpg", "Test/melanoma/b.jpg", "Test/nevus/c.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    table = read_labels(tmp_path, HAM10000, split="test")
    assert table.ids == ("Test/melanoma/b.jpg", "Test/nevus/c.jpg")
    assert table.codes == ("mel", "nv")
