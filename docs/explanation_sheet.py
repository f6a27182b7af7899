"""Draw the contact sheet of docs/explain.md: maps of the built-in model on synthetic lesions.

Run after methods or overlays have changed: python docs/explanation_sheet.py

Synthetic images show what overlays look like; they say nothing about what the model sees in lesions.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from skinclf.explanation import Explainer
from skinclf.explanation.overlay import overlay
from skinclf.images.synthetic import synthetic_lesion

OUTPUT = Path(__file__).resolve().parent / "pictures" / "explanations.png"
METHODS = ("gradcam", "saliency", "occlusion")
#: Seed, width and height of each picture: a usual one, a wide one and a tall one.
PICTURES = ((3, 400, 300), (5, 400, 180), (8, 200, 300))
CELL, BAR = (400, 300), 24


def sheet() -> Image.Image:
    """One row for each picture: the picture, and its map by each method."""
    columns = ["picture", *METHODS]
    page = Image.new("RGB", (CELL[0] * len(columns), BAR + CELL[1] * len(PICTURES)), (255, 255, 255))
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(16)
    for column, name in enumerate(columns):
        draw.text((column * CELL[0] + 8, 3), name, font=font, fill=(20, 20, 20))
    first = Explainer(method=METHODS[0], workers=0)
    explainers = [first, *(Explainer(first.models, method=m, workers=0) for m in METHODS[1:])]
    for row, (seed, width, height) in enumerate(PICTURES):
        original = synthetic_lesion(seed, width=width, height=height)
        drawn = [original, *(overlay(original, e.explain(original)) for e in explainers)]
        for column, picture in enumerate(drawn):
            place = (
                column * CELL[0] + (CELL[0] - width) // 2,
                BAR + row * CELL[1] + (CELL[1] - height) // 2,
            )
            page.paste(Image.fromarray(np.asarray(picture)), place)
    return page


if __name__ == "__main__":
    sheet().quantize(192).save(OUTPUT, optimize=True)
