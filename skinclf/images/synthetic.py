"""Procedural dermoscopy-like images for examples and tests.

Everything is drawn from a random seed. Such images show that a pipeline works; they say nothing about how well a model
recognises lesions.

Colour follows Beer-Lambert: light is attenuated by `exp(-amount * absorption)` of melanin and
haemoglobin, so that any mixture of the two stays in the range of skin colours.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from skinclf.errors import InvalidArgumentError
from skinclf.images.decode import RGBArray

_Field = npt.NDArray[np.float32]

# Absorption of red, green and blue light per unit of pigment; chosen by eye from the spectra's order.
_MELANIN = np.array([0.52, 0.92, 1.30], np.float32)
_BLOOD = np.array([0.10, 0.80, 0.62], np.float32)
_VEIL = np.array([98, 98, 114], np.float32) / 255  # deep pigment seen through epidermis looks blue-white


def synthetic_lesion(seed: int, *, width: int = 600, height: int = 450) -> RGBArray:
    """Draw a synthetic dermoscopic image of a skin lesion.

    The seed decides everything: skin tone, the lesion's outline, its pigment (network, globules or
    structureless) and veil, and what lies above it (hairs, bubbles of the contact gel, reflections, the
    dermatoscope's dark rim, a ruler).

    Args:
        seed: Random seed, 0 or more; the same seed and size give the same image.
        width: Width in pixels, at least 16.
        height: Height in pixels, at least 16.

    Returns:
        Shape (height, width, 3), dtype uint8, RGB.

    Raises:
        InvalidArgumentError: The seed is negative or a side is too small.
    """
    if seed < 0 or min(width, height) < 16:
        raise InvalidArgumentError(
            f"Received seed {seed}, {width} x {height}; expected seed >= 0, sides >= 16 pixels."
        )
    rng = np.random.default_rng(seed)
    unit = min(width / 600, height / 450)  # everything is sized in pixels of a 600 x 450 picture
    shape = (height, width)

    melanin = rng.choice([0.05, 0.10, 0.18, 0.32, 0.62]) * rng.uniform(0.8, 1.2)
    blood = rng.uniform(0.08, 0.38)
    texture = _noise(rng, shape, 3.5 * unit, octaves=3)
    skin_melanin = melanin * (1 + 0.16 * _noise(rng, shape, 70 * unit, octaves=5)) + 0.03 * texture
    skin_blood = blood * (1 + 0.14 * _noise(rng, shape, 140 * unit, octaves=5)) + 0.015 * texture

    inside, depth = _outline(rng, shape, unit)
    pigment, veil = _pigment(rng, shape, unit, inside, depth)
    halo = np.asarray(np.clip(1.2 + depth * 3, 0, 1) * rng.uniform(0.0, 0.18), np.float32)
    skin_melanin = skin_melanin + pigment
    skin_blood = (
        skin_blood + halo + inside * rng.uniform(0.0, 0.28) * (1 + 0.4 * _noise(rng, shape, 40 * unit))
    )

    light = np.array([0.97, 0.93, 0.92], np.float32) * rng.normal(1, [0.01, 0.025, 0.045]).astype(np.float32)
    picture = light * np.exp(-np.maximum(skin_melanin, 0)[..., None] * _MELANIN)
    picture = picture * np.exp(-np.maximum(skin_blood, 0)[..., None] * _BLOOD)
    picture = picture * (1 - veil[..., None]) + _VEIL * veil[..., None]
    picture = _foreground(rng, picture.astype(np.float32), unit)
    picture = picture + rng.normal(0, 0.004, picture.shape)
    return np.asarray(np.clip(picture * 255 + 0.5, 0, 255), np.uint8)


def _noise(rng: np.random.Generator, shape: tuple[int, int], scale: float, *, octaves: int = 3) -> _Field:
    """Smooth fractal noise, mean about 0, amplitude about 1; `scale` is its largest feature in pixels."""
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        cell = max(1.0, scale / 2**octave)
        grid = rng.standard_normal((int(shape[0] / cell) + 3, int(shape[1] / cell) + 3)).astype(np.float32)
        size = (int(grid.shape[1] * cell), int(grid.shape[0] * cell))
        fine = np.asarray(Image.fromarray(grid).resize(size, Image.Resampling.BICUBIC))
        total += fine[: shape[0], : shape[1]] * np.float32(0.5**octave)
    return total


def _axes(shape: tuple[int, int]) -> tuple[_Field, _Field]:
    """Row and column of every pixel."""
    rows, cols = np.indices(shape, np.float32)
    return rows, cols


def _outline(rng: np.random.Generator, shape: tuple[int, int], unit: float) -> tuple[_Field, _Field]:
    """Coverage of each pixel by the lesion (0 to 1), and depth inside its border (1 at the centre)."""
    rows, cols = _axes(shape)
    y = (rows - shape[0] * rng.uniform(0.42, 0.58)) / unit
    x = (cols - shape[1] * rng.uniform(0.42, 0.58)) / unit
    angle, size, aspect = rng.uniform(0, np.pi), rng.uniform(90, 155), rng.uniform(1.0, 1.6)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    radius = np.hypot(along / aspect**0.5, across * aspect**0.5) / size
    ragged = rng.uniform(0.06, 0.22)
    wobble = ragged * _noise(rng, shape, 120 * unit, octaves=2) + 0.35 * ragged * _noise(
        rng, shape, 22 * unit
    )
    depth = np.asarray(1 - radius + wobble, np.float32)
    softness = rng.uniform(0.10, 0.40)
    ramp = np.clip(depth / softness + 0.5, 0, 1)
    return np.asarray(ramp * ramp * (3 - 2 * ramp), np.float32), depth


def _cells(rng: np.random.Generator, shape: tuple[int, int], pitch: float) -> tuple[_Field, _Field, _Field]:
    """Worley noise: distances (in pitches) to the two nearest points of a jittered grid, a value per cell."""
    rows, cols = (
        np.maximum(axis / np.float32(pitch) + 0.35 * _noise(rng, shape, 4 * pitch, octaves=2), 0)
        for axis in _axes(shape)
    )
    r0, c0 = rows.astype(np.int64), cols.astype(np.int64)
    points = rng.uniform(0.1, 0.9, (int(r0.max()) + 4, int(c0.max()) + 4, 3)).astype(np.float32)
    first, second, value = (np.full(shape, 9, np.float32) for _ in range(3))
    for dr in range(3):
        for dc in range(3):
            point = points[r0 + dr, c0 + dc]
            distance = np.hypot(r0 + dr - 1 + point[..., 0] - rows, c0 + dc - 1 + point[..., 1] - cols)
            value = np.where(distance < first, point[..., 2], value)
            second = np.minimum(second, np.maximum(first, distance))
            first = np.minimum(first, distance)
    return first, second, value


def _pigment(
    rng: np.random.Generator, shape: tuple[int, int], unit: float, inside: _Field, depth: _Field
) -> tuple[_Field, _Field]:
    """Melanin of the lesion, and the share of blue-white veil."""
    amount = rng.uniform(0.45, 1.5)
    patches = np.clip(0.75 + 0.35 * _noise(rng, shape, 70 * unit, octaves=4), 0.15, 2.2)
    grain = 1 + 0.12 * _noise(rng, shape, 6 * unit, octaves=2)
    fade = 0.55 + 0.45 * np.clip(depth * rng.uniform(1.0, 2.5), 0, 1)
    pigment = inside * amount * patches * grain * fade
    kind = rng.choice(["network", "globules", "both", "plain"], p=[0.4, 0.2, 0.25, 0.15])
    if kind in {"network", "both"}:
        first, second, _ = _cells(rng, shape, max(2.0, rng.uniform(7, 11) * unit))
        lines = np.clip(1 - (second - first) / 0.40, 0, 1)
        where = np.clip(0.6 + 0.5 * _noise(rng, shape, 80 * unit), 0, 1) * np.clip(1.5 - depth, 0, 1)
        pigment = pigment * (0.75 + rng.uniform(0.6, 1.1) * lines * where)
    if kind in {"globules", "both"}:
        first, _, value = _cells(rng, shape, max(2.0, rng.uniform(11, 18) * unit))
        dots = np.clip((0.10 + 0.30 * value - first) / 0.20, 0, 1) * (value > 0.4)
        pigment = pigment + inside * np.clip(depth * 4, 0, 1) * dots * rng.uniform(0.3, 0.7)
    veil = np.zeros(shape, np.float32)
    if rng.random() < 0.3:
        veil = np.clip(0.5 * _noise(rng, shape, 80 * unit, octaves=4) - 0.1, 0, 0.6) * np.clip(
            depth * 2.5, 0, 1
        )
    return np.asarray(pigment, np.float32), np.asarray(veil, np.float32)


def _foreground(rng: np.random.Generator, picture: _Field, unit: float) -> _Field:
    """Hairs, bubbles, reflections, ruler and dark rim, in the order in which light meets them last."""
    height, width = picture.shape[:2]
    picture = picture * np.exp(
        -_hairs(rng, (height, width), unit)[..., None] * np.array([1.0, 1.1, 1.15], np.float32)
    )
    shine = _bubbles(rng, (height, width), unit)[..., None]
    picture = picture * (1 - shine) + shine
    rows, cols = _axes((height, width))
    radius = np.hypot((rows / height - 0.5) * 0.75, cols / width - 0.5)
    picture = picture * (1 - rng.uniform(0.0, 0.7) * np.clip(radius - 0.22, 0, 1) ** 2 * 2.2)[..., None]
    if rng.random() < 0.2:
        rim = np.clip((rng.uniform(0.50, 0.56) - radius) * 40, 0, 1)
        picture = picture * (0.03 + 0.97 * rim)[..., None]
    elif rng.random() < 0.15:
        picture = picture * (1 - 0.8 * _ruler((height, width), unit))[..., None]
    return np.asarray(picture, np.float32)


def _canvas(shape: tuple[int, int]) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """A black drawing surface, three times as fine as the picture."""
    image = Image.new("L", (shape[1] * 3, shape[0] * 3))
    return image, ImageDraw.Draw(image)


def _settle(image: Image.Image, shape: tuple[int, int], blur: float) -> _Field:
    """The drawing at the picture's size, 0 to 1, slightly out of focus."""
    small = image.resize((shape[1], shape[0]), Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(blur))
    return np.asarray(np.asarray(small) / 255, np.float32)


def _hairs(rng: np.random.Generator, shape: tuple[int, int], unit: float) -> _Field:
    """Optical density of hairs: quadratic Bezier curves."""
    image, draw = _canvas(shape)
    t = np.linspace(0, 1, 40)[:, None]
    for _ in range(int(rng.choice([0, 2, 6, 14]) * rng.uniform(0.6, 1.4))):
        start = rng.uniform(0, [shape[1], shape[0]])
        heading, length = rng.uniform(0, 2 * np.pi), rng.uniform(60, 330) * unit
        end = start + length * np.array([np.cos(heading), np.sin(heading)])
        middle = (start + end) / 2 + rng.normal(0, 0.18 * length, 2)
        curve = ((1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end) * 3
        shade, thick = int(rng.uniform(70, 255)), max(1, round(rng.uniform(2.5, 6.5) * unit))
        draw.line([(float(x), float(y)) for x, y in curve], fill=shade, width=thick, joint="curve")
    return np.asarray(_settle(image, shape, 0.5 * unit) * rng.uniform(0.9, 2.2), np.float32)


def _bubbles(rng: np.random.Generator, shape: tuple[int, int], unit: float) -> _Field:
    """Added light of the gel's bubbles (a bright crescent) and of small reflections."""
    image, draw = _canvas(shape)
    for _ in range(int(rng.choice([0, 2, 7]))):
        x, y = rng.uniform(0, [shape[1], shape[0]]) * 3
        r, turn = rng.uniform(12, 50) * unit, rng.uniform(0, 360)
        box = (float(x - r), float(y - r), float(x + r), float(y + r))
        draw.ellipse(box, outline=70, width=max(1, round(3 * unit)))
        draw.arc(box, turn, turn + 110, fill=160, width=max(1, round(5 * unit)))
    for _ in range(int(rng.choice([0, 15, 60]))):
        x, y = rng.uniform(0, [shape[1], shape[0]]) * 3
        r = rng.uniform(1.2, 3.6) * unit
        draw.ellipse(
            (float(x - r), float(y - r), float(x + 2 * r), float(y + r)), fill=int(rng.uniform(60, 220))
        )
    return _settle(image, shape, 0.6 * unit)


def _ruler(shape: tuple[int, int], unit: float) -> _Field:
    """A millimetre scale along the lower edge."""
    image, draw = _canvas(shape)
    for i in range(1, int(shape[1] / (26 * unit)) + 1):
        x, length = i * 78 * unit, (66 if i % 5 == 0 else 36) * unit
        draw.line([(x, shape[0] * 3), (x, shape[0] * 3 - length)], fill=255, width=max(1, round(4 * unit)))
    return _settle(image, shape, 0.4 * unit)
