"""Effects of another camera on a batch: white balance, tone curve, blur, noise and JPEG compression.

An effect that is switched off draws no random numbers, so that a configuration without it keeps its batches.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from skinclf_training.config.schema import AugmentConfig

_TAPS = 7
_BLOCK = 8
# ITU-T T.81, annex K: quantisation of luma and of chroma at quality 50.
_LUMA = """16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99"""
_CHROMA = """17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99 47 66 99 99 99 99 99 99
99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99"""
_TABLE = np.stack(
    [np.array(t.split(), np.float32).reshape(_BLOCK, _BLOCK) for t in (_LUMA, _CHROMA, _CHROMA)]
)
_TO_YCC = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32
)
_FROM_YCC = np.linalg.inv(_TO_YCC).astype(np.float32)
_FREQUENCY, _PLACE = np.mgrid[:_BLOCK, :_BLOCK]
_DCT = np.where(_FREQUENCY == 0, math.sqrt(1 / _BLOCK), math.sqrt(2 / _BLOCK)) * np.cos(
    (2 * _PLACE + 1) * _FREQUENCY * math.pi / (2 * _BLOCK)
)


def white_balance(count: int, limit: float, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Draw the gain of every channel log-uniformly; the geometric mean of a picture's gains is 1.

    Args:
        count: Number of pictures N.
        limit: Largest relative gain; 0 for none.
        rng: Source of all random numbers.

    Returns:
        Shape (N, 3), float32.
    """
    if limit <= 0:
        return np.ones((count, 3), np.float32)
    gain = rng.uniform(-1, 1, (count, 3)) * math.log1p(limit)
    factor: npt.NDArray[np.float32] = np.exp(gain - gain.mean(axis=1, keepdims=True)).astype(np.float32)
    return factor


def tone_curve(x: Tensor, limit: float, rng: np.random.Generator) -> Tensor:
    """Raise every picture to a log-uniform power (gamma); black and white keep their values.

    Args:
        x: Shape (N, 3, H, W), float32, 0 to 255.
        limit: Largest relative change of the exponent; 0 for none.
        rng: Source of all random numbers.
    """
    if limit <= 0:
        return x
    power = np.exp(rng.uniform(-1, 1, len(x)) * math.log1p(limit)).astype(np.float32)
    exponent = torch.from_numpy(power).to(x.device)[:, None, None, None]
    return (x * (1 / 255)).clamp_(1e-4, 1).log_().mul_(exponent).exp_().mul_(255)


def camera(x: Tensor, config: AugmentConfig, rng: np.random.Generator) -> Tensor:
    """Apply blur, then noise, then JPEG compression, each to a random part of the batch.

    Args:
        x: Shape (N, 3, size, size), float32, 0 to 255; changed in place.
        config: Probabilities and ranges.
        rng: Source of all random numbers.

    Returns:
        The same tensor.
    """
    count = len(x)
    if config.blur > 0:
        rows = np.flatnonzero(rng.random(count) < config.blur)
        low, high = config.blur_sigma
        sigma = np.exp(rng.uniform(math.log(low), math.log(high), count))[rows]
        if len(rows):
            x[rows] = _blurred(x[rows], sigma)
    if config.noise > 0:
        rows = np.flatnonzero(rng.random(count) < config.noise)
        level = rng.uniform(0, config.noise_levels, count).astype(np.float32)[rows]
        # On the device: a batch of normal numbers from NumPy takes longer than a step of a GPU.
        source = torch.Generator(x.device).manual_seed(int(rng.integers(2**62)))
        grain = torch.randn((len(rows), *x.shape[1:]), generator=source, device=x.device)
        grain *= torch.from_numpy(level).to(x.device)[:, None, None, None]
        x[rows] = (x[rows] + grain).clamp_(0, 255)
    if config.jpeg > 0:
        rows = np.flatnonzero(rng.random(count) < config.jpeg)
        quality = rng.uniform(*config.jpeg_quality, count)[rows]
        if len(rows):
            x[rows] = _compressed(x[rows], quality)
    return x


def _blurred(x: Tensor, sigma: npt.NDArray[np.float64]) -> Tensor:
    """Blur every picture with a Gaussian of its own, columns and rows in turn."""
    count, channels, rows, cols = x.shape
    place = np.arange(_TAPS) - _TAPS // 2
    taps = np.exp(-((place / sigma[:, None]) ** 2) / 2)
    taps = (taps / taps.sum(axis=1, keepdims=True)).astype(np.float32)
    kernel = torch.from_numpy(np.repeat(taps, channels, axis=0)).to(x.device)
    half, groups = _TAPS // 2, count * channels
    flat = F.pad(x.reshape(1, groups, rows, cols), (half, half, half, half), mode="reflect")
    flat = F.conv2d(flat, kernel[:, None, :, None], groups=groups)
    return F.conv2d(flat, kernel[:, None, None, :], groups=groups).reshape(x.shape)


def _compressed(x: Tensor, quality: npt.NDArray[np.float64]) -> Tensor:
    """Round the coefficients of 8x8 blocks as JPEG does at a quality, without subsampling of chroma."""
    rows, cols = x.shape[2:]
    down, right = -rows % _BLOCK, -cols % _BLOCK
    padded = F.pad(x, (0, right, 0, down), mode="replicate")
    height, width = padded.shape[2:]
    dct = torch.from_numpy(_DCT.astype(np.float32)).to(x.device)
    scale = np.where(quality < 50, 50 / quality, 2 - quality / 50).astype(np.float32)
    step = np.clip(_TABLE[None] * scale[:, None, None, None], 1, 255)
    table = torch.from_numpy(step).to(x.device)[:, :, None, :, None, :]
    ycc = torch.from_numpy(_TO_YCC).to(x.device) @ (padded - 128).flatten(2)
    blocks = ycc.view(len(x), 3, height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK)
    wave = torch.einsum("ij,ncajbk,lk->ncaibl", dct, blocks, dct)
    wave = torch.round(wave / table) * table
    back = torch.einsum("ij,ncaibl,lk->ncajbk", dct, wave, dct).reshape(len(x), 3, -1)
    rgb = (torch.from_numpy(_FROM_YCC).to(x.device) @ back).view(padded.shape).add_(128).clamp_(0, 255)
    return rgb[:, :, :rows, :cols]
