"""A small torch network of an image and ten numbers for age, sex and site, and the ONNX file of it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from skinclf.models.options import ModelOptions

SIDE = 32
ENCODING: dict[str, Any] = {
    "entries": [
        {"entry": "sex", "words": ["female", "male", None], "missing": [0, 0, 1]},
        {
            "entry": "site",
            "words": [
                "upper extremity",
                "head/neck",
                ["lower extremity", "oral/genital"],
                "torso",
                None,
            ],
            "missing": [0, 0, 0, 0, 1],
        },
        {"entry": "age", "divide": 90, "missing": 0.6},
        {"entry": "age", "indicator": True},
    ]
}
WIDTH = 10
OPTIONS: dict[str, Any] = {"labels": "ham10000", "preprocess": "unit-pillow", "input_size": SIDE}


def options(encoding: Path) -> ModelOptions:
    """Facts that the file lacks."""
    return ModelOptions(**OPTIONS, metadata_encoding=encoding)


class TwoInputs(nn.Module):
    """Features of the image, of the ten numbers, and a softmax over both."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU())
        self.second = nn.Sequential(nn.Linear(WIDTH, 6), nn.ReLU())
        self.last = nn.Linear(14, 7)

    def forward(self, pixels: Tensor, entries: Tensor) -> Tensor:
        """Logits (N, 7) of (N, 3, 32, 32) and (N, 10)."""
        seen = self.first(pixels).mean((2, 3))
        scores: Tensor = self.last(torch.cat([3 * seen, self.second(entries)], 1))
        return scores


class Swapped(nn.Module):
    """The same with the vector first, and images of height, width, channels."""

    def __init__(self, network: TwoInputs) -> None:
        super().__init__()
        self.network = network

    def forward(self, entries: Tensor, pixels: Tensor) -> Tensor:
        """Probabilities."""
        scores: Tensor = self.network(pixels.permute(0, 3, 1, 2), entries)
        return scores.softmax(1)


def network() -> TwoInputs:
    """With lively weights."""
    torch.manual_seed(0)
    made = TwoInputs().eval()
    with torch.no_grad():
        for parameter in made.last.parameters():
            parameter.mul_(4)
    return made


def save_onnx(path: Path, *, swapped: bool = False, batch: str | None = "n") -> TwoInputs:
    """Write the ONNX file; returns the network that it is made of."""
    made = network()
    pixels, entries = torch.zeros(1, 3, SIDE, SIDE), torch.zeros(1, WIDTH)
    module: nn.Module = Swapped(made).eval() if swapped else made
    given = (entries, pixels.permute(0, 2, 3, 1)) if swapped else (pixels, entries)
    names = ["clinical", "picture"] if swapped else ["picture", "clinical"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            given,
            str(path),
            input_names=names,
            output_names=["scores"],
            dynamic_axes={name: {0: batch} for name in (*names, "scores")} if batch else None,
            opset_version=18,
            dynamo=False,
        )
    return made
