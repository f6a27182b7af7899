"""Small prepared data and configurations for the tests of training in TensorFlow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

from skinclf.images.synthetic import synthetic_lesion
from skinclf.labels import LabelSet
from skinclf_training.config.read import Config, read_config
from skinclf_training.data.prepare import Prepared, prepare, read_prepared
from skinclf_training.data.split import parse_ratios

TINY: dict[str, Any] = {
    "name": "tiny",
    "framework": "tensorflow",
    "seed": 7,
    "select": "malignant_auc",
    "model": {"architecture": "simple_cnn", "head": ["dense=8", "relu", "dropout=0.5"]},
    "preprocess": {
        "height": 24,
        "width": 24,
        "fit": "squash",
        "scaling": "unit",
        "interpolation": "bilinear",
    },
    "data": {"store_height": 24, "store_width": 24, "batch_size": 6, "workers": 2},
    "augment": {"size": 24},
    "loss": {"kind": "bce", "class_weights": "pos_weight"},
    "optim": {
        "epochs": 3,
        "accelerator": "cpu",
        "precision": "32-true",
        "ema": 0.9,
        "lr": 1e-3,
        "head_lr": 4e-3,
    },
    "log": {"report": False},
}


def tiny(**changes: Any) -> Config:
    data = json.loads(json.dumps(TINY))
    for key, value in changes.items():
        data[key] = {**data.get(key, {}), **value} if isinstance(value, dict) else value
    return read_config(data)


def synthetic_data(folder: Path, labels: LabelSet, count: int) -> Prepared:
    """So many small pictures, every class in turn, split 70/15/15."""
    (folder / "images").mkdir(parents=True)
    lines = ["lesion_id,image_id,dx"]
    for i in range(count):
        Image.fromarray(synthetic_lesion(i % 8, width=80, height=60)).save(folder / "images" / f"i{i:02}.jpg")
        lines.append(f"L{i:02},i{i:02},{labels.codes[i % len(labels)]}")
    (folder / "metadata.csv").write_text("\n".join(lines))
    prepare(
        folder / "metadata.csv",
        [folder / "images"],
        folder / "prepared",
        labels=labels.name,
        shares=parse_ratios("70/15/15"),
        seed=1,
        workers=1,
    )
    return read_prepared(folder / "prepared")
