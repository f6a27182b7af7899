"""Activations as Keras defines them; torch's own module where the definitions agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from skinclf.models.architectures.graph.arguments import Arguments


class HardSigmoid2(nn.Module):
    """Keras 2's `hard_sigmoid`, `clip(0.2 x + 0.5, 0, 1)`; Keras 3 and torch mean `relu6(x + 3) / 6`."""

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        return (0.2 * x + 0.5).clamp(0, 1)


class Exponential(nn.Module):
    """`exp(x)`."""

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        return x.exp()


class GeneralReLU(nn.Module):
    """Keras' `ReLU(max_value, negative_slope, threshold)`.

    `x` from the threshold on, at most `maximum`; `slope * (x - threshold)` below.
    """

    def __init__(self, maximum: float | None, slope: float, threshold: float) -> None:
        super().__init__()
        self.maximum, self.slope, self.threshold = maximum, slope, threshold

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        y = torch.where(x >= self.threshold, x, self.slope * (x - self.threshold))
        return y if self.maximum is None else y.clamp(max=self.maximum)

    def extra_repr(self) -> str:
        """For `print`."""
        return f"maximum={self.maximum}, slope={self.slope}, threshold={self.threshold}"


def _general_relu(a: Arguments) -> nn.Module:
    maximum = a.number("max") if a.flag("capped", False) else None
    return GeneralReLU(maximum, a.number("slope", 0.0), a.number("threshold", 0.0))


ACTIVATIONS: Mapping[str, Callable[[Arguments], nn.Module]] = {
    "relu": lambda _: nn.ReLU(),
    "relu6": lambda _: nn.ReLU6(),
    "general_relu": _general_relu,
    "leaky_relu": lambda a: nn.LeakyReLU(a.number("slope")),
    "elu": lambda a: nn.ELU(a.number("alpha")),
    "selu": lambda _: nn.SELU(),
    "sigmoid": lambda _: nn.Sigmoid(),
    "hard_sigmoid": lambda _: nn.Hardsigmoid(),
    "hard_sigmoid_2": lambda _: HardSigmoid2(),
    "silu": lambda _: nn.SiLU(),
    "hard_silu": lambda _: nn.Hardswish(),
    "gelu": lambda a: nn.GELU(a.choice("approximate", {"none", "tanh"})),
    "tanh": lambda _: nn.Tanh(),
    "softplus": lambda _: nn.Softplus(),
    "softsign": lambda _: nn.Softsign(),
    "exponential": lambda _: Exponential(),
    "mish": lambda _: nn.Mish(),
    "softmax": lambda a: nn.Softmax(a.integer("axis", low=1, high=8)),
}
