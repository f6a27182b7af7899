"""EfficientNet B0-B7 and V2 S-L with the state-dict names and the arithmetic of torchvision.

Users' checkpoints carry torchvision's names (`features.3.1.block.0.0.weight`); with these modules they
load by name and give the same bits, without torchvision. Stochastic depth, which does nothing at inference, is
off until `set_stochastic_depth` is asked for it.

Sources: Tan and Le, "EfficientNet", ICML 2019; "EfficientNetV2", ICML 2021.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from skinclf.errors import ModelError


@dataclass(frozen=True, slots=True)
class _Stage:
    """`layers` equal blocks; only the first changes width and stride."""

    fused: bool
    expand: int
    kernel: int
    stride: int
    width: int
    layers: int


@dataclass(frozen=True, slots=True)
class _Variant:
    stem: int
    stages: tuple[_Stage, ...]
    last: int
    eps: float
    dropout: float


# Expansion, kernel, stride, width and layers of each stage.
_B0 = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)


def _divisible(channels: float) -> int:
    """To a multiple of 8, never more than a tenth below."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _b(width: float, depth: float, dropout: float, eps: float = 1e-5) -> _Variant:
    stages = tuple(
        _Stage(False, expand, kernel, stride, _divisible(out * width), math.ceil(layers * depth))
        for expand, kernel, stride, out, layers in _B0
    )
    return _Variant(_divisible(32 * width), stages, 4 * stages[-1].width, eps, dropout)


def _v2(dropout: float, *rows: tuple[bool, int, int, int, int]) -> _Variant:
    stages = tuple(_Stage(fused, expand, 3, *others) for fused, expand, *others in rows)
    return _Variant(stages[0].width, stages, 1280, 1e-3, dropout)


VARIANTS: Mapping[str, _Variant] = {
    "efficientnet_b0": _b(1.0, 1.0, 0.2),
    "efficientnet_b1": _b(1.0, 1.1, 0.2),
    "efficientnet_b2": _b(1.1, 1.2, 0.3),
    "efficientnet_b3": _b(1.2, 1.4, 0.3),
    "efficientnet_b4": _b(1.4, 1.8, 0.4),
    "efficientnet_b5": _b(1.6, 2.2, 0.4, 1e-3),
    "efficientnet_b6": _b(1.8, 2.6, 0.5, 1e-3),
    "efficientnet_b7": _b(2.0, 3.1, 0.5, 1e-3),
    "efficientnet_v2_s": _v2(
        0.2,
        (True, 1, 1, 24, 2),
        (True, 4, 2, 48, 4),
        (True, 4, 2, 64, 4),
        (False, 4, 2, 128, 6),
        (False, 6, 1, 160, 9),
        (False, 6, 2, 256, 15),
    ),
    "efficientnet_v2_m": _v2(
        0.3,
        (True, 1, 1, 24, 3),
        (True, 4, 2, 48, 5),
        (True, 4, 2, 80, 5),
        (False, 4, 2, 160, 7),
        (False, 6, 1, 176, 14),
        (False, 6, 2, 304, 18),
        (False, 6, 1, 512, 5),
    ),
    "efficientnet_v2_l": _v2(
        0.4,
        (True, 1, 1, 32, 4),
        (True, 4, 2, 64, 7),
        (True, 4, 2, 96, 7),
        (False, 4, 2, 192, 10),
        (False, 6, 1, 224, 19),
        (False, 6, 2, 384, 25),
        (False, 6, 1, 640, 7),
    ),
}


