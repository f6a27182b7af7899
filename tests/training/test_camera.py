"""Effects of another camera: ranges, agreement with Pillow, and no random numbers where nothing is switched on."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from skinclf.images.synthetic import synthetic_lesion
from skinclf_training.augment.batch import augment
from skinclf_training.augment.camera import camera, tone_curve, white_balance
from skinclf_training.config.schema import AugmentConfig

PLAIN = AugmentConfig(size=96, cutout=0.0)


def lesion(seed: int = 0, side: int = 96) -> np.ndarray:
    return synthetic_lesion(seed, width=side, height=side)


def tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).float()[None]


def test_what_is_off_draws_no_random_numbers() -> None:
    x, rng = tensor(lesion()), np.random.default_rng(3)
    before = rng.bit_generator.state
    assert np.array_equal(white_balance(4, 0.0, rng), np.ones((4, 3)))
    assert torch.equal(tone_curve(x, 0.0, rng), x)
    assert torch.equal(camera(x.clone(), PLAIN, rng), x)
    assert rng.bit_generator.state == before


def test_white_balance_keeps_the_geometric_mean_and_its_range() -> None:
    gain = white_balance(2000, 0.2, np.random.default_rng(0))
    assert gain.dtype == np.float32
    assert np.allclose(np.log(gain).mean(axis=1), 0, atol=1e-6)
    assert np.log(gain).max() <= np.log(1.2) * 4 / 3 + 1e-6
    assert gain.std(axis=0).min() > 0.05


def test_white_balance_colours_a_grey_picture_and_keeps_its_brightness() -> None:
    grey = torch.full((32, 60, 80, 3), 128, dtype=torch.uint8)
    config = AugmentConfig(
        size=48, brightness=0, contrast=0, saturation=0, hue=0, cutout=0, white_balance=0.2
    )
    out = augment(grey, config, np.random.default_rng(0)).mean(dim=(2, 3))
    assert float((out.max(1).values - out.min(1).values).max()) > 10
    assert torch.allclose(out.log().mean(1), torch.full((32,), 128.0).log(), atol=1e-3)


def test_tone_curve_keeps_black_and_white_and_order() -> None:
    ramp = torch.linspace(0, 255, 256).repeat(8, 3, 1, 1)
    out = tone_curve(ramp, 0.5, np.random.default_rng(0))
    assert torch.all(out[..., 1:] >= out[..., :-1])
    assert float(out[..., 0].max()) < 1
    assert torch.allclose(out[..., -1], torch.full_like(out[..., -1], 255.0), atol=0.01)
    assert float((out - ramp).abs().max()) > 10


@pytest.mark.parametrize("sigma", [0.5, 1.0, 1.6])
def test_blur_is_a_gaussian_of_seven_taps(sigma: float) -> None:
    pixels = lesion()
    config = AugmentConfig(size=96, blur=1.0, blur_sigma=(sigma, sigma))
    ours = camera(tensor(pixels), config, np.random.default_rng(0))[0].permute(1, 2, 0).numpy()
    theirs = gaussian_filter(pixels.astype(np.float64), (sigma, sigma, 0), radius=(3, 3, 0), mode="mirror")
    assert np.abs(ours - theirs).max() < 0.01


@pytest.mark.parametrize("quality", [30, 60, 90])
def test_jpeg_is_near_libjpegs(quality: int) -> None:
    pixels = lesion(1, 100)  # not a multiple of the block
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling=0)
    theirs = np.asarray(Image.open(buffer), np.float32)
    config = AugmentConfig(size=100, jpeg=1.0, jpeg_quality=(quality, quality))
    ours = camera(tensor(pixels), config, np.random.default_rng(0))[0].permute(1, 2, 0).numpy()
    error = np.abs(theirs - pixels).mean()
    assert np.abs(ours - theirs).mean() < max(0.75 * error, 0.7)


def test_noise_has_the_drawn_level_and_repeats() -> None:
    grey = torch.full((64, 3, 32, 32), 128.0)
    config = AugmentConfig(size=32, noise=1.0, noise_levels=8.0)
    first, again = (camera(grey.clone(), config, np.random.default_rng(5)) for _ in range(2))
    assert torch.equal(first, again)
    levels = (first - 128).std(dim=(1, 2, 3))
    assert float(levels.max()) < 8.5
    assert float(levels.max()) > 5
    assert float(levels.min()) < 2


def test_share_of_pictures_is_the_probability() -> None:
    pictures = tensor(lesion()).repeat(400, 1, 1, 1)[:, :, :32, :32].contiguous()
    config = AugmentConfig(size=32, jpeg=0.25, jpeg_quality=(30.0, 40.0))
    out = camera(pictures.clone(), config, np.random.default_rng(0))
    changed = (out != pictures).flatten(1).any(1).float().mean()
    assert 0.17 < float(changed) < 0.33
