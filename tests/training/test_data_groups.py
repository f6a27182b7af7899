"""Data sets whose file names repeat, whose lesions are missing, or that name patients only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.prepared_data import SHARES

from skinclf.errors import InvalidArgumentError
from skinclf_training.data.locate import find_images, image_ids
from skinclf_training.data.prepare import prepare, read_prepared
from skinclf_training.data.reading.metadata import read_records
from skinclf_training.data.reading.split_files import read_split
from skinclf_training.data.split import shared_groups


def pictures(folder: Path, names: list[str]) -> Path:
    rng = np.random.default_rng(len(names))
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / name)
    return folder


def table(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(rows) + "\n")
    return path


# --- names that repeat ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (["x/a.jpg", "y/b.jpg"], ["a", "b"]),
        (["benign/1.jpg", "malignant/1.jpg"], ["benign/1", "malignant/1"]),
        (["D:\\s\\P1\\1.jpg", "D:\\s\\P2\\1.jpg", "D:\\s\\P2\\2.jpg"], ["P1/1", "P2/1", "P2/2"]),
        (["m/1.jpg", "m/1.png", "n/2.jpg"], ["m/1.jpg", "m/1.png", "n/2"]),
        (["a", "a"], ["a", "a"]),
    ],
)
def test_ids_have_the_folders_that_tell_them_apart(names: list[str], ids: list[str]) -> None:
    assert image_ids(names) == ids


def test_class_folders_that_number_their_images_anew(tmp_path: Path) -> None:
    names = [
        f"{part}/{label}/{k}.jpg" for part in ("train", "test") for label in ("NV", "MEL") for k in range(6)
    ]
    data = pictures(tmp_path / "in", names)
    prepare(data, [], tmp_path / "out", labels="malignant", shares=SHARES, image_level=True)
    prepared = read_prepared(tmp_path / "out")
    assert len(set(prepared.images)) == 24
    for image, path, target in zip(prepared.images, prepared.paths, prepared.targets, strict=True):
        assert path.resolve() == (data / f"{image}.jpg").resolve()
        assert prepared.labels.codes[target] == ("malignant" if "/MEL/" in image else "benign")


def test_images_of_one_size_and_time_are_not_taken_for_each_other(tmp_path: Path) -> None:
    import os

    names = [f"{label}/{k}.png" for label in ("NV", "MEL") for k in range(4)]
    data = pictures(tmp_path / "in", names)
    for name in names:
        (data / name).write_bytes((data / name).read_bytes().ljust(2000, b"\0"))
        os.utime(data / name, (1, 1))
    manifest = prepare(data, [], tmp_path / "out", labels="malignant", shares=SHARES, image_level=True)
    again = prepare(data, [], tmp_path / "out", labels="malignant", shares=SHARES, image_level=True)
    assert manifest["identical_files"] == again["identical_files"] == []


def test_tables_join_by_path(tmp_path: Path) -> None:
    labels = table(tmp_path / "l.csv", "image,dx", "P1/1.jpg,nv", "P2/1.jpg,mel")
    more = table(tmp_path / "m.csv", "image,lesion_id", "d/P2/1,L2", "d/P1/1,L1")
    assert [(r.image, r.lesion) for r in read_records([labels, more]).records] == [
        ("P1/1", "L1"),
        ("P2/1", "L2"),
    ]
    for rows in (("1,L1",), ("d/P1/1,L1", "e/P1/1,L3")):
        with pytest.raises(InvalidArgumentError, match="could each mean several"):
            read_records([labels, table(tmp_path / "bad.csv", "image,lesion_id", *rows)])
    other = table(tmp_path / "other.csv", "image,lesion_id", "P3/1,L1")
    with pytest.raises(InvalidArgumentError, match="knows none of the labelled images"):
        read_records([labels, other])


def test_a_split_names_images_by_path(tmp_path: Path) -> None:
    rows = [f"P{k}/1.jpg,nv" for k in range(3)]
    records = read_records([table(tmp_path / "l.csv", "image,dx", *rows)]).records
    split = table(tmp_path / "s.csv", "image,split", "P2/1,test", "P0/1,train", "P1/1,val")
    assert read_split(split).parts(records) == ["train", "val", "test"]


def test_files_are_those_of_the_named_folder(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "imgs", ["P1/1.jpg", "P2/1.jpg", "flat.jpg"])
    for name, file in (
        ("P1/1.jpg", "P1/1.jpg"),
        ("old\\imgs\\P2\\1.jpg", "P2/1.jpg"),
        ("renamed/P2/1", "P2/1.jpg"),
        ("flat", "flat.jpg"),
    ):
        assert find_images({"x": name}, [folder]) == {"x": folder / file}
    assert find_images({"x": "P3/1.jpg", "y": "P3/flat.jpg"}, [folder]) == {}
    with pytest.raises(InvalidArgumentError, match="could each mean several"):
        find_images({"x": "1.jpg"}, [folder])


# --- lesions and patients ---------------------------------------------------------------------


@pytest.mark.parametrize("word", ["", "NA", "nan", "None", "NULL", "n/a", "unknown", "<NA>"])
def test_an_image_without_a_lesion_stands_alone(tmp_path: Path, word: str) -> None:
    read = read_records(
        [table(tmp_path / "l.csv", "image,lesion_id,dx", f"a,{word},nv", f"b,{word},nv", "c,L,nv")]
    )
    assert [r.lesion for r in read.records] == ["a", "b", "L"]
    assert read.lesions == 1


@pytest.mark.parametrize(
    ("header", "cells"),
    [
        ("image,patient_id,dx", "{i},IP_{p},{dx}"),
        ("image,Patient_ID,lesion_id,dx", "{i},IP_{p},NA,{dx}"),
        ("image,subject_id,dx", "{i},{p},{dx}"),
    ],
)
@pytest.mark.parametrize("image_level", [False, True])
def test_patients_stay_together_where_no_lesion_is_named(
    tmp_path: Path, header: str, cells: str, *, image_level: bool
) -> None:
    images = pictures(tmp_path / "in", [f"{k}.jpg" for k in range(48)])
    rows = [cells.format(i=k, p=k // 4, dx="mel" if k // 4 % 2 else "nv") for k in range(48)]
    metadata = table(tmp_path / "l.csv", header, *rows)
    out = tmp_path / "out"
    manifest = prepare(metadata, [images], out, labels="malignant", shares=SHARES, image_level=image_level)
    prepared = read_prepared(out)
    patients = [str(int(image) // 4) for image in prepared.images]
    assert set(prepared.parts) == {"train", "val", "test"}
    assert shared_groups(patients, prepared.parts) == 0
    assert manifest["grouped_by"] == header.split(",")[1]
    assert (manifest["lesions"], manifest["patients_in_several_parts"]) == (12, 0)


def test_patients_with_lesions_in_several_parts_are_counted(tmp_path: Path) -> None:
    images = pictures(tmp_path / "in", [f"{k}.jpg" for k in range(24)])
    rows = [f"{k},L{k},P{k % 2},{'mel' if k % 2 else 'nv'}" for k in range(24)]
    metadata = table(tmp_path / "l.csv", "image,lesion_id,patient_id,dx", *rows)
    manifest = prepare(metadata, [images], tmp_path / "out", labels="malignant", shares=SHARES)
    assert (manifest["grouped_by"], manifest["patients_in_several_parts"]) == ("lesion_id", 2)
