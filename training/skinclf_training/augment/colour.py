"""Colour augmentation: random changes of one picture, as data: the steps of `presets`.

Every step takes a picture of shape (3, H, W), float32, RGB, 0 to 255, and a generator that all its random
numbers come from; ranges are uniform. Levels are 255ths of full brightness. Results may leave 0 to 255:
`presets.augment_one` clips them.
"""
# ruff: noqa: D102  # the docstring of a class describes its call

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
import torchvision.transforms.v2.functional as V
from torch import Tensor

from skinclf.images.enhance import clahe

Range: TypeAlias = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ColorJitter:
    """Brightness, contrast, saturation and hue, in random order, as torchvision's; hue as a share of the circle."""

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __call__(self, x: Tensor, rng: np.random.Generator) -> Tensor:
        changes: list[tuple[Any, float]] = [
            (V.adjust_brightness, 1 + _either(self.brightness, rng)),
            (V.adjust_contrast, 1 + _either(self.contrast, rng)),
            (V.adjust_saturation, 1 + _either(self.saturation, rng)),
            (V.adjust_hue, _either(self.hue, rng)),
        ]
        x = x / 255
        for i in rng.permutation(len(changes)):
            change, amount = changes[i]
            x = change(x, amount)
        return x * 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Brightness:
    """Multiply by a factor."""

    factor: Range

    def __call__(self, x: Tensor, rng: np.random.Generator) -> Tensor:
        return x * rng.uniform(*self.factor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """Add up to `levels` either way, the same to all channels.

    Attributes:
        levels: Grey levels, of 255.
        within: Stay between the picture's own darkest and brightest value, as Keras' channel shift does.
    """

    levels: float
    within: bool = False

    def __call__(self, x: Tensor, rng: np.random.Generator) -> Tensor:
        moved = x + _either(self.levels, rng)
        return torch.clamp(moved, x.min(), x.max()) if self.within else moved


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """Stretch every channel about its own mean, as TensorFlow does."""

    factor: Range

    def __call__(self, x: Tensor, rng: np.random.Generator) -> Tensor:
        mean = x.mean(dim=(1, 2), keepdim=True)
        return mean + (x - mean) * rng.uniform(*self.factor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Saturation:
    """Multiply the saturation of hue-saturation-value by a factor, up to 1, as TensorFlow does."""

    factor: Range

    def __call__(self, x: Tensor, rng: np.random.Generator) -> Tensor:
        value = x.amax(dim=0, keepdim=True)
        chroma = value - x.amin(dim=0, keepdim=True)
        full = value / chroma.clamp_min(1e-3)  # the factor at which the saturation is 1
        return value - (value - x) * full.clamp_max(rng.uniform(*self.factor))


@dataclass(frozen=True, slots=True, kw_only=True)
class BrightnessContrast:
    """Multiply by 1 + up to `contrast`, then add up to `brightness` of full scale, as Albumentations does."""

    brightness: float
    contrast: float

    def __call__(self, x: Tensor, rng: np.random.Generator) -> Tensor:
        return x * (1 + _either(self.contrast, rng)) + 255 * _either(self.brightness, rng)


@dataclass(frozen=True, slots=True, kw_only=True)
class HueSaturationValue:
    """Add to each of hue (degrees), saturation and value (levels), up to so much either way."""

    hue: float
    saturation: float
    value: float

    def __call__(self, x: Tensor, rng: np.random.Generator) -> Tensor:
        import cv2

        hsv = cv2.cvtColor(_rows(x) / 255, cv2.COLOR_RGB2HSV)  # 0..360, 0..1, 0..1
        hsv[..., 0] = (hsv[..., 0] + _either(self.hue, rng)) % 360
        for channel, levels in ((1, self.saturation), (2, self.value)):
            hsv[..., channel] = np.clip(hsv[..., channel] + _either(levels, rng) / 255, 0, 1)
        rgb = torch.from_numpy(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255)
        return rgb.permute(2, 0, 1).to(x.device)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clahe:
    """Equalise local contrast (`skinclf.images.enhance.clahe`), the clip limit drawn."""

    clip_limit: Range
    tile: int

    def __call__(self, x: Tensor, rng: np.random.Generator) -> Tensor:
        picture = np.rint(_rows(x)).astype(np.uint8)
        done = clahe(picture, clip_limit=rng.uniform(*self.clip_limit), tile=self.tile)
        return torch.from_numpy(done).permute(2, 0, 1).float().to(x.device)


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """Add independent normal noise, with one standard deviation, in levels, for each channel."""

    levels: tuple[float, float, float]

    def __call__(self, x: Tensor, rng: np.random.Generator) -> Tensor:
        noise = torch.from_numpy(rng.standard_normal(tuple(x.shape), dtype=np.float32)).to(x.device)
        return x + noise * torch.tensor(self.levels, device=x.device)[:, None, None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Blur:
    """Gaussian blur of `kernel` pixels with a drawn standard deviation, pixels."""

    kernel: int
    sigma: Range

    def __call__(self, x: Tensor, rng: np.random.Generator) -> Tensor:
        sigma = rng.uniform(*self.sigma)
        out: Tensor = V.gaussian_blur(x, [self.kernel, self.kernel], [sigma, sigma])
        return out


def _either(limit: float, rng: np.random.Generator) -> float:
    return float(rng.uniform(-limit, limit))


def _rows(x: Tensor) -> npt.NDArray[np.float32]:
    """Picture in the layout of OpenCV, shape (H, W, 3)."""
    return np.ascontiguousarray(x.permute(1, 2, 0).cpu().numpy())
