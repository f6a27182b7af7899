"""A network of your own in skinclf: `python examples/custom_model.py OUTPUT [IMAGE ...]`.

Any network of timm or torchvision whose weights are a state dict works like this. Here it has random weights, so that
its answers mean nothing; put the file of your training in the place of `weights.pth`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import timm
import torch

from skinclf import ModelOptions, Predictor
from skinclf.conversion import convert_model

ARCHITECTURE = "mobilenetv2_100"


def train(file: Path) -> Path:
    """Write a state dict, in the place of your training."""
    network = timm.create_model(ARCHITECTURE, pretrained=False, num_classes=7)
    torch.save(network.state_dict(), file)
    return file


def main(output: Path, images: list[Path]) -> None:
    """Classify images by a state dict, then by the bundle that is made of it: the same numbers."""
    output.mkdir(parents=True)
    # What the file cannot say: the network, what its outputs mean, and how its images were prepared.
    options = ModelOptions(architecture=ARCHITECTURE, labels="ham10000", preprocess="torch-pillow")
    file = train(output / "weights.pth")
    convert_model(file, output / "bundle", options=options)
    own, bundle = Predictor(file, options=options), Predictor(output / "bundle")
    for image in images:
        before, after = own.predict(image), bundle.predict(image)
        print(image.name, before.name, before.probability_malignant, after.probability_malignant)


if __name__ == "__main__":
    examples = sorted((Path(__file__).parent / "images").glob("*.jpg"))[:3]
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]] or examples)
