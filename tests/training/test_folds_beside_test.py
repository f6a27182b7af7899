"""Folds beside one test part: it is the same in all, no lesion crosses, and every other image is validated once."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from support.prepared_data import SHARES, ham_like, make_data

from skinclf.errors import InvalidArgumentError, LeakageError
from skinclf_cli.main import run as cli
from skinclf_training.data.prepare import prepare, read_prepared
from skinclf_training.data.prepared import Prepared
from skinclf_training.data.split import folds_beside_test, grouped_split, shared_groups


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    return make_data(tmp_path_factory.mktemp("data"), per_class=8)


def read(folder: Path, folds: int) -> list[Prepared]:
    return [read_prepared(folder / f"fold{i}") for i in range(folds)]


def test_every_other_image_is_validated_once_and_no_lesion_crosses() -> None:
    groups, labels = ham_like(3)
    parts = grouped_split(groups, labels, shares=SHARES, seed=5)
    splits = folds_beside_test(groups, labels, folds=4, parts=parts, seed=5)
    tested = [p == "test" for p in parts]
    assert all([p == "test" for p in split] == tested for split in splits)
    assert all(shared_groups(groups, split) == 0 for split in splits)
    validated = [sum(split[i] == "val" for split in splits) for i in range(len(parts))]
    assert validated == [0 if t else 1 for t in tested]


def test_the_test_part_is_that_of_a_single_split(data: tuple[Path, list[Path]], tmp_path: Path) -> None:
    metadata, images = data
    options: dict[str, Any] = {"shares": SHARES, "seed": 4, "workers": 1}
    single = prepare(metadata, images, tmp_path / "single", **options)
    prepare(metadata, images, tmp_path / "cv", folds=3, test_share=15, **options)
    folds = read(tmp_path / "cv", 3)
    tests = [set(single["image_ids"]["test"])]
    tests += [{f.images[i] for i in f.rows("test")} for f in folds]
    assert tests[0]
    assert all(t == tests[0] for t in tests)
    validated = [f.images[i] for f in folds for i in f.rows("val")]
    assert sorted(validated) == sorted(set(folds[0].images) - tests[0])
    record = json.loads((tmp_path / "cv" / "folds.json").read_text())
    assert record["left_out"] == "val"
    assert record["test_images"] == len(tests[0])


def test_an_existing_test_part_stays_untouched(data: tuple[Path, list[Path]], tmp_path: Path) -> None:
    metadata, images = data
    options: dict[str, Any] = {"shares": SHARES, "seed": 4, "workers": 1}
    single = prepare(metadata, images, tmp_path / "single", **options)
    prepare(
        metadata, images, tmp_path / "cv", folds=2, use_split=tmp_path / "single" / "split.csv", **options
    )
    for fold in read(tmp_path / "cv", 2):
        assert {fold.images[i] for i in fold.rows("test")} == set(single["image_ids"]["test"])
    rows = list(csv.DictReader((tmp_path / "single" / "split.csv").open()))
    lesion = next(r["lesion_id"] for r in rows if sum(q["lesion_id"] == r["lesion_id"] for q in rows) > 1)
    first = next(r for r in rows if r["lesion_id"] == lesion)
    first["split"] = "val" if first["split"] == "test" else "test"
    with (tmp_path / "torn.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(LeakageError, match="1 lesions are in its test part"):
        prepare(metadata, images, tmp_path / "x", folds=2, use_split=tmp_path / "torn.csv", **options)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"test_share": 15}, "for `folds`"),
        ({"test_share": 100, "folds": 3}, "above 0 and below 100"),
        ({"test_share": 0, "folds": 3}, "above 0 and below 100"),
    ],
)
def test_shares_that_make_no_test_part_are_refused(
    data: tuple[Path, list[Path]], tmp_path: Path, options: dict[str, Any], match: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=match):
        prepare(*data, tmp_path / "x", shares=SHARES, workers=1, **options)


def test_the_record_and_the_tables_name_the_images_of_each_part(
    data: tuple[Path, list[Path]], tmp_path: Path
) -> None:
    metadata, images = data
    command = ["data", "prepare", "-q", "--metadata", str(metadata), "--workers", "1"]
    for folder in images:
        command += ["--image-dir", str(folder)]
    assert cli([*command, "--folds", "2", "--test-share", "20", "--output", str(tmp_path / "cv")]) == 0
    for fold in read(tmp_path / "cv", 2):
        for part in ("train", "val", "test"):
            own = [fold.images[i] for i in fold.rows(part)]
            with (fold.folder / f"split_{part}.csv").open(newline="") as file:
                assert [row["image_id"] for row in csv.DictReader(file)] == own
            assert fold.manifest["image_ids"][part] == own
            assert own
