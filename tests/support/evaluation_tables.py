"""Small tables for the tests of evaluation: labels by lesion, and predictions that know something."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from skinclf.labels import HAM10000, MALIGNANT, LabelSet

SHARES = np.array([0.08, 0.1, 0.16, 0.06, 0.16, 0.38, 0.06])


def write_labels(path: Path, *, lesions: int = 150, seed: int = 0) -> list[dict[str, str]]:
    """A labels table like HAM10000's with a column `split` (by lesion); returns its rows."""
    rng = np.random.default_rng(seed)
    rows = []
    for lesion in range(lesions):
        code = HAM10000.codes[rng.choice(7, p=SHARES)]
        age = rng.choice(["", "0.0", "35.0", "45.0", "55.0", "60.0", "80.0"])
        common = {
            "lesion_id": f"HAM_{lesion:04}",
            "dx": code,
            "dx_type": "histo" if rng.random() < 0.6 else "follow_up",
            "age": str(age),
            "sex": str(rng.choice(["female", "male", "unknown"], p=[0.48, 0.48, 0.04])),
            "localization": str(rng.choice(["back", "face", "trunk"])),
            "split": "test" if lesion % 2 else "val",
        }
        rows += [{"image_id": f"I{lesion:04}_{i}", **common} for i in range(rng.integers(1, 4))]
    write_rows(path, rows)
    return rows


def write_predictions(
    path: Path, rows: list[dict[str, str]], *, skill: float = 2.5, seed: int = 1, labels: LabelSet = HAM10000
) -> np.ndarray:
    """A predictions table as `predict` writes it; returns the probabilities, float32."""
    rng = np.random.default_rng(seed)
    truth = np.array([HAM10000.position(row["dx"]) for row in rows])
    logits = rng.normal(size=(len(rows), 7)) + skill * np.eye(7)[truth] + np.log(SHARES)
    p: np.ndarray = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype(np.float32)
    malignant = list(HAM10000.malignant_indices or ())
    if len(labels) == 2:
        p = np.stack([1 - p[:, malignant].sum(1), p[:, malignant].sum(1)], axis=1)
        malignant = [1]
    scores = np.ascontiguousarray(p[:, malignant]).sum(axis=1, dtype=np.float32)
    write_rows(
        path,
        [
            {
                "image": row["image_id"] + ".jpg",
                "probability_malignant": str(score),
                **{f"p_{code}": str(x) for code, x in zip(labels.codes, values, strict=True)},
                "status": "ok",
                "error": "",
            }
            for row, score, values in zip(rows, scores, p, strict=True)
        ],
    )
    return p


def write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def rows_of(folder: Path, split: str = "test") -> list[dict[str, str]]:
    """The labels of one part."""
    with (folder / "labels.csv").open() as file:
        return [row for row in csv.DictReader(file) if row["split"] == split]


def write_folder(path: Path) -> Path:
    """Labels of all images, and predictions of each part by two models and by a two-class one."""
    rows = write_labels(path / "labels.csv")
    write_predictions(path / "all.csv", rows)
    for split in ("val", "test"):
        part = [row for row in rows if row["split"] == split]
        write_predictions(path / f"{split}.csv", part)
        write_predictions(path / f"{split}_b.csv", part, skill=1.2, seed=2)
        write_predictions(path / f"{split}_two.csv", part, labels=MALIGNANT)
    return path
