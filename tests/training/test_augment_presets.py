"""Presets against the published lists: their numbers, their effect beside the real libraries', their limits."""

from __future__ import annotations

import dataclasses
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")
pytest.importorskip("torchvision", reason="training needs the extra `train`")

from hypothesis import given, settings
from hypothesis import strategies as st

from skinclf.errors import InvalidArgumentError
from skinclf.images.synthetic import synthetic_lesion
from skinclf_training.augment import colour, geometry
from skinclf_training.augment.presets import PRESETS, OneOf, apply, augment_one, preset_steps
from skinclf_training.config.schema import AugmentConfig

SIZE = 64
PICTURE = synthetic_lesion(9, width=96, height=72)


def run(name: str, count: int, seed: int = 0, picture: np.ndarray = PICTURE) -> torch.Tensor:
    images = torch.from_numpy(picture).expand(count, *picture.shape)
    return apply(images, AugmentConfig(preset=name, size=SIZE), np.random.default_rng(seed))


def walk(steps: Any) -> Iterator[Any]:
    for step in steps:
        yield step
        if isinstance(step, OneOf):
            yield from walk(step.steps)


# --- what holds for every preset --------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
def test_shape_range_and_determinism(name: str) -> None:
    state, before = torch.get_rng_state(), np.random.get_state()[1].copy()
    one, two, other = run(name, 6, 1), run(name, 6, 1), run(name, 6, 2)
    assert one.shape == (6, 3, SIZE, SIZE)
    assert one.dtype == torch.float32
    assert one.min() >= 0
    assert one.max() <= 255
    assert torch.equal(one, two)
    assert torch.equal(one, other) == (name == "none")
    assert torch.equal(one[0], one[1]) == (name == "none")
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == before).all()


@pytest.mark.parametrize("name", PRESETS)
def test_an_image_is_the_same_alone_and_in_a_batch(name: str) -> None:
    images = torch.from_numpy(np.stack([synthetic_lesion(s, width=80, height=60) for s in range(5)]))
    batch = apply(images, AugmentConfig(preset=name, size=SIZE), np.random.default_rng(4))
    seeds = np.random.default_rng(4).integers(2**63, size=5)
    for image, seed, got in zip(images, seeds, batch, strict=True):
        alone = augment_one(image, preset_steps(name, SIZE), np.random.default_rng(seed))
        assert torch.allclose(alone, got, atol=1e-3)


@pytest.mark.parametrize("name", PRESETS)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32), lesion=st.integers(0, 200))
def test_no_black_and_no_white_pictures(name: str, seed: int, lesion: int) -> None:
    # One project's brightness step took floats of 0 to 1 for bytes, and made every picture black.
    picture = synthetic_lesion(lesion, width=80, height=60)
    out = run(name, 4, seed, picture)
    mean = float(picture.mean())
    for x in out:
        assert 0.25 * mean < float(x.mean()) < min(1.7 * mean + 10, 250)
        assert float(x.std()) > 2


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(
        InvalidArgumentError, match="Unknown augmentation preset 'domain'; expected `batch` or one"
    ):
        run("domain", 1)


# --- published numbers ------------------------------------------------------------------------

