"""Presets beside the libraries that the published lists were written for: the same changes, the same distributions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")
pytest.importorskip("torchvision", reason="training needs the extra `train`")

import torchvision.transforms.v2 as T
import torchvision.transforms.v2.functional as V
from scipy.stats import ks_2samp

from skinclf.images.synthetic import synthetic_lesion
from skinclf_training.augment import colour, geometry
from skinclf_training.augment.presets import apply, preset_steps
from skinclf_training.config.schema import AugmentConfig

SIZE = 64
PICTURE = synthetic_lesion(9, width=96, height=72)


def run(name: str, count: int, seed: int = 0, picture: np.ndarray = PICTURE) -> torch.Tensor:
    images = torch.from_numpy(picture).expand(count, *picture.shape)
    return apply(images, AugmentConfig(preset=name, size=SIZE), np.random.default_rng(seed))


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
            "rotation_range": 30,
            "width_shift_range": 0.25,
            "height_shift_range": 0.25,
            "shear_range": 0.2,
            "channel_shift_range": 20,
        },
        "devatreya": {
            "rotation_range": 20,
            "width_shift_range": 0.2,
            "height_shift_range": 0.2,
            "shear_range": 0.1,
        },
    }[name]
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
            x.permute(1, 2, 0).numpy(),
            theta=angle,
            tx=shift[0],
            ty=shift[1],
            shear=shear,
            zx=zoom[0],
            zy=zoom[1],
            row_axis=0,
            col_axis=1,
            channel_axis=2,
            fill_mode="nearest",
            order=1,
        )
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
