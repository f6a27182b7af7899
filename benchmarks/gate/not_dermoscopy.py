"""Pictures that are not dermoscopy, drawn from a seed: x-ray-like greys, documents, faces, noise, drawings.

They evaluate the image gate; nothing is fitted on them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Array = npt.NDArray[np.uint8]
SIZE = (320, 240)


def xray(rng: np.random.Generator) -> Array:
    """Grey: soft tissue, bright arcs like ribs, a dark surround."""
    picture = Image.new("L", SIZE, int(rng.uniform(0, 40)))
    draw = ImageDraw.Draw(picture)
    width, height = SIZE
    draw.ellipse((width * 0.12, height * 0.02, width * 0.88, height * 1.1), fill=int(rng.uniform(70, 130)))
    for side in (0.18, 0.54):
        box = (width * side, height * 0.12, width * (side + 0.28), height * 0.9)
        draw.ellipse(box, fill=int(rng.uniform(20, 60)))
    draw.rectangle((width * 0.46, 0, width * 0.54, height), fill=int(rng.uniform(150, 220)))
    for row in np.linspace(0.05, 0.9, int(rng.integers(5, 10))):
        shade, thick = int(rng.uniform(110, 190)), int(rng.integers(3, 9))
        for side in (0.12, 0.52):
            arc = (width * side, height * row, width * (side + 0.36), height * (row + 0.3))
            draw.arc(arc, 180, 360, fill=shade, width=thick)
    soft = np.asarray(picture.filter(ImageFilter.GaussianBlur(rng.uniform(1, 4))), np.float32)
    grey = np.clip(soft + rng.normal(0, rng.uniform(2, 9), soft.shape), 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def document(rng: np.random.Generator) -> Array:
    """A page with lines of letters, a heading and at times a table or a stamp."""
    paper = tuple(int(x) for x in rng.uniform(215, 256, 3))
    picture = Image.new("RGB", SIZE, paper)
    draw = ImageDraw.Draw(picture)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz      "))
    size = int(rng.integers(8, 15))
    font = ImageFont.load_default(size)
    ink = tuple(int(x) for x in rng.uniform(0, 90, 3))
    draw.text((20, 8), "".join(rng.choice(letters, 18)).upper(), fill=ink, font=ImageFont.load_default(18))
    for row in range(36, SIZE[1] - 14, size + int(rng.integers(3, 8))):
        draw.text((20, row), "".join(rng.choice(letters, int(rng.integers(20, 60)))), fill=ink, font=font)
    if rng.random() < 0.4:
        for column in range(20, 300, 56):
            draw.line((column, 120, column, 220), fill=ink)
        for row in range(120, 221, 20):
            draw.line((20, row, 300, row), fill=ink)
    if rng.random() < 0.4:
        x, y = rng.uniform(150, 240), rng.uniform(120, 180)
        draw.ellipse((x, y, x + 50, y + 50), outline=(180, 30, 40), width=4)
    turned = picture.rotate(rng.uniform(-6, 6), fillcolor=paper, resample=Image.Resampling.BICUBIC)
    return np.asarray(turned.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.8))))


def face(rng: np.random.Generator) -> Array:
    """A drawn face: skin-coloured oval, hair, eyes, nose, mouth, on any ground."""
    ground = tuple(int(x) for x in rng.uniform(20, 250, 3))
    tone = np.array([230, 185, 155]) * rng.uniform(0.4, 1.08)
    skin = tuple(int(x) for x in np.clip(tone, 0, 255))
    picture = Image.new("RGB", SIZE, ground)
    draw = ImageDraw.Draw(picture)
    x, y, r = rng.uniform(120, 200), rng.uniform(100, 140), rng.uniform(60, 105)
    hair = tuple(int(v) for v in rng.uniform(10, 120, 3))
    draw.ellipse((x - r, y - 1.35 * r, x + r, y + r), fill=hair)
    draw.ellipse((x - 0.8 * r, y - r, x + 0.8 * r, y + 1.15 * r), fill=skin)
    for side in (-1, 1):
        ex, ey = x + side * 0.33 * r, y - 0.15 * r
        draw.ellipse((ex - 0.16 * r, ey - 0.09 * r, ex + 0.16 * r, ey + 0.09 * r), fill=(250, 250, 250))
        draw.ellipse((ex - 0.07 * r, ey - 0.07 * r, ex + 0.07 * r, ey + 0.07 * r), fill=(60, 40, 30))
        draw.line((ex - 0.2 * r, ey - 0.24 * r, ex + 0.2 * r, ey - 0.27 * r), fill=hair, width=4)
    dark = tuple(int(v * 0.75) for v in skin)
    draw.line((x, y - 0.05 * r, x - 0.1 * r, y + 0.3 * r, x + 0.08 * r, y + 0.32 * r), fill=dark, width=3)
    mouth = (x - 0.35 * r, y + 0.35 * r, x + 0.35 * r, y + 0.75 * r)
    draw.arc(mouth, 20, 160, fill=(170, 50, 60), width=int(rng.integers(3, 9)))
    soft = np.asarray(picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 1.5))), np.float32)
    return np.clip(soft + rng.normal(0, 3, soft.shape), 0, 255).astype(np.uint8)


def noise(rng: np.random.Generator) -> Array:
    """Coloured noise of any coarseness."""
    cell = int(rng.choice([1, 2, 4, 8, 16, 40]))
    grid = rng.uniform(0, 255, (SIZE[1] // cell + 1, SIZE[0] // cell + 1, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(grid).resize(SIZE, Image.Resampling.BICUBIC))


def drawing(rng: np.random.Generator) -> Array:
    """Plain shapes in plain colours."""
    picture = Image.new("RGB", SIZE, tuple(int(x) for x in rng.uniform(0, 256, 3)))
    draw = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(4, 16))):
        fill = tuple(int(x) for x in rng.uniform(0, 256, 3))
        x, y = rng.uniform(0, SIZE[0]), rng.uniform(0, SIZE[1])
        a, b = rng.uniform(10, 120, 2)
        if rng.random() < 0.5:
            draw.ellipse((x - a, y - b, x + a, y + b), fill=fill)
        else:
            draw.polygon([(x + u, y + v) for u, v in rng.uniform(-90, 90, (4, 2))], fill=fill)
    return np.asarray(picture)


KINDS: dict[str, Callable[[np.random.Generator], Array]] = {
    "xray": xray,
    "document": document,
    "face": face,
    "noise": noise,
    "drawing": drawing,
}


def draw_one(kind: str, seed: int) -> Array:
    """One picture of a kind, shape (240, 320, 3), uint8."""
    return KINDS[kind](np.random.default_rng([seed, list(KINDS).index(kind)]))
