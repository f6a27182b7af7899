"""Evaluation of tables whose names need their folders, and of images grouped by lesion or patient."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.evaluation_tables import write_rows

from skinclf.decisions.tuning_data import data_identity, seen
from skinclf.errors import InvalidArgumentError, LeakageError
from skinclf.evaluation.comparison import on_common_images
from skinclf.evaluation.evaluate import evaluate
from skinclf.evaluation.labelled_predictions import label_predictions
from skinclf.evaluation.leakage import find_overlaps
from skinclf.tables.predictions import join, read_labels, read_predictions


def predictions(path: Path, names: list[str], malignant: list[float]) -> Path:
    write_rows(
        path,
        [
            {"image": n, "probability_malignant": str(np.float32(p))}
            for n, p in zip(names, malignant, strict=True)
        ],
    )
    return path


def labels(path: Path, rows: list[dict[str, str]]) -> Path:
    write_rows(path, rows)
    return path


def test_class_folders_that_number_their_images_anew_are_evaluated(tmp_path: Path) -> None:
    names = [f"{kind}/{k}.jpg" for kind in ("benign", "malignant") for k in range(4)]
    for name in names:
        (tmp_path / "test" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "test" / name).write_bytes(b"")
    scores = [0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9]
    table = predictions(tmp_path / "p.csv", [f"k\\test\\{name}" for name in reversed(names)], scores[::-1])
    result = evaluate(table, tmp_path / "test", replicates=5)
    assert result.metrics["data"]["n"] == 8
    assert result.metrics["binary"]["roc_auc"]["value"] == 1
    assert result.metrics["settings"]["group_by"] is None


def test_labels_of_another_patient_are_refused(tmp_path: Path) -> None:
    table = predictions(tmp_path / "p.csv", [f"P2/{k}.jpg" for k in range(4)], [0.1, 0.9, 0.2, 0.8])
    truth = labels(tmp_path / "l.csv", [{"image": f"P1/{k}.jpg", "label": str(k % 2)} for k in range(4)])
    with pytest.raises(InvalidArgumentError, match=r"None of the 4 predictions.*P1/0\.jpg is not P2/0\.jpg"):
        evaluate(table, truth, replicates=5)


@pytest.mark.parametrize(
    ("columns", "group_by", "groups"),
    [
        ({"lesion_id": ["L1", "L1", "NA", "nan", "None", "NULL"]}, "lesion_id", 5),
        ({"lesion": ["L1", "L1", "L2", "L2", "", "-"]}, "lesion_id", 4),
        ({"patient_id": ["P1", "P1", "P1", "P2", "P2", "n/a"]}, "patient_id", 3),
        ({"lesion_id": ["NA"] * 6, "patient_id": ["P1", "P1", "P1", "P2", "P2", "P2"]}, "patient_id", 2),
        (
            {"lesion_id": ["L1", "L1", "NA", "NA", "NA", "NA"], "patient_id": ["P1"] * 4 + ["", ""]},
            "lesion_id",
            4,
        ),
        ({"lesion_id": ["NA"] * 6}, None, 6),
        ({"site": ["back"] * 6}, None, 6),
    ],
)
def test_lesions_else_patients_group_images(
    tmp_path: Path, columns: dict[str, list[str]], group_by: str | None, groups: int
) -> None:
    names = [str(k) for k in range(6)]
    rows = [
        {"image": n, "label": str(k % 2), **{c: v[k] for c, v in columns.items()}}
        for k, n in enumerate(names)
    ]
    table = read_predictions(predictions(tmp_path / "p.csv", names, [0.1, 0.9, 0.2, 0.8, 0.3, 0.7]))
    cases = label_predictions(join(table, read_labels(labels(tmp_path / "l.csv", rows))))
    assert (cases.group_by, cases.lesions) == (group_by, groups)


def test_a_patient_in_two_splits_is_a_leak(tmp_path: Path) -> None:
    rows = [
        {
            "image": str(k),
            "label": str(k % 2),
            "patient_id": "NA" if k < 2 else f"P{k % 3}",
            "split": "test" if k % 2 else "train",
        }
        for k in range(12)
    ]
    truth = labels(tmp_path / "l.csv", rows)
    table = predictions(tmp_path / "p.csv", [row["image"] for row in rows], [0.1, 0.9] * 6)
    with pytest.raises(LeakageError, match="3 lesions"):
        evaluate(table, truth, split="test", replicates=5)


def test_images_of_other_folders_are_no_leak_where_file_names_repeat(tmp_path: Path) -> None:
    rows = [{"image": f"test/{kind}/{k}.jpg", "label": "1"} for kind in "bm" for k in range(3)]
    tested = read_labels(labels(tmp_path / "l.csv", rows))

    def shared(*names: str) -> tuple[str, ...]:
        used = predictions(tmp_path / "u.csv", list(names), [0.5] * len(names))
        return find_overlaps(tested, tested, tuned_on=[used])[0].images

    assert shared("train/b/0.jpg", "test\\b\\2.png") == ("test/b/2.jpg",)
    # A bare name could be any of that name: it counts.
    assert shared("1.jpg") == ("test/b/1.jpg", "test/m/1.jpg")


def test_one_file_name_in_two_folders_is_a_leak_where_file_names_do_not_repeat(tmp_path: Path) -> None:
    tested = read_labels(
        labels(tmp_path / "l.csv", [{"image": f"test/ISIC_{k}.jpg", "label": "1"} for k in range(3)])
    )
    used = predictions(tmp_path / "u.csv", ["val/ISIC_2.jpg", "val/ISIC_7.jpg"], [0.5, 0.5])
    assert find_overlaps(tested, tested, tuned_on=[used])[0].images == ("test/ISIC_2.jpg",)


def test_a_threshold_knows_the_images_of_its_folders_only(tmp_path: Path) -> None:
    names = [f"d/val/{kind}/{k}.jpg" for kind in "bm" for k in range(2)]
    truth = read_labels(
        labels(tmp_path / "l.csv", [{"image": n[2:], "label": str(k % 2)} for k, n in enumerate(names)])
    )
    rows = join(read_predictions(predictions(tmp_path / "p.csv", names, [0.1, 0.9, 0.2, 0.8])), truth)
    made = data_identity(rows, *rows.binary(), predictions="p", labels="l")
    tested = ["test/b/0.jpg", "val/b/1.png", "/mnt/d/val/m/0", "e/val/b/1.jpg", "1", "7"]
    assert seen(made, images=tested, lesions=[]) == ("val/b/1.png", "/mnt/d/val/m/0", "1")


def test_two_models_meet_on_the_same_paths(tmp_path: Path) -> None:
    truth = read_labels(
        labels(tmp_path / "l.csv", [{"image": f"P{k}/0.jpg", "label": str(k % 2)} for k in range(4)])
    )
    tables = [
        join(read_predictions(predictions(tmp_path / "p.csv", names, [0.1, 0.9, 0.2, 0.8])), truth)
        for names in ([f"x/P{k}/0.jpg" for k in range(4)], [f"y/P{k}/0.jpg" for k in (3, 2, 1, 0)])
    ]
    a, b = on_common_images(*map(label_predictions, tables))
    assert a.ids == ("x/P0/0.jpg", "x/P1/0.jpg", "x/P2/0.jpg", "x/P3/0.jpg")
    assert b.ids == ("y/P0/0.jpg", "y/P1/0.jpg", "y/P2/0.jpg", "y/P3/0.jpg")
