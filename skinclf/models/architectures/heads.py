"""A timm backbone with a custom head: `skinclf/timm-head`.

The head is a list of steps between the pooled features and the last linear layer, in the words of training
configurations: `dropout=0.5`, `dense=256`, `batchnorm`, `relu`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from skinclf.errors import ModelError
from skinclf.models.architectures.timm import build_timm

#: Upper limit of a step's width; a file must not exhaust the memory.
_WIDEST = 65_536
_STEPS = "dropout=<share>, dense=<width>, batchnorm or relu"


def make_head(features: int, steps: Sequence[str], num_outputs: int) -> nn.Sequential:
    """The layers of a head: its steps, then one linear layer.

    Args:
        features: Number of input values.
        steps: Steps such as `("dropout=0.5", "dense=256", "relu")`.
        num_outputs: Number of outputs.

    Raises:
        ModelError: A step is unknown, or its number is out of range.
    """
    layers: list[nn.Module] = []
    width = features
    for step in steps:
        layer = _layer(str(step), width)
        if isinstance(layer, nn.Linear):
            width = layer.out_features
        layers.append(layer)
    return nn.Sequential(*layers, nn.Linear(width, num_outputs))


def _layer(step: str, width: int) -> nn.Module:
    name, equals, text = step.partition("=")
    if name == "batchnorm" and not equals:
        return nn.BatchNorm1d(width)
    if name == "relu" and not equals:
        return nn.ReLU()
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if name == "dropout" and 0 <= number < 1:
        return nn.Dropout(number)
    if name == "dense" and 1 <= number <= _WIDEST and number == int(number):
        return nn.Linear(width, int(number))
    raise ModelError(f"Unknown step {step!r} of a head; expected {_STEPS}, with a width up to {_WIDEST:,}.")


class HeadedNetwork(nn.Module):
    """Backbone and head; input (N, 3, H, W), logits (N, outputs) out."""

    def __init__(self, backbone: nn.Module, steps: Sequence[str], num_outputs: int) -> None:
        """Put a fresh head on a backbone.

        Args:
            backbone: A timm network without classifier (`num_classes=0`).
            steps: See `make_head`.
            num_outputs: Width of the last layer.
        """
        super().__init__()
        self.backbone = backbone
        self.head = make_head(int(backbone.head_hidden_size), steps, num_outputs)  # type: ignore[arg-type]

    def get_classifier(self) -> nn.Module:
        """The head, under the name that timm's networks have for it."""
        return self.head

    def forward(self, x: Tensor) -> Tensor:
        """Run the network."""
        values: Tensor = self.head(self.backbone(x))
        return values


def build(
    num_outputs: int, *, backbone: str, head: Sequence[str], backbone_args: Mapping[str, Any] | None = None
) -> HeadedNetwork:
    """A timm backbone and its head with random weights.

    Args:
        num_outputs: Width of the last layer.
        backbone: timm name.
        head: See `make_head`.
        backbone_args: Keyword arguments of the backbone.

    Raises:
        ModelError: The backbone or a step is unknown.
        UnsafeModelError: The arguments ask timm for more than a network.
    """
    return HeadedNetwork(build_timm(backbone, 0, dict(backbone_args or {})), head, num_outputs)
