"""A training run from images to predictions of the new model: `python examples/training_run.py OUTPUT`.

It needs the extra `train`. The pictures are synthetic and the network is tiny, so that it takes seconds and learns
nothing; for a model, put your own data and a configuration of `skinclf train --list-configs` in their place.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from skinclf import Predictor
from skinclf.images.synthetic import synthetic_lesion
from skinclf.labels import HAM10000
from skinclf_training.config.read import read_config
from skinclf_training.data.prepare import prepare, read_prepared
from skinclf_training.experiments.backends import framework

CONFIG = {
    "name": "example",
    "threads": 1,
    "model": {"architecture": "test_efficientnet", "pretrained": False},
    "preprocess": {"height": 32, "width": 32},
    "data": {"store_height": 36, "store_width": 48, "batch_size": 8, "workers": 1},
    "augment": {"size": 32},
    "optim": {"epochs": 1, "accelerator": "cpu", "precision": "32-true"},
    "log": {"report": False},
}


def draw(folder: Path, count: int = 56) -> Path:
    """Synthetic images with a table of labels, in the place of HAM10000."""
    (folder / "images").mkdir(parents=True)
    rows = ["lesion_id,image_id,dx"]
    for n in range(count):
        picture = Image.fromarray(synthetic_lesion(n % 8, width=48, height=36))
        picture.save(folder / "images" / f"image-{n:02}.jpg")
        rows.append(f"L{n:02},image-{n:02},{HAM10000.codes[n % 7]}")
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder / "metadata.csv"


def main(output: Path) -> None:
    """Prepare, train, export, predict."""
    metadata = draw(output / "raw")
    shares = {"train": 0.7, "val": 0.15, "test": 0.15}
    prepare(metadata, [output / "raw" / "images"], output / "prepared", shares=shares)
    data, config = read_prepared(output / "prepared"), read_config(CONFIG)
    chosen = framework(config.framework)
    chosen.train(config, data, output / "run")
    chosen.export(output / "run", data, output / "run" / "bundle", data_name="synthetic")
    prediction = Predictor(output / "run" / "bundle").predict(output / "raw" / "images" / "image-00.jpg")
    print(prediction.name, prediction.probability_malignant)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
