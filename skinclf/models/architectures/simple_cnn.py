"""The small convolutional network of devatreya/Skin-lesion-classification-using-CNN, layer by layer.

Three blocks of convolution, normalisation, pooling and dropout, global average pooling, and three dense layers;
160,193 numbers with one output, counted as Keras counts them (with the running statistics).
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

# Keras' defaults, which the project keeps: epsilon, and what torch calls momentum.
_EPS, _MOMENTUM = 1e-3, 0.01


class SimpleCNN(nn.Module):
    """The network; input (N, 3, H, W) with sides of at least 8, logits (N, outputs) out."""

    def __init__(self, num_outputs: int) -> None:
        """Build with random weights."""
        super().__init__()
        widths = (3, 32, 64, 128)
        self.features = nn.Sequential(*(_block(a, b) for a, b in pairwise(widths)))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Linear(widths[-1], 256),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(256, 128),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(128, num_outputs),
        )

    def get_classifier(self) -> nn.Module:
        """The dense layers, under the name that timm's networks have for them."""
        return self.classifier

    def forward(self, x: Tensor) -> Tensor:
        """Run the network."""
        values: Tensor = self.classifier(self.pool(self.features(x)).flatten(1))
        return values


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.ReLU(),
        nn.BatchNorm2d(outputs, eps=_EPS, momentum=_MOMENTUM),
        nn.MaxPool2d(2),
        nn.Dropout(0.25),
    )


def build(num_outputs: int) -> SimpleCNN:
    """The network with random weights."""
    return SimpleCNN(num_outputs)
