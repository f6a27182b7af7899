"""A ground truth by lesion labels the images that the table beside it names, as MILK10k is published."""

from __future__ import annotations

from pathlib import Path

import pytest

from skinclf.errors import InvalidArgumentError
from skinclf.labels import ISIC2019
from skinclf.tables.reference import read_labels
from skinclf_training.data.reading.metadata import read_records

TRUTH = "lesion_id,MEL,NV,BCC\nIL_1,1.0,0.0,0.0\nIL_2,0.0,1.0,0.0\n"
IMAGES = """lesion_id,image_type,isic_id,age_approx,sex
IL_1,dermoscopic,ISIC_11,50,male
IL_1,clinical: close-up,ISIC_12,50,male
IL_2,dermoscopic,ISIC_21,60,female
IL_2,clinical: close-up,ISIC_22,60,female
IL_3,dermoscopic,ISIC_31,70,female
"""


def tables(folder: Path, truth: str = TRUTH, images: str = IMAGES) -> Path:
    path = folder / "MILK10k_Training_GroundTruth.csv"
    path.write_text(truth)
    (folder / "MILK10k_Training_Metadata.csv").write_text(images)
    return path


def test_both_images_of_a_lesion_have_its_label(tmp_path: Path) -> None:
    table = read_labels(tables(tmp_path), ISIC2019)
    assert table.ids == ("ISIC_11", "ISIC_12", "ISIC_21", "ISIC_22")
    assert [code.lower() for code in table.codes or ()] == ["mel", "mel", "nv", "nv"]
    assert table.lesion_id == ("IL_1", "IL_1", "IL_2", "IL_2")


@pytest.mark.parametrize("named", [False, True])
def test_a_data_set_is_read_the_same_way(tmp_path: Path, named: bool) -> None:
    path = tables(tmp_path)
    images = tmp_path / "MILK10k_Training_Metadata.csv"
    if named:
        images = images.rename(tmp_path / "images.csv")
    read = read_records([path, images] if named else [path], labels=ISIC2019)
    assert [(r.image, r.lesion, r.label.lower()) for r in read.records] == [
        ("ISIC_11", "IL_1", "mel"),
        ("ISIC_12", "IL_1", "mel"),
        ("ISIC_21", "IL_2", "nv"),
        ("ISIC_22", "IL_2", "nv"),
    ]
    assert read.records[1].columns["image_type"] == "clinical: close-up"
    assert read.records[1].columns["age_approx"] == "50"
    assert read.lesions == 4


@pytest.mark.parametrize(
    ("truth", "images", "message"),
    [
        (TRUTH + "IL_1,0.0,1.0,0.0\n", IMAGES, "two rows"),
        (TRUTH + ",0.0,1.0,0.0\n", IMAGES, "no name"),
        (TRUTH + "IL_9,0.0,1.0,0.0\n", IMAGES, "no image of 1 labelled lesions, such as IL_9"),
        (TRUTH, "lesion_id,age\nIL_1,50\n", "no column names the image"),
    ],
)
def test_what_cannot_be_joined_is_refused(tmp_path: Path, truth: str, images: str, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        read_labels(tables(tmp_path, truth, images), ISIC2019)


def test_a_table_by_image_stays_one(tmp_path: Path) -> None:
    path = tables(tmp_path, "image,MEL,NV\nISIC_11,1,0\n")
    assert read_labels(path, ISIC2019).ids == ("ISIC_11",)
