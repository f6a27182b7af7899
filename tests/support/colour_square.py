"""A model whose true region is known: how red a place is decides, and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skinclf.images.preprocess import Preprocess
from skinclf.labels import MALIGNANT
from skinclf.models.loaded import LoadedModel
from skinclf.models.spec import ModelSpec


class RedNetwork(nn.Module):
    """The logit of malignancy is the mean redness: red above blue, on a grid of cells of four pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.AvgPool2d(4)
        self.colours = nn.Conv2d(3, 2, 1)
        self.act = nn.ReLU(inplace=True)
        self.head = nn.Linear(2, 1)
        with torch.no_grad():
            self.colours.weight.copy_(torch.tensor([[1.0, 0.0, -1.0], [0.0, 1.0, 0.0]]).view(2, 3, 1, 1))
            assert self.colours.bias is not None
            self.colours.bias.copy_(torch.tensor([-0.1, 0.0]))
            self.head.weight.copy_(torch.tensor([[60.0, 0.0]]))
            self.head.bias.copy_(torch.tensor([-1.0]))

    def forward(self, x: Tensor) -> Tensor:
        logit: Tensor = self.head(self.act(self.colours(self.cells(x))).mean(dim=(2, 3)))
        return logit


def red_model(**preprocess: Any) -> LoadedModel:
    """The model with a preprocessing of 64 x 64 pixels, changed by keyword arguments."""
    settings = {"height": 64, "width": 64, **preprocess}
    spec = ModelSpec(
        name="red",
        architecture="red",
        labels=MALIGNANT,
        preprocess=Preprocess(**settings),
        activation="sigmoid",
        weights_sha256="0" * 64,
    )
    return LoadedModel(spec=spec, network=RedNetwork().eval())


def with_square(rows: int, cols: int, top: int, left: int, side: int, *, seed: int = 0) -> np.ndarray:
    """A blue-grey picture with a red square."""
    noise = np.random.default_rng(seed).integers(-8, 9, (rows, cols, 3))
    picture = np.full((rows, cols, 3), (110, 120, 140)) + noise
    picture[top : top + side, left : left + side] = (210, 60, 50)
    return picture.clip(0, 255).astype(np.uint8)
