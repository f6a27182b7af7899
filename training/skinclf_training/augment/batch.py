"""Augmentation of a whole batch on tensors: geometry, colour, camera effects and one rectangle.

All random numbers come from one NumPy generator per batch, seeded by (seed, epoch, batch), so that a batch is
the same however training got there.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from skinclf_training.augment import presets as augment_presets
from skinclf_training.augment.camera import camera, tone_curve, white_balance
from skinclf_training.config.schema import AugmentConfig

# YIQ: one axis of luma, two of chroma; a turn in the chroma plane is a turn of the hue.
_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_FROM_YIQ = np.linalg.inv(_TO_YIQ)
_GREY = 127.5


def augment(images: Tensor, config: AugmentConfig, rng: np.random.Generator) -> Tensor:
    """Augment every image with one random crop, or with the steps of a preset.

    Args:
        images: Shape (N, H, W, 3), uint8, RGB.
        config: Configuration of the augmentation.
        rng: Source of all random numbers.

    Returns:
        Shape (N, 3, size, size), float32, values 0 to 255.
    """
    if config.preset != "batch":
        return augment_presets.apply(images, config, rng)
    count, rows, cols = images.shape[:3]
    device = images.device
    grid = torch.from_numpy(_grid(count, rows, cols, config, rng)).to(device)
    pixels = images.permute(0, 3, 1, 2).float().contiguous()
    x = F.grid_sample(pixels, grid, mode=config.interpolation, padding_mode="reflection", align_corners=False)
    matrix, brightness, contrast = _colour(count, config, rng)
    gain = white_balance(count, config.white_balance, rng)
    x = tone_curve(x, config.gamma, rng)
    mean = x.mean(dim=(1, 2, 3))
    factor = torch.from_numpy(gain[:, :, None] * matrix * (brightness * contrast)[:, None, None]).to(device)
    offset = mean[:, None] * torch.from_numpy(gain * (brightness * (1 - contrast))[:, None]).to(device)
    flat = torch.baddbmm(offset[:, :, None], factor, x.flatten(2))
    x = camera(flat.clamp_(0, 255).view_as(x), config, rng)
    return _cutout(x, config, rng)


def mix(
    targets: Tensor, images: Tensor, config: AugmentConfig, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Mix every image with another of the batch: by mixup, else by cutmix, else not at all.

    Mixup (Zhang et al., ICLR 2018) blends the two; cutmix (Yun et al., ICCV 2019) puts a rectangle of the one
    into the other, and the share of its area into the target.

    Args:
        targets: Shape (N, K), rows sum to 1.
        images: Shape (N, 3, H, W).
        config: `mixup`, `mixup_prob`, `cutmix` and `cutmix_prob`.
        rng: Source of all random numbers.

    Returns:
        Targets and images, mixed in the same proportion.
    """
    # The batch is in random order already, so its reverse is a random partner.
    if config.mixup > 0 and rng.random() < config.mixup_prob:
        share = float(rng.beta(config.mixup, config.mixup))
        return targets.lerp(targets.flip(0), 1 - share), images.lerp(images.flip(0), 1 - share)
    if config.cutmix > 0 and rng.random() < config.cutmix_prob:
        sides = np.array(images.shape[2:])
        low, high = _box(sides * math.sqrt(1 - rng.beta(config.cutmix, config.cutmix)), sides, rng)
        part = (..., slice(low[0], high[0]), slice(low[1], high[1]))
        mixed = images.clone()
        mixed[part] = images.flip(0)[part]
        return targets.lerp(targets.flip(0), float(np.prod(high - low) / np.prod(sides))), mixed
    return targets, images


def _box(
    size: npt.NDArray[np.float64], bounds: npt.NDArray[np.int64], rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Corners of a rectangle about a uniform centre, clipped to the picture."""
    centre = rng.uniform(0, bounds)
    low = np.clip(np.rint(centre - size / 2), 0, bounds).astype(np.int64)
    high = np.clip(np.rint(centre + size / 2), 0, bounds).astype(np.int64)
    return low, high


def _grid(
    count: int, rows: int, cols: int, config: AugmentConfig, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Sampling positions for `grid_sample`, shape (N, size, size, 2), float32."""
    angle = np.deg2rad(rng.uniform(-config.rotate, config.rotate, count))
    shear = np.tan(np.deg2rad(rng.uniform(-config.shear, config.shear, count)))
    zoom = np.exp(rng.uniform(math.log(config.scale[0]), math.log(config.scale[1]), count))
    stretch = np.exp(rng.uniform(-1, 1, count) * math.log1p(config.aspect) / 2)
    mirror = np.where(rng.random(count) < (0.5 if config.flip else 0.0), -1.0, 1.0)
    shift = rng.uniform(-config.shift, config.shift, (count, 2)) * config.size
    cos, sin = np.cos(angle), np.sin(angle)
    # Source pixels per crop pixel: rotation @ shear @ diag(mirror * stretch, 1 / stretch) / zoom.
    a = cos * mirror * stretch / zoom
    b = (cos * shear - sin) / stretch / zoom
    c = sin * mirror * stretch / zoom
    d = (sin * shear + cos) / stretch / zoom
    steps = (np.arange(config.size) + 0.5 - config.size / 2).astype(np.float32)
    theta = np.stack([a, b, c, d, shift[:, 0], shift[:, 1]], axis=1).astype(np.float32)
    u, v = steps[None, None, :], steps[None, :, None]
    t = [theta[:, i, None, None] for i in range(6)]
    x, y = t[0] * u + t[1] * v + t[4], t[2] * u + t[3] * v + t[5]
    return np.stack([x * (2 / cols), y * (2 / rows)], axis=-1)


def _colour(
    count: int, config: AugmentConfig, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Saturation and hue as one matrix per image, shape (N, 3, 3); brightness and contrast factors, (N,)."""
    brightness = 1 + rng.uniform(-config.brightness, config.brightness, count)
    contrast = 1 + rng.uniform(-config.contrast, config.contrast, count)
    saturation = 1 + rng.uniform(-config.saturation, config.saturation, count)
    hue = 2 * np.pi * rng.uniform(-config.hue, config.hue, count)
    chroma = np.zeros((count, 3, 3))
    chroma[:, 0, 0] = 1
    chroma[:, 1, 1] = chroma[:, 2, 2] = saturation * np.cos(hue)
    chroma[:, 2, 1] = saturation * np.sin(hue)
    chroma[:, 1, 2] = -chroma[:, 2, 1]
    matrix = _FROM_YIQ @ chroma @ _TO_YIQ
    return matrix.astype(np.float32), brightness.astype(np.float32), contrast.astype(np.float32)


def _cutout(x: Tensor, config: AugmentConfig, rng: np.random.Generator) -> Tensor:
    """Grey out one rectangle (DeVries and Taylor 2017), in place."""
    count, size = len(x), x.shape[-1]
    chosen = rng.random(count) < config.cutout
    sides = rng.uniform(*config.cutout_size, (count, 2)) * size
    centres = rng.uniform(0, size, (count, 2))
    low = np.clip(np.rint(centres - sides / 2), 0, size).astype(int)
    high = np.clip(np.rint(centres + sides / 2), 0, size).astype(int)
    for i in np.flatnonzero(chosen):
        x[i, :, low[i, 0] : high[i, 0], low[i, 1] : high[i, 1]] = _GREY
    return x
