"""Artefacts drawn over a picture, one kind each, and a clean lesion to draw them on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Array = npt.NDArray[np.uint8]


def clean_lesion(seed: int, *, width: int = 600, height: int = 450) -> Array:
    """A brown lesion on skin with grain, without anything above it."""
    rng = np.random.default_rng(seed)
    skin = np.array([225, 175, 155], np.float32) * rng.uniform(0.85, 1.05)
    spot = np.array([120, 75, 60], np.float32) * rng.uniform(0.7, 1.2)
    rows, cols = np.mgrid[:height, :width].astype(np.float32)
    coarse = rng.normal(0, 1, (12, 16)).astype(np.float32)
    wave = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    fine = rng.normal(0, 1, (height // 3, width // 3)).astype(np.float32)
    grain = np.asarray(Image.fromarray(fine).resize((width, height), Image.Resampling.BICUBIC))
    radius = (
        np.hypot((rows - height / 2) / (0.26 * height), (cols - width / 2) / (0.21 * width)) + 0.12 * wave
    )
    inside = np.clip((1.03 - radius) / 0.06, 0, 1)[..., None]
    picture = skin * (1 - inside) + spot * inside
    picture = picture * (1 + 0.02 * wave + 0.03 * grain)[..., None]
    return np.asarray(np.clip(picture, 0, 255), np.uint8)


def _draw(picture: Array) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.fromarray(picture)
    return image, ImageDraw.Draw(image)


def hair(picture: Array, rng: np.random.Generator) -> Array:
    image, draw = _draw(picture)
    width, height = image.size
    t = np.linspace(0, 1, 60)[:, None]
    for _ in range(7):
        start = rng.uniform(0.05, 0.95, 2) * [width, height]
        heading, length = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 0.9) * height
        end = start + length * np.array([np.cos(heading), np.sin(heading)])
        middle = (start + end) / 2 + rng.normal(0, 0.1 * length, 2)
        curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end
        draw.line(
            [tuple(x) for x in curve], fill=(35, 25, 22), width=max(2, round(height / 110)), joint="curve"
        )
    return np.asarray(image.filter(ImageFilter.GaussianBlur(height / 600)))


def ruler(picture: Array, rng: np.random.Generator) -> Array:
    image, draw = _draw(picture)
    width, height = image.size
    step = rng.uniform(0.05, 0.07) * width
    for i in range(1, int(width / step)):
        length = (0.075 if i % 5 else 0.12) * height
        draw.line((i * step, height, i * step, height - length), fill=(25, 25, 25), width=round(height / 110))
    return np.asarray(image)


def ink(picture: Array, rng: np.random.Generator) -> Array:
    image, draw = _draw(picture)
    width, height = image.size
    colour = [(70, 60, 170), (60, 90, 190), (110, 60, 180), (40, 130, 90)][int(rng.integers(4))]
    box = (0.12 * width, 0.06 * height, 0.88 * width, 0.94 * height)
    start = rng.uniform(0, 360)
    draw.arc(box, start, start + 80, fill=colour, width=round(height / 18))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(height / 250)))


def gel_bubbles(picture: Array, rng: np.random.Generator) -> Array:
    image, draw = _draw(picture)
    width, height = image.size
    for _ in range(6):
        x, y, r = (
            rng.uniform(0.1, 0.9) * width,
            rng.uniform(0.1, 0.9) * height,
            rng.uniform(0.04, 0.09) * height,
        )
        draw.ellipse((x - r, y - r, x + r, y + r), outline=(250, 245, 240), width=max(2, round(height / 80)))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(height / 600)))


def text(picture: Array, rng: np.random.Generator) -> Array:
    image, draw = _draw(picture)
    width, height = image.size
    letters = "".join(rng.choice(list("ABCDEGHKMNPRSUVXZ23456789"), 11))
    at = (rng.uniform(0.04, 0.3) * width, 0.03 * height)
    draw.text(at, letters, fill=(250, 250, 250), font=ImageFont.load_default(round(height / 13)))
    return np.asarray(image)


OVERLAYS = {"hair": hair, "ruler": ruler, "ink": ink, "gel_bubbles": gel_bubbles, "text": text}