# preset: for each step but the flips, what its project published.
NUMBERS: dict[str, list[tuple[type, dict[str, Any]]]] = {
    "light": [(geometry.Affine, {"rotate": 15})],
    "medium": [
        (geometry.Affine, {"rotate": 30}),
        (colour.ColorJitter, {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.1}),
        (geometry.Affine, {"rotate": 0, "shift": 0.1, "scale": (0.9, 1.1)}),
    ],
    "heavy": [
        (geometry.Affine, {"rotate": 45}),
        (colour.ColorJitter, {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.15}),
        (geometry.Affine, {"rotate": 0, "shift": 0.15, "scale": (0.85, 1.15), "shear": 10}),
        (geometry.Perspective, {"distortion": 0.2, "p": 0.3}),
        (colour.Blur, {"kernel": 3, "sigma": (0.1, 2.0)}),
    ],
    "skinsight": [
        (
            geometry.KerasAffine,
            {"rotate": 30, "shift": 0.25, "shear": 0.2, "zoom": (0.8, 1.2), "fill": "border"},
        ),
        (colour.Shift, {"levels": 20, "within": True}),
        (colour.Brightness, {"factor": (0.8, 1.2)}),
    ],
    "devatreya": [
        (
            geometry.KerasAffine,
            {"rotate": 20, "shift": 0.2, "shear": 0.1, "zoom": (0.8, 1.2), "fill": "border"},
        ),
        (colour.Brightness, {"factor": (0.8, 1.2)}),
    ],
    "skinconditionassistant-tensorflow": [
        (geometry.KerasAffine, {"rotate": pytest.approx(10.8), "fill": "reflection"}),
        (geometry.KerasAffine, {"zoom": (0.92, 1.08), "tied": True, "fill": "reflection"}),
        (colour.Shift, {"levels": pytest.approx(0.15 * 255), "within": False}),
        (colour.Contrast, {"factor": (0.85, 1.15)}),
        (colour.ColorJitter, {"hue": 0.02, "brightness": 0, "contrast": 0, "saturation": 0}),
        (colour.Saturation, {"factor": (0.9, 1.1)}),
        (colour.Noise, {"levels": pytest.approx([5.1] * 3)}),
    ],
    "skinconditionassistant-torch": [
        (geometry.Affine, {"rotate": 3}),
        (geometry.ResizedCrop, {"area": (0.92, 1.0), "ratio": (0.75, 4 / 3)}),
        (colour.ColorJitter, {"brightness": 0.05, "contrast": 0.05, "saturation": 0.05, "hue": 0.05}),
        (colour.Noise, {"levels": pytest.approx([5.1 * s for s in (0.229, 0.224, 0.225)])}),
    ],
    "melanoma-analyzer": [
        (geometry.Affine, {"rotate": 20}),
        (colour.ColorJitter, {"brightness": 0.1, "contrast": 0.1, "saturation": 0.1, "hue": 0.1}),
    ],
    "melanoma-analyzer-balance": [
        (geometry.QuarterTurn, {}),
        (geometry.Affine, {"rotate": 45, "shift": 0.0625, "scale": (0.9, 1.1), "fill": "reflection"}),
        (geometry.OpticalDistortion, {"limit": 0.05}),
        (geometry.GridDistortion, {"cells": 5, "limit": 0.3}),
        (geometry.Elastic, {"corners": pytest.approx(50 / 450)}),
        (colour.HueSaturationValue, {"hue": 2 * 10, "saturation": 15, "value": 10}),
        (colour.Clahe, {"clip_limit": (1.0, 2.0), "tile": 8}),
        (colour.BrightnessContrast, {"brightness": 0.2, "contrast": 0.2}),
    ],
}
FLIPS = dict.fromkeys(NUMBERS, (0.5, 0.5)) | {
    "skinconditionassistant-tensorflow": (0.5, 0.0),
    "skinconditionassistant-torch": (0.3, 0.0),
}
SIZES = (geometry.Resize, geometry.Crop, geometry.Flip, OneOf)


@pytest.mark.parametrize("name", NUMBERS)
def test_published_numbers(name: str) -> None:
    steps = [s for s in walk(preset_steps(name, 224)) if not isinstance(s, SIZES)]
    assert [type(s) for s in steps] == [kind for kind, _ in NUMBERS[name]]
    for step, (_, numbers) in zip(steps, NUMBERS[name], strict=True):
        assert {k: getattr(step, k) for k in numbers} == numbers
        drawn = {"rotate", "shift", "shear"} & {f.name for f in dataclasses.fields(step)} - set(numbers)
        assert all(getattr(step, k) == 0 for k in drawn)


@pytest.mark.parametrize("name", sorted(set(NUMBERS) - {"melanoma-analyzer-balance"}))
def test_published_flips_and_sizes(name: str) -> None:
    steps = preset_steps(name, 224)
    (flip,) = (s for s in steps if isinstance(s, geometry.Flip))
    assert (flip.horizontal, flip.vertical) == FLIPS[name]
    assert steps[0].side == (256 if name in {"light", "medium", "heavy"} else 224)
    antialias = {"skinsight": False, "devatreya": False, "skinconditionassistant-tensorflow": False}
    assert steps[0].interpolation == ("nearest" if name == "skinsight" else "bilinear")
    assert name == "skinsight" or steps[0].antialias == antialias.get(name, True)


def test_published_chances_of_the_balancing_list() -> None:
    quarter, flip, affine, warp, hue, last = preset_steps("melanoma-analyzer-balance", 380)
    assert [s.p for s in (quarter, flip, affine, warp, hue)] == [0.5, 0.5, 0.5, 0.2, 0.3]
    assert warp.weights == (0.3, 0.1, 0.3)
    assert [(s.horizontal, s.vertical) for s in flip.steps] == [(1, 0), (0, 1), (1, 1)]
    assert last == geometry.Resize(side=380)


