"""Presets against the published lists: their numbers, their effect beside the real libraries', their limits."""

from __future__ import annotations

import dataclasses
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")
pytest.importorskip("torchvision", reason="training needs the extra `train`")

import torchvision.transforms.v2 as T
import torchvision.transforms.v2.functional as V
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from skinclf.errors import InvalidInputError
from skinclf.synthetic import synthetic_lesion
from skinclf_training import augment_colour as colour
from skinclf_training import augment_geometry as geometry
from skinclf_training.augment_presets import PRESETS, OneOf, apply, augment_one, preset_steps
from skinclf_training.schema import AugmentConfig

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
        InvalidInputError, match="Unknown augmentation preset 'domain'; expected `batch` or one"
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


# --- beside the libraries: one change with the same numbers -------------------------------------


def picture(width: int = 64, height: int = 48) -> torch.Tensor:
    return torch.from_numpy(synthetic_lesion(5, width=width, height=height)).permute(2, 0, 1).float()


@pytest.mark.parametrize(
    ("angle", "shear", "scale", "shift"),
    [(30, 0, 1, (0, 0)), (0, 10, 1, (0, 0)), (0, 0, 1.15, (6, -4)), (-20, 8, 0.9, (-5, 7))],
)
def test_affine_is_torchvisions(angle: float, shear: float, scale: float, shift: tuple[int, int]) -> None:
    x = picture()
    mode = V.InterpolationMode.BILINEAR
    want = V.affine(x, angle, list(shift), scale, [shear, 0.0], interpolation=mode)
    step = geometry.Affine(interpolation="bilinear")
    got = step.apply(
        x, angle=np.deg2rad(angle), shear=np.deg2rad(shear), scale=scale, shift=np.array(shift, float)
    )
    inside = V.affine(torch.ones_like(x), angle, list(shift), scale, [shear, 0.0], interpolation=mode) == 1
    assert inside.float().mean() > 0.5
    assert (got - want)[inside].abs().max() < 0.1
    assert (got == 0).float().mean() == pytest.approx(float((want == 0).float().mean()), abs=0.03)


