"""Geometric augmentation: random changes of one picture, as data: the steps of `presets`.

Every step takes a picture of shape (3, H, W), float32, RGB, 0 to 255, and a generator that all its random
numbers come from; ranges are uniform. Lengths are shares of the picture's side unless an attribute says
pixels; angles are degrees.

Where torchvision has the operation, its function does it; torchvision's own random classes are not used,
because they draw from one global generator, which neither threads nor a resumed run could rely on. Warps are
own code: torchvision only fills with a constant, Keras and Albumentations repeat or mirror the border.
"""
# ruff: noqa: D102  # the docstring of a class describes its call

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
import torchvision.transforms.v2.functional as V
from torch import Tensor
from torch.nn.functional import grid_sample

Range: TypeAlias = tuple[float, float]
_Floats: TypeAlias = npt.NDArray[np.float64]
_Fill: TypeAlias = Literal["zeros", "border", "reflection"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resize:
    """Squash to a square of `side` pixels; draws nothing."""

    side: int
    interpolation: Literal["nearest", "bilinear"] = "bilinear"
    antialias: bool = True

    def __call__(self, x: Tensor, rng: np.random.Generator) -> Tensor:  # noqa: ARG002
        mode = V.InterpolationMode(self.interpolation)
        out: Tensor = V.resize(x, [self.side, self.side], interpolation=mode, antialias=self.antialias)
        return out


@dataclass(frozen=True, slots=True, kw_only=True)
class Crop:
    """Cut out a square of `side` pixels, anywhere."""

    side: int

    def __call__(self, x: Tensor, rng: np.random.Generator) -> Tensor:
        top, left = (int(rng.integers(n - self.side + 1)) for n in x.shape[1:])
        return x[:, top : top + self.side, left : left + self.side]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResizedCrop:
    """Cut out a share `area` of the picture with a side ratio `ratio` (log-uniform), resized to `side` pixels.

    As torchvision's: up to ten tries for one that fits, else the whole picture.
    """

    side: int
    area: Range
    ratio: Range

    def __call__(self, x: Tensor, rng: np.random.Generator) -> Tensor:
        rows, cols = x.shape[1:]
        top, left, height, width = 0, 0, rows, cols
        for _ in range(10):
            area = rows * cols * rng.uniform(*self.area)
            ratio = math.exp(rng.uniform(*np.log(self.ratio)))
            h, w = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
            if 0 < h <= rows and 0 < w <= cols:
                top, left, height, width = (
                    int(rng.integers(rows - h + 1)),
                    int(rng.integers(cols - w + 1)),
                    h,
                    w,
                )
                break
        out: Tensor = V.resized_crop(x, top, left, height, width, [self.side, self.side])
        return out


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """Mirror left-right with probability `horizontal`, and upside-down with probability `vertical`."""

    horizontal: float = 0.0
    vertical: float = 0.0

    def __call__(self, x: Tensor, rng: np.random.Generator) -> Tensor:
        dims = [d for d, p in ((2, self.horizontal), (1, self.vertical)) if rng.random() < p]
        return x.flip(dims) if dims else x


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarterTurn:
    """Turn by 0, 90, 180 or 270 degrees; swaps the sides of an oblong picture."""

    def __call__(self, x: Tensor, rng: np.random.Generator) -> Tensor:
        return x.rot90(int(rng.integers(4)), (1, 2))


@dataclass(frozen=True, slots=True, kw_only=True)
class Affine:
    """Shear, scale, turn, then shift, as torchvision's `RandomAffine` (and its defaults), about the centre.

    Attributes:
        rotate: Largest turn either way, degrees.
        shift: Largest shift either way, along each side.
        scale: Above 1 enlarges.
        shear: Largest shear angle either way, degrees.
        fill: What lies beyond the border: black, the nearest pixel, or the mirrored picture.
        interpolation: Filter of the one resampling.
    """

    rotate: float = 0.0
    shift: float = 0.0
    scale: Range = (1.0, 1.0)
    shear: float = 0.0
    fill: _Fill = "zeros"
    interpolation: Literal["nearest", "bilinear"] = "nearest"

    def __call__(self, x: Tensor, rng: np.random.Generator) -> Tensor:
        angle, shear = np.deg2rad([_either(self.rotate, rng), _either(self.shear, rng)])
        scale = rng.uniform(*self.scale)
        shift = np.array([_either(self.shift, rng) * n for n in (x.shape[2], x.shape[1])])
        return self.apply(x, angle=angle, shear=shear, scale=scale, shift=shift)

    def apply(self, x: Tensor, *, angle: float, shear: float, scale: float, shift: _Floats) -> Tensor:
        """The change with these numbers: radians, and pixels (x, y)."""
        forward = scale * _turn(angle) @ [[1, -math.tan(shear)], [0, 1]]
        inverse = np.asarray(np.linalg.inv(forward), dtype=np.float64)
        offset = -inverse @ shift
        return _warp(x, _linear(x, inverse, offset), self.fill, self.interpolation)


@dataclass(frozen=True, slots=True, kw_only=True)
class KerasAffine:
    """Turn, shift, shear and zoom in one bilinear resampling, as Keras' `ImageDataGenerator`.

    Attributes:
        rotate: Largest turn either way, degrees.
        shift: Largest shift either way, along each side.
        shear: Largest shear angle either way, degrees.
        zoom: Source pixels per pixel; above 1 shrinks. Drawn for each side anew unless `tied`.
        tied: One zoom for both sides.
        fill: As in `Affine`.
    """

    rotate: float = 0.0
    shift: float = 0.0
    shear: float = 0.0
    zoom: Range = (1.0, 1.0)
    tied: bool = False
    fill: _Fill = "border"

    def __call__(self, x: Tensor, rng: np.random.Generator) -> Tensor:
        angle, shear = np.deg2rad([_either(self.rotate, rng), _either(self.shear, rng)])
        shift = np.array([_either(self.shift, rng) * n for n in (x.shape[2], x.shape[1])])
        zoom = rng.uniform(*self.zoom, size=1 if self.tied else 2)
        return self.apply(x, angle=angle, shear=shear, shift=shift, zoom=np.broadcast_to(zoom, 2))

    def apply(self, x: Tensor, *, angle: float, shear: float, shift: _Floats, zoom: _Floats) -> Tensor:
        """The change with these numbers: radians, pixels (x, y), and zooms (x, y)."""
        turn = _turn(angle)
        matrix = turn @ [[1, -math.sin(shear)], [0, math.cos(shear)]] @ np.diag(zoom)
        return _warp(x, _linear(x, matrix, turn @ shift), self.fill, "bilinear")


@dataclass(frozen=True, slots=True, kw_only=True)
class Perspective:
    """Move every corner inwards by up to `distortion` of half a side, with probability `p`; fills with black."""

    distortion: float
    p: float

    def __call__(self, x: Tensor, rng: np.random.Generator) -> Tensor:
        if rng.random() >= self.p:
            return x
        rows, cols = x.shape[1:]
        start = [[0, 0], [cols - 1, 0], [cols - 1, rows - 1], [0, rows - 1]]
        room = np.array([self.distortion * (cols // 2), self.distortion * (rows // 2)]).astype(int) + 1
        inwards = rng.integers(0, room, size=(4, 2)) * [[1, 1], [-1, 1], [-1, -1], [1, -1]]
        out: Tensor = V.perspective(x, start, (np.array(start) + inwards).tolist())
        return out


@dataclass(frozen=True, slots=True, kw_only=True)
class OpticalDistortion:
    """Barrel or pincushion: radii r (in sides) grow by `1 + k r^2 + k r^4`, k up to `limit` either way."""

    limit: float

    def __call__(self, x: Tensor, rng: np.random.Generator) -> Tensor:
        k = _either(self.limit, rng)
        rows, cols = x.shape[1:]
        offset = _linear(x, np.eye(2), np.zeros(2)) - _centre(x)
        r2 = ((offset / [cols, rows]) ** 2).sum(axis=-1, keepdims=True)
        return _warp(x, offset * (1 + k * r2 + k * r2**2) + _centre(x), "reflection", "bilinear")


@dataclass(frozen=True, slots=True, kw_only=True)
class GridDistortion:
    """Stretch or squeeze each of `cells` columns and rows by up to `limit`, one after the other."""

    cells: int
    limit: float

    def __call__(self, x: Tensor, rng: np.random.Generator) -> Tensor:
        axes = []
        for side in (x.shape[2], x.shape[1]):
            widths = side / self.cells * (1 + rng.uniform(-self.limit, self.limit, self.cells))
            knots, values = np.linspace(0, side, self.cells + 1), np.append(0, np.cumsum(widths))
            axes.append(np.interp(np.arange(side) + 0.5, knots, values) - 0.5)
        return _warp(x, np.stack(np.meshgrid(*axes), axis=-1), "reflection", "bilinear")


@dataclass(frozen=True, slots=True, kw_only=True)
class Elastic:
    """Move three points about the centre, and with them the picture, then every pixel a little by itself.

    Attributes:
        corners: Largest movement of each point, either way, as a share of the shorter side.
        alpha: Strength of the pixels' own movement, as torchvision's `ElasticTransform` has it.
        sigma: Smoothness of that movement, pixels.
    """

    corners: float
    alpha: float
    sigma: float

    def __call__(self, x: Tensor, rng: np.random.Generator) -> Tensor:
        rows, cols = x.shape[1:]
        third, reach = min(rows, cols) // 3, self.corners * min(rows, cols)
        points = np.array([[third, third], [-third, third], [-third, -third]]) + _centre(x)
        moved = np.c_[points + rng.uniform(-reach, reach, (3, 2)), np.ones(3)]
        source = np.linalg.solve(moved, points).T  # where a pixel of the result comes from
        noise = torch.from_numpy(rng.uniform(-1, 1, (2, rows, cols)).astype(np.float32))
        kernel = int(8 * self.sigma + 1) | 1
        smooth: Tensor = V.gaussian_blur(noise, [kernel, kernel], [self.sigma, self.sigma])
        field = smooth.permute(1, 2, 0).numpy() * (self.alpha / 2)
        where = _linear(x, np.eye(2), np.zeros(2)) + field
        return _warp(x, where @ source[:, :2].T + source[:, 2], "reflection", "bilinear")


def _either(limit: float, rng: np.random.Generator) -> float:
    return float(rng.uniform(-limit, limit))


def _turn(angle: float) -> _Floats:
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def _centre(x: Tensor) -> _Floats:
    return np.array([(x.shape[2] - 1) / 2, (x.shape[1] - 1) / 2])


def _linear(x: Tensor, matrix: _Floats, offset: _Floats) -> _Floats:
    """Source position (x, y) of every pixel, shape (H, W, 2), for a linear map about the centre."""
    pixels = np.stack(np.meshgrid(np.arange(x.shape[2]), np.arange(x.shape[1])), axis=-1)
    return np.asarray((pixels - _centre(x)) @ np.transpose(matrix) + offset + _centre(x))


def _warp(x: Tensor, source: _Floats, fill: _Fill, interpolation: Literal["nearest", "bilinear"]) -> Tensor:
    """The picture sampled at `source`, shape (H, W, 2), pixels (x, y)."""
    grid = ((2 * source + 1) / [x.shape[2], x.shape[1]] - 1).astype(np.float32)
    where = torch.from_numpy(grid)[None].to(x.device)
    return grid_sample(x[None], where, mode=interpolation, padding_mode=fill, align_corners=False)[0]