class EfficientNet(nn.Module):
    """The network: `features`, average pooling, `classifier`; input (N, 3, H, W)."""

    def __init__(self, variant: str, classifier: nn.Module) -> None:
        """Build with random weights.

        Args:
            variant: Key of `VARIANTS`.
            classifier: Head on `feature_width(variant)` values.
        """
        super().__init__()
        plan = _plan(variant)
        features: list[nn.Module] = [_conv(3, plan.stem, 3, stride=2, eps=plan.eps)]
        width = plan.stem
        for stage in plan.stages:
            block = _FusedBlock if stage.fused else _Block
            blocks = []
            for number in range(stage.layers):
                blocks.append(block(width, stage, stage.stride if number == 0 else 1, plan.eps))
                width = stage.width
            features.append(nn.Sequential(*blocks))
        features.append(_conv(width, plan.last, 1, eps=plan.eps))
        self.features = nn.Sequential(*features)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = classifier

    def get_classifier(self) -> nn.Module:
        """The head, under the name that timm's networks have for it."""
        return self.classifier

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the network."""
        result: torch.Tensor = self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))
        return result


def build(num_outputs: int, *, variant: str) -> EfficientNet:
    """The network as torchvision has it, with dropout and one linear layer as its head."""
    plan = _plan(variant)
    head = nn.Sequential(nn.Dropout(plan.dropout, inplace=True), nn.Linear(plan.last, num_outputs))
    return EfficientNet(variant, head)


def set_stochastic_depth(network: nn.Module, rate: float) -> None:
    """Have residual branches dropped in training, per image, more often the deeper they lie.

    Block i of n (from 0) is dropped with probability `rate * i / n`, as torchvision has it (where the rate is
    0.2). Source: Huang et al., "Deep networks with stochastic depth", ECCV 2016.

    Args:
        network: Holds blocks of this module.
        rate: 0 for none, below 1.
    """
    blocks = [module for module in network.modules() if isinstance(module, _Residual)]
    for number, block in enumerate(blocks):
        block.drop = rate * number / len(blocks)


def feature_width(variant: str) -> int:
    """Number of features that the classifier of a variant receives."""
    return _plan(variant).last


def recognise(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """The variant that tensors named `features...` belong to, by widths and depths, or None.

    Args:
        shapes: Tensor name, without what stands before `features.`, to shape.
    """
    for name, plan in VARIANTS.items():
        depths = [stage.layers for stage in plan.stages]
        top = f"features.{len(depths) + 1}.0.weight"
        found = [_depth(shapes, f"features.{i + 1}.") for i in range(len(depths))]
        stem, last = shapes.get("features.0.0.weight"), shapes.get(top)
        if found == depths and stem == (plan.stem, 3, 3, 3) and last is not None and last[0] == plan.last:
            return name
    return None


def _depth(names: Iterable[str], prefix: str) -> int:
    pattern = re.compile(re.escape(prefix) + r"(\d+)\.block\.")
    return len({match[1] for name in names if (match := pattern.match(name))})


def _plan(variant: str) -> _Variant:
    if variant not in VARIANTS:
        raise ModelError(f"Unknown EfficientNet {variant!r}; expected one of {', '.join(VARIANTS)}.")
    return VARIANTS[variant]


def _conv(
    inputs: int, outputs: int, kernel: int, *, eps: float, stride: int = 1, groups: int = 1, act: bool = True
) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)
    layers = [convolution, nn.BatchNorm2d(outputs, eps=eps)]
    return nn.Sequential(*layers, nn.SiLU(inplace=True)) if act else nn.Sequential(*layers)


class _Excite(nn.Module):
    """Squeeze-and-excitation."""

    def __init__(self, width: int, squeezed: int) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(width, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, width, 1)
        self.activation = nn.SiLU(inplace=True)
        self.scale_activation = nn.Sigmoid()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale: torch.Tensor = self.scale_activation(self.fc2(self.activation(self.fc1(self.avgpool(x)))))
        return scale * x


class _Residual(nn.Module):
    """`block`, plus the input where shapes allow it."""

    block: nn.Sequential
    shortcut: bool
    #: Probability that the block is left out of an image's training step.
    drop = 0.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.block(x)
        if not self.shortcut:
            return result
        if self.training and self.drop > 0:
            kept = 1 - self.drop
            result = result * result.new_empty((len(x), 1, 1, 1)).bernoulli_(kept).div_(kept)
        return result + x


class _Block(_Residual):
    """Expand, depthwise, squeeze-and-excite, project."""

    def __init__(self, inputs: int, stage: _Stage, stride: int, eps: float) -> None:
        super().__init__()
        wide = _divisible(inputs * stage.expand)
        layers: list[nn.Module] = [_conv(inputs, wide, 1, eps=eps)] if wide != inputs else []
        layers += [
            _conv(wide, wide, stage.kernel, stride=stride, groups=wide, eps=eps),
            _Excite(wide, max(1, inputs // 4)),
            _conv(wide, stage.width, 1, eps=eps, act=False),
        ]
        self.block = nn.Sequential(*layers)
        self.shortcut = stride == 1 and inputs == stage.width


class _FusedBlock(_Residual):
    """Expansion and depthwise convolution as one full convolution, then project."""

    def __init__(self, inputs: int, stage: _Stage, stride: int, eps: float) -> None:
        super().__init__()
        wide = _divisible(inputs * stage.expand)
        if wide == inputs:
            layers = [_conv(inputs, stage.width, stage.kernel, stride=stride, eps=eps)]
        else:
            layers = [
                _conv(inputs, wide, stage.kernel, stride=stride, eps=eps),
                _conv(wide, stage.width, 1, eps=eps, act=False),
            ]
        self.block = nn.Sequential(*layers)
        self.shortcut = stride == 1 and inputs == stage.width
