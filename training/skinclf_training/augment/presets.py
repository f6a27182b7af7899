"""Named lists of augmentation steps: plain ones, and those of the systems that skinclf reproduces.

All work on pictures of 0 to 255 before they are scaled for the network: one system augmented scaled floats as
if they were bytes and trained on black pictures. Each list equals its project's published one in order, ranges
and border. Where a published number belongs to another scale than that of the pictures it was applied to, and
so did nothing, the list has the scale that is meant, and its comment says so.

| preset | published by |
|---|---|
| `none` | squashed to the crop's size, nothing drawn |
| `light`, `medium`, `heavy` | Dermalyze |
| `skinsight` | SkinSight |
| `devatreya` | devatreya/Skin-lesion-classification-using-CNN |
| `skinconditionassistant-tensorflow`, `skinconditionassistant-torch` | SkinConditionAssistant |
| `melanoma-analyzer` | Skin-Lesion-Melanoma-Analyzer, while training |
| `melanoma-analyzer-balance` | the same, for the further copies of its rarer class |

Never use any of them on validation or test pictures, to balance them or otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from skinclf.errors import InvalidArgumentError
from skinclf_training.augment.colour import (
    Blur,
    Brightness,
    BrightnessContrast,
    Clahe,
    ColorJitter,
    Contrast,
    HueSaturationValue,
    Noise,
    Saturation,
    Shift,
)
from skinclf_training.augment.geometry import (
    Affine,
    Crop,
    Elastic,
    Flip,
    GridDistortion,
    KerasAffine,
    OpticalDistortion,
    Perspective,
    QuarterTurn,
    Resize,
    ResizedCrop,
)
from skinclf_training.config.schema import AugmentConfig

#: A change of one picture, (3, H, W) float32 of 0 to 255, that draws from the generator alone.
Step: TypeAlias = Callable[[Tensor, np.random.Generator], Tensor]

_FLIPS = Flip(horizontal=0.5, vertical=0.5)


def apply(images: Tensor, config: AugmentConfig, rng: np.random.Generator) -> Tensor:
    """Augment every image by a preset, on as many threads as there are cores.

    Every image has a generator of its own, so that neither threads nor the rest of the batch change it.

    Args:
        images: Shape (N, H, W, 3), uint8, RGB.
        config: `preset` and `size`.
        rng: Source of the random seed of each image.

    Returns:
        Shape (N, 3, size, size), float32, values 0 to 255.

    Raises:
        InvalidArgumentError: The preset is unknown.
    """
    steps = preset_steps(config.preset, config.size)
    seeds = rng.integers(2**63, size=len(images))

    def one(index: int) -> Tensor:
        return augment_one(images[index], steps, np.random.default_rng(seeds[index]))

    with ThreadPoolExecutor(max_workers=min(len(images), os.cpu_count() or 1)) as pool:
        return torch.stack(list(pool.map(one, range(len(images)))))


def augment_one(image: Tensor, steps: tuple[Step, ...], rng: np.random.Generator) -> Tensor:
    """Apply steps to one image; values are clipped to 0 and 255 after each.

    Args:
        image: Shape (H, W, 3), uint8, RGB.
        steps: Steps of `preset_steps`.
        rng: Source of all random numbers.

    Returns:
        Shape (3, H', W'), float32.
    """
    x = image.permute(2, 0, 1).float()
    for step in steps:
        x = step(x, rng).clamp(0, 255)
    return x


def preset_steps(name: str, size: int) -> tuple[Step, ...]:
    """Steps of a preset.

    Args:
        name: Key of `PRESETS`.
        size: Side of the result in pixels.

    Raises:
        InvalidArgumentError: The preset is unknown.
    """
    if name not in PRESETS:
        raise InvalidArgumentError(
            f"Unknown augmentation preset {name!r}; expected `batch` or one of {', '.join(PRESETS)}."
        )
    return PRESETS[name](size)


@dataclass(frozen=True, slots=True, kw_only=True)
class OneOf:
    """With probability `p` do one of some steps, each as likely as its weight (all alike without weights)."""

    steps: tuple[Step, ...]
    p: float
    weights: tuple[float, ...] = ()

    def __call__(self, x: Tensor, rng: np.random.Generator) -> Tensor:
        """The picture, changed by one step or not at all."""
        if rng.random() >= self.p:
            return x
        weights = np.array(self.weights or (1.0,) * len(self.steps))
        return self.steps[int(rng.choice(len(self.steps), p=weights / weights.sum()))](x, rng)


def _none(size: int) -> tuple[Step, ...]:
    return (Resize(side=size),)


def _light(size: int) -> tuple[Step, ...]:
    return (Resize(side=size + 32), Crop(side=size), _FLIPS, Affine(rotate=15))


def _medium(size: int) -> tuple[Step, ...]:
    return (
        Resize(side=size + 32),
        Crop(side=size),
        _FLIPS,
        Affine(rotate=30),
        ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.1),
        Affine(shift=0.1, scale=(0.9, 1.1)),
    )


def _heavy(size: int) -> tuple[Step, ...]:
    return (
        Resize(side=size + 32),
        Crop(side=size),
        _FLIPS,
        Affine(rotate=45),
        ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.15),
        Affine(shift=0.15, scale=(0.85, 1.15), shear=10),
        Perspective(distortion=0.2, p=0.3),
        Blur(kernel=3, sigma=(0.1, 2.0)),
    )


def _skinsight(size: int) -> tuple[Step, ...]:
    return (
        Resize(side=size, interpolation="nearest"),
        # Keras documents shear in degrees; 0.2 is as published, and next to nothing.
        KerasAffine(rotate=30, shift=0.25, shear=0.2, zoom=(0.8, 1.2)),
        Shift(levels=20, within=True),
        _FLIPS,
        Brightness(factor=(0.8, 1.2)),
    )


def _devatreya(size: int) -> tuple[Step, ...]:
    return (
        Resize(side=size, antialias=False),
        KerasAffine(rotate=20, shift=0.2, shear=0.1, zoom=(0.8, 1.2)),  # shear in degrees here too
        _FLIPS,
        Brightness(factor=(0.8, 1.2)),
    )


def _assistant_tensorflow(size: int) -> tuple[Step, ...]:
    # Published brightness (0.15) and noise (0.02) are of a scale of 0 to 1, but were added to pictures of
    # 0 to 255, where they are invisible; here they have the scale that their numbers mean.
    return (
        Resize(side=size, antialias=False),
        Flip(horizontal=0.5),
        KerasAffine(rotate=0.03 * 360, fill="reflection"),
        KerasAffine(zoom=(0.92, 1.08), tied=True, fill="reflection"),
        Shift(levels=0.15 * 255),
        Contrast(factor=(0.85, 1.15)),
        ColorJitter(hue=0.02),
        Saturation(factor=(0.9, 1.1)),
        Noise(levels=(0.02 * 255,) * 3),
    )


def _assistant_torch(size: int) -> tuple[Step, ...]:
    return (
        Resize(side=size),
        Flip(horizontal=0.3),
        Affine(rotate=3),
        ResizedCrop(side=size, area=(0.92, 1.0), ratio=(3 / 4, 4 / 3)),
        ColorJitter(brightness=0.05, contrast=0.05, saturation=0.05, hue=0.05),
        # 0.02 after division by ImageNet's standard deviations.
        Noise(levels=(0.02 * 0.229 * 255, 0.02 * 0.224 * 255, 0.02 * 0.225 * 255)),
    )


def _melanoma_analyzer(size: int) -> tuple[Step, ...]:
    return (
        Resize(side=size),
        _FLIPS,
        Affine(rotate=20),
        ColorJitter(brightness=0.1, contrast=0.1, saturation=0.1, hue=0.1),
    )


def _melanoma_analyzer_balance(size: int) -> tuple[Step, ...]:
    # A list for Albumentations 1.x, whose defaults fill in what the project left open. Its elastic transform
    # moved three points by up to 50 pixels (of 450), and pixels by thousandths of one (alpha 1, sigma 50); the
    # latter is torchvision's default here. OpenCV counts hue in steps of two degrees.
    return (
        OneOf(steps=(QuarterTurn(),), p=0.5),
        OneOf(steps=(Flip(horizontal=1), Flip(vertical=1), Flip(horizontal=1, vertical=1)), p=0.5),
        OneOf(
            steps=(
                Affine(
                    rotate=45, shift=0.0625, scale=(0.9, 1.1), fill="reflection", interpolation="bilinear"
                ),
            ),
            p=0.5,
        ),
        OneOf(
            steps=(
                OpticalDistortion(limit=0.05),
                GridDistortion(cells=5, limit=0.3),
                Elastic(corners=50 / 450, alpha=50, sigma=5),
            ),
            weights=(0.3, 0.1, 0.3),
            p=0.2,
        ),
        OneOf(
            steps=(
                HueSaturationValue(hue=20, saturation=15, value=10),
                Clahe(clip_limit=(1.0, 2.0), tile=8),
                BrightnessContrast(brightness=0.2, contrast=0.2),
            ),
            p=0.3,
        ),
        Resize(side=size),
    )


#: Every preset: a function of the result's side in pixels.
PRESETS: Mapping[str, Callable[[int], tuple[Step, ...]]] = MappingProxyType(
    {
        "none": _none,
        "light": _light,
        "medium": _medium,
        "heavy": _heavy,
        "skinsight": _skinsight,
        "devatreya": _devatreya,
        "skinconditionassistant-tensorflow": _assistant_tensorflow,
        "skinconditionassistant-torch": _assistant_torch,
        "melanoma-analyzer": _melanoma_analyzer,
        "melanoma-analyzer-balance": _melanoma_analyzer_balance,
    }
)
