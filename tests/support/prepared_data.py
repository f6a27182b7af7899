"""Small data sets to be prepared: tables with the class mix of HAM10000, and folders of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from skinclf.labels import HAM10000

SHARES = {"train": 0.7, "val": 0.15, "test": 0.15}


def ham_like(seed: int, scale: int = 1) -> tuple[list[str], list[str]]:
    """Lesions of 1 to 6 images, with HAM10000's class mix."""
    rng = np.random.default_rng(seed)
    groups, labels = [], []
    for label, count in {
        "nv": 540,
        "mel": 61,
        "bkl": 73,
        "bcc": 33,
        "akiec": 23,
        "vasc": 10,
        "df": 8,
    }.items():
        for n in range(count * scale):
            size = int(rng.choice([1, 2, 3, 4, 5, 6], p=[0.74, 0.19, 0.06, 0.005, 0.003, 0.002]))
            groups += [f"{label}{n}"] * size
            labels += [label] * size
    return groups, labels


def make_data(folder: Path, *, per_class: int = 6) -> tuple[Path, list[Path]]:
    """Metadata and two image folders; every second lesion has two images."""
    dirs = [folder / "part_1", folder / "part_2"]
    for d in dirs:
        d.mkdir(parents=True)
    rng, lines, number = np.random.default_rng(0), ["lesion_id,image_id,dx,age"], 0
    for code in HAM10000.codes:
        for lesion in range(per_class):
            for _ in range(1 + lesion % 2):
                pixels = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(dirs[number % 2] / f"I{number:03}.jpg")
                lines.append(f"{code}-{lesion},I{number:03},{code},{30 + number}")
                number += 1
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    return folder / "metadata.csv", dirs
