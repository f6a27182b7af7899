"""How far pictures that look the same lie apart, and those of other lesions: `python -m benchmarks.gate.duplicates`.

python -m benchmarks.gate.duplicates --images HAM10000 --labels data/prepared/split.csv
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

from benchmarks.results import json_option, report, write
from skinclf.images.decode import load_picture
from skinclf.inference.gate.duplicates import DISTANCE, SIDE, signature
from skinclf.inference.gate.gate import blocks
from skinclf.inference.gate.picture import PATCHES, measure

BITS = SIDE**2


def compressed(picture: Image.Image) -> Image.Image:
    """The picture after JPEG compression at quality 40."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=40)
    return Image.open(buffer).convert("RGB")


def cut(picture: Image.Image) -> Image.Image:
    """The picture without 2 % at each side."""
    down, across = picture.height // 50, picture.width // 50
    return picture.crop((across, down, picture.width - across, picture.height - down))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG at quality 40": compressed,
    "half the sides": lambda p: p.resize((p.width // 2, p.height // 2), Image.Resampling.LANCZOS),
    "twice the sides": lambda p: p.resize((2 * p.width, 2 * p.height), Image.Resampling.BICUBIC),
    "15 % brighter": lambda p: p.point(lambda value: min(255, int(1.15 * value))),
    "2 % cut off at each side": cut,
}


def signs(picture: Image.Image) -> Any:
    """The bits of a signature as -1 and 1."""
    found = signature(measure(picture, marks=False)[blocks()[PATCHES]])
    return np.unpackbits(np.frombuffer(found, np.uint8)).astype(np.float32) * 2 - 1


@click.command()
@click.option("--images", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--labels", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--part", default="test", show_default=True)
@json_option
def main(images: Path, labels: Path, part: str, output: Path | None) -> None:
    """Print the share of changed copies and of pairs of lesions that lie within the limit."""
    with labels.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == part]
    pictures = [load_picture(images / f"{row['image_id']}.jpg") for row in rows]
    all_signs = np.stack([signs(picture) for picture in pictures])
    apart = (BITS - all_signs @ all_signs.T) / 2
    lesion = np.array([row["lesion_id"] for row in rows])
    upper = np.triu(np.ones(apart.shape, bool), 1)
    same = lesion[:, None] == lesion
    near = apart <= DISTANCE
    found: dict[str, Any] = {
        "note": f"Images of the part {part!r}, which do not come with skinclf.",
        "limit": DISTANCE,
        "images": len(rows),
        "pairs_of_other_lesions": int((upper & ~same).sum()),
        "of_them_near": int((upper & ~same & near).sum()),
        "pairs_of_one_lesion": int((upper & same).sum()),
        "of_those_near": int((upper & same & near).sum()),
        "changed_copies_near": {
            name: float(
                np.mean(
                    (BITS - (np.stack([signs(change(p)) for p in pictures]) * all_signs).sum(1)) / 2
                    <= DISTANCE
                )
            )
            for name, change in CHANGES.items()
        },
    }
    print(json.dumps(found, indent=1))
    write(output, report(found))


if __name__ == "__main__":
    main()