def test_one_of_chooses_by_weight() -> None:
    marks = tuple(colour.Brightness(factor=(f, f)) for f in (2.0, 3.0, 4.0))
    choice = OneOf(steps=marks, weights=(0.3, 0.1, 0.3), p=0.7)
    rng = np.random.default_rng(0)
    seen = [float(choice(torch.ones(3, 1, 1), rng)[0, 0, 0]) for _ in range(4000)]
    shares = [seen.count(f) / 4000 for f in (1.0, 2.0, 3.0, 4.0)]
    assert shares == pytest.approx([0.3, 0.3, 0.1, 0.3], abs=0.03)


# --- extremes that are drawn ------------------------------------------------------------------

GREY = torch.full((3, 8, 8), 100.0)


def drawn(step: Any, x: torch.Tensor = GREY, count: int = 400) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.array([float(step(x, rng).mean()) for _ in range(count)])


def test_brightness_reaches_its_ends_on_the_scale_of_bytes() -> None:
    # Published as 0.15 on pictures of 0 to 255, where it was invisible: 38 levels are meant.
    shift = next(
        s for s in preset_steps("skinconditionassistant-tensorflow", 8) if isinstance(s, colour.Shift)
    )
    levels = drawn(shift) - 100
    assert np.abs(levels).max() <= 38.25
    assert levels.min() < -37
    assert levels.max() > 37
    factors = drawn(colour.Brightness(factor=(0.8, 1.2))) / 100
    assert (factors.min(), factors.max()) == pytest.approx((0.8, 1.2), abs=0.01)


@pytest.mark.parametrize(
    ("name", "levels"),
    [
        ("skinconditionassistant-tensorflow", (5.1, 5.1, 5.1)),
        ("skinconditionassistant-torch", (1.168, 1.142, 1.148)),
    ],
)
def test_noise_has_its_published_size(name: str, levels: tuple[float, ...]) -> None:
    noise = next(s for s in preset_steps(name, 8) if isinstance(s, colour.Noise))
    out = noise(torch.full((3, 200, 200), 100.0), np.random.default_rng(0))
    assert out.std(dim=(1, 2)).tolist() == pytest.approx(levels, rel=0.02)
    assert out.mean().item() == pytest.approx(100, abs=0.1)


def test_channel_shift_moves_all_channels_and_stays_within_the_picture() -> None:
    x = torch.tensor([50.0, 100.0, 200.0])[:, None, None].expand(3, 4, 4)
    step = colour.Shift(levels=20, within=True)
    rng = np.random.default_rng(0)
    for _ in range(50):
        moved = step(x, rng)
        by = float(moved[1, 0, 0]) - 100
        assert abs(by) <= 20
        want = [max(50 + by, 50), 100 + by, min(200 + by, 200)]
        assert moved[:, 0, 0].tolist() == pytest.approx(want, abs=1e-4)


def test_turns_and_shifts_reach_their_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(geometry.Affine, "apply", lambda self, x, **drawn: seen.append(drawn) or x)
    step = geometry.Affine(rotate=45, shift=0.15, scale=(0.85, 1.15), shear=10)
    rng = np.random.default_rng(0)
    for _ in range(400):
        step(torch.zeros(3, 100, 200), rng)
    degrees = np.rad2deg([s["angle"] for s in seen])
    shears = np.rad2deg([s["shear"] for s in seen])
    shifts = np.stack([s["shift"] for s in seen])
    scales = np.array([s["scale"] for s in seen])
    assert (degrees.min(), degrees.max()) == pytest.approx((-45, 45), abs=1)
    assert (shears.min(), shears.max()) == pytest.approx((-10, 10), abs=0.2)
    assert shifts.max(axis=0).tolist() == pytest.approx([30, 15], rel=0.02)
    assert (scales.min(), scales.max()) == pytest.approx((0.85, 1.15), abs=0.01)


def test_the_sheet_of_presets_can_be_drawn() -> None:
    script = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "augmentation_sheet.py"))
    drawn = script["sheet"](PICTURE, ["none", "heavy"])
    pixels = np.asarray(drawn)
    assert drawn.width > 6 * script["SIDE"]
    first, second = (pixels[row * (script["SIDE"] + 28) + 28 :][: script["SIDE"]] for row in (0, 1))
    assert first.std() > 10
    assert np.abs(first.astype(int) - second).mean() > 5
