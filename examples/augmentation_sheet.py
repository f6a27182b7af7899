"""Draw `docs/pictures/augmentation.png`: one synthetic lesion under every preset, six draws each."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from skinclf.images.decode import RGBArray
from skinclf.images.synthetic import synthetic_lesion
from skinclf_training.augment.batch import augment
from skinclf_training.augment.presets import PRESETS
from skinclf_training.config.schema import AugmentConfig

SIDE, GAP, LINE, DRAWS = 96, 6, 22, 6


def sheet(picture: RGBArray, presets: list[str]) -> Image.Image:
    """A row of augmented pictures for each preset, its name above it.

    Args:
        picture: Shape (H, W, 3), uint8, RGB.
        presets: Names that `AugmentConfig.preset` knows.
    """
    height = SIDE + LINE + GAP
    canvas = Image.new("RGB", (GAP + DRAWS * (SIDE + GAP), len(presets) * height + GAP), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=14)
    images = torch.from_numpy(picture).expand(DRAWS, *picture.shape)
    for row, preset in enumerate(presets):
        top = row * height + GAP
        draw.text((GAP, top), preset, fill="black", font=font)
        rng = np.random.default_rng(5)
        done = augment(images, AugmentConfig(preset=preset, size=SIDE), rng).round().to(torch.uint8)
        for column, x in enumerate(done):
            canvas.paste(
                Image.fromarray(x.permute(1, 2, 0).numpy()), (GAP + column * (SIDE + GAP), top + LINE)
            )
    return canvas


def main() -> None:
    """Write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("docs/pictures/augmentation.png"))
    arguments = parser.parse_args()
    picture = synthetic_lesion(9, width=240, height=180)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    names = ["none", "batch", *(name for name in PRESETS if name != "none")]
    sheet(picture, names).save(arguments.output, optimize=True)


if __name__ == "__main__":
    main()