def test_optical_distortion_is_opencvs(monkeypatch: pytest.MonkeyPatch) -> None:
    cv2 = pytest.importorskip("cv2")
    x, k = picture(), 0.05
    monkeypatch.setattr(geometry, "_either", lambda limit, rng: limit)
    got = geometry.OpticalDistortion(limit=k)(x, np.random.default_rng(0))
    camera = np.array([[64, 0, 31.5], [0, 48, 23.5], [0, 0, 1]], np.float32)
    distortion = np.array([k, k, 0, 0, 0], np.float32)
    maps = cv2.initUndistortRectifyMap(camera, distortion, None, None, (64, 48), cv2.CV_32FC1)
    rows = x.permute(1, 2, 0).numpy()
    want = cv2.remap(rows, *maps, interpolation=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    difference = np.abs(got.permute(1, 2, 0).numpy() - want)
    assert difference[3:-3, 3:-3].max() < 2  # OpenCV's maps count 32nds of a pixel
    assert np.abs(want - rows).max() > 10


def test_grid_distortion_keeps_cells_straight_and_in_order() -> None:
    ramp = torch.arange(100.0).expand(3, 100, 100)
    out = geometry.GridDistortion(cells=5, limit=0.3)(ramp, np.random.default_rng(1))
    assert torch.allclose(out[0, 0], out[0, 60], atol=1e-3)
    slopes = out[0, 0].diff()[1:70]  # before what was mirrored in
    assert slopes.min() > 0.69
    assert slopes.max() < 1.31
    assert slopes.max() - slopes.min() > 0.1


def test_elastic_moves_pixels_but_not_far() -> None:
    ramp = torch.stack([torch.arange(90.0).expand(90, 90), torch.arange(90.0)[:, None].expand(90, 90)] * 2)[
        :3
    ]
    still = geometry.Elastic(corners=0.0, alpha=50, sigma=5)(ramp, np.random.default_rng(0)) - ramp
    moved = still[:, 10:-10, 10:-10]
    assert 0.3 < moved.std() < 1.5  # pixels: alpha / 2 times noise smoothed over 5
    assert moved.abs().max() < 5
    corners = geometry.Elastic(corners=50 / 450, alpha=0.0, sigma=5)(ramp, np.random.default_rng(0))
    assert corners[0, 20:-20, 20:-20].diff(dim=1).std() < 1e-3  # a linear map
    assert (corners - ramp)[:, 40:50, 40:50].abs().max() < 20


def test_hue_saturation_value_turns_the_hue_alone() -> None:
    x = torch.tensor([200.0, 100.0, 100.0])[:, None, None].expand(3, 4, 4)
    turned = colour.HueSaturationValue(hue=20, saturation=0, value=0)
    rng, angles = np.random.default_rng(0), []
    for _ in range(200):
        r, g, b = turned(x, rng)[:, 0, 0].tolist()
        assert (max(r, g, b), min(r, g, b)) == pytest.approx((200, 100), abs=0.1)
        angles.append(np.rad2deg(np.arctan2(np.sqrt(3) * (g - b), 2 * r - g - b)))
    assert max(angles) == pytest.approx(20, abs=2)
    assert min(angles) == pytest.approx(-20, abs=2)


# --- beside the libraries: the whole list, as distributions ---------------------------------------


def features(x: torch.Tensor) -> np.ndarray:
    """Brightness, contrast, colour, border, sharpness, and place and slant of the dark part, of one picture."""
    grey = x.mean(0)
    inside = x.amax(0) >= 3
    dark = (grey[inside].mean() - grey).clamp_min(0) * inside
    rows, cols = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    share = dark / dark.sum()
    row, col = float((share * rows).sum()), float((share * cols).sum())
    return np.array(
        [
            float(x.mean()),
            float(x.std()),
            float((x[0] - x[2]).mean()),
            float(inside.float().mean()),
            float(grey.diff(dim=0).abs().mean()),
            row,
            col,
            float((share * (rows - row) * (cols - col)).sum()),
        ]
    )


def same_distribution(name: str, published: Callable[[], torch.Tensor], count: int = 240) -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    want = np.stack([features(published().clamp(0, 255)) for _ in range(count)])
    got = np.stack([features(x) for x in run(name, count)])
    for i in range(want.shape[1]):
        # Rounded, as what is one value but for arithmetic must not count as two.
        test = ks_2samp(np.round(want[:, i], 2), np.round(got[:, i], 2))
        assert test.statistic < 0.17, (name, i, test)  # 1 in 500 by chance; the seeds are fixed


DERMALYZE = [
    T.Resize((SIZE + 32, SIZE + 32)),
    T.RandomCrop(SIZE),
    T.RandomHorizontalFlip(),
    T.RandomVerticalFlip(),
]
TORCHVISION = {
    "light": [*DERMALYZE, T.RandomRotation(15)],
    "medium": [
        *DERMALYZE,
        T.RandomRotation(30),
        T.ColorJitter(0.2, 0.2, 0.2, 0.1),
        T.RandomAffine(0, translate=(0.1, 0.1), scale=(0.9, 1.1)),
    ],
    "heavy": [
        *DERMALYZE,
        T.RandomRotation(45),
        T.ColorJitter(0.3, 0.3, 0.3, 0.15),
        T.RandomAffine(0, translate=(0.15, 0.15), scale=(0.85, 1.15), shear=10),
        T.RandomPerspective(0.2, p=0.3),
        T.GaussianBlur(3, (0.1, 2.0)),
    ],
    "skinconditionassistant-torch": [
        T.Resize((SIZE, SIZE)),
        T.RandomHorizontalFlip(0.3),
        T.RandomRotation(3),
        T.RandomResizedCrop(SIZE, scale=(0.92, 1.0)),
        T.ColorJitter(0.05, 0.05, 0.05, 0.05),
        T.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        T.GaussianNoise(sigma=0.02, clip=False),
        T.Normalize([-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225], [1 / 0.229, 1 / 0.224, 1 / 0.225]),
    ],
    "melanoma-analyzer": [
        T.Resize((SIZE, SIZE)),
        T.RandomHorizontalFlip(),
        T.RandomVerticalFlip(),
        T.RandomRotation(20),
        T.ColorJitter(0.1, 0.1, 0.1, 0.1),
    ],
}


@pytest.mark.parametrize("name", TORCHVISION)
def test_pictures_are_distributed_as_torchvisions(name: str) -> None:
    # On tensors: on PIL's images each change of colour also rounds down, half a level on average.
    compose = T.Compose(TORCHVISION[name])
    x = torch.from_numpy(PICTURE).permute(2, 0, 1) / 255
    same_distribution(name, lambda: compose(x) * 255)


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", ["skinsight", "devatreya"])
@pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")
def test_pictures_are_distributed_as_keras(name: str) -> None:
    pytest.importorskip("tensorflow")
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    published = {
        "skinsight": {
            "rotation_range": 30, "width_shift_range": 0.25, "height_shift_range": 0.25, "shear_range": 0.2,
            "channel_shift_range": 20,
        },
        "devatreya": {
            "rotation_range": 20, "width_shift_range": 0.2, "height_shift_range": 0.2, "shear_range": 0.1,
        },
    }[name]  # fmt: skip
    generator = ImageDataGenerator(
        **published,
        zoom_range=0.2,
        horizontal_flip=True,
        vertical_flip=True,
        brightness_range=[0.8, 1.2],
        fill_mode="nearest",
    )
    (resize, *_) = preset_steps(name, SIZE)
    small = resize(torch.from_numpy(PICTURE).permute(2, 0, 1).float(), np.random.default_rng(0))

    def transformed() -> torch.Tensor:
        out = generator.random_transform(small.permute(1, 2, 0).numpy())
        return torch.from_numpy(out.copy()).permute(2, 0, 1).float()

    same_distribution(name, transformed)


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")
def test_keras_affine_is_keras() -> None:
    pytest.importorskip("tensorflow")
    from keras.src.legacy.preprocessing.image import apply_affine_transform

    x = picture(64, 64)
    for angle, shift, shear, zoom in [
        (25, (0, 0), 0, (1, 1)),
        (0, (7, -9), 0, (1, 1)),
        (0, (0, 0), 12, (1, 1)),
        (-15, (5, 3), 8, (0.8, 1.2)),
    ]:
        want = apply_affine_transform(
            x.permute(1, 2, 0).numpy(), theta=angle, tx=shift[0], ty=shift[1], shear=shear, zx=zoom[0], zy=zoom[1],
            row_axis=0, col_axis=1, channel_axis=2, fill_mode="nearest", order=1,
        )  # fmt: skip
        got = geometry.KerasAffine().apply(
            x,
            angle=np.deg2rad(angle),
            shear=np.deg2rad(shear),
            shift=np.array(shift, float),
            zoom=np.array(zoom, float),
        )
        assert np.abs(got.permute(1, 2, 0).numpy() - want).max() < 0.5, (angle, shift, shear, zoom)


@pytest.mark.tensorflow
def test_colour_changes_are_tensorflows() -> None:
    tf = pytest.importorskip("tensorflow")
    x = picture()
    rows = x.permute(1, 2, 0).numpy()
    rng = np.random.default_rng(0)
    for factor in (0.85, 1.1):
        for step, function in (
            (colour.Contrast(factor=(factor, factor)), tf.image.adjust_contrast),
            (colour.Saturation(factor=(factor, factor)), tf.image.adjust_saturation),
        ):
            want = torch.from_numpy(function(rows, factor).numpy()).permute(2, 0, 1)
            assert torch.allclose(step(x, rng), want, atol=0.02)
    want = torch.from_numpy(tf.image.adjust_hue(rows, 0.02).numpy()).permute(2, 0, 1)
    assert torch.allclose(V.adjust_hue(x / 255, 0.02) * 255, want, atol=0.3)


def test_the_sheet_of_presets_can_be_drawn() -> None:
    script = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "augmentation_sheet.py"))
    drawn = script["sheet"](PICTURE, ["none", "heavy"])
    pixels = np.asarray(drawn)
    assert drawn.width > 6 * script["SIDE"]
    first, second = (pixels[row * (script["SIDE"] + 28) + 28 :][: script["SIDE"]] for row in (0, 1))
    assert first.std() > 10
    assert np.abs(first.astype(int) - second).mean() > 5
