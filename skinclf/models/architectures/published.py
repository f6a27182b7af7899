"""Networks of three published training projects: an EfficientNet with each project's own head.

Names in the state dict are those of the projects' checkpoints, so that users' files load by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from skinclf.errors import ModelError
from skinclf.models.architectures.efficientnet import EfficientNet, feature_width


def _skin_condition_assistant(features: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Dropout(0.5),
        nn.Linear(features, 256),
        nn.ReLU(),
        nn.BatchNorm1d(256),
        nn.Dropout(0.5),
        nn.Linear(256, outputs),
    )


def _dermalyze(features: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Dropout(0.5),
        nn.Linear(features, 512),
        nn.BatchNorm1d(512),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Linear(512, 256),
        nn.BatchNorm1d(256),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Linear(256, outputs),
    )


@dataclass(frozen=True, slots=True)
class _Design:
    """Layout of a project's network.

    Attributes:
        attribute: Name that holds the EfficientNet.
        head: Function that builds the head from the number of features and of outputs.
        apart: Whether the head is `classifier` of the whole, not of the EfficientNet.
        output: Name of the tensor whose rows are the outputs.
    """

    attribute: str
    head: Callable[[int, int], nn.Module]
    apart: bool
    output: str


DESIGNS: Mapping[str, _Design] = {
    # ISIC 2019, 8 classes (Haseeb2510/ISIC-2019-Skin-Lesion-Classification)
    "skin-condition-assistant": _Design(
        "base_model", _skin_condition_assistant, False, "base_model.classifier.5.weight"
    ),
    # HAM10000, melanoma or not (Wesius/Skin-Lesion-Melanoma-Analyzer)
    "melanoma-analyzer": _Design("efficientnet", nn.Linear, False, "efficientnet.classifier.weight"),
    # HAM10000, 7 classes (asmit404/Dermalyze)
    "dermalyze": _Design("backbone", _dermalyze, True, "classifier.9.weight"),
}


class PublishedNetwork(nn.Module):
    """A project's network; input (N, 3, H, W), logits (N, outputs) out."""

    def __init__(self, design: str, variant: str, num_outputs: int) -> None:
        """Build with random weights.

        Args:
            design: Key of `DESIGNS`.
            variant: Key of `skinclf.models.architectures.efficientnet.VARIANTS`.
            num_outputs: Width of the last layer.
        """
        super().__init__()
        if design not in DESIGNS:
            raise ModelError(f"Unknown design {design!r}; expected one of {', '.join(DESIGNS)}.")
        plan = DESIGNS[design]
        head = plan.head(feature_width(variant), num_outputs)
        self._attribute = plan.attribute
        self.add_module(plan.attribute, EfficientNet(variant, nn.Identity() if plan.apart else head))
        if plan.apart:
            self.classifier = head

    def get_classifier(self) -> nn.Module:
        """The head, under the name that timm's networks have for it."""
        if "classifier" in self._modules:
            return self.classifier
        return self.get_submodule(f"{self._attribute}.classifier")

    def forward(self, x: Tensor) -> Tensor:
        """Run the network."""
        values: Tensor = self.get_submodule(self._attribute)(x)
        return self.classifier(values) if "classifier" in self._modules else values


def build(num_outputs: int, *, design: str, variant: str) -> PublishedNetwork:
    """A project's network with random weights.

    Raises:
        ModelError: The design or the variant is unknown.
    """
    return PublishedNetwork(design, variant, num_outputs)
