"""Training pictures as large as those of validation: the ratio, measured on a picture, and its warning."""

from __future__ import annotations

import logging
import math

import numpy as np
import pytest

pytest.importorskip("lightning", reason="training needs the extra `train`")

import torch
from support.train_fixtures import synthetic_data

from skinclf_cli.main import run
from skinclf_training.augment.batch import augment
from skinclf_training.config.read import known_configs, read_config
from skinclf_training.recipes.resolution_check import magnification, magnified

PLAIN = {
    "rotate": 0.0,
    "flip": False,
    "shift": 0.0,
    "cutout": 0.0,
    "brightness": 0.0,
    "contrast": 0.0,
    "saturation": 0.0,
    "hue": 0.0,
    "aspect": 0.0,
    "shear": 0.0,
}


def disc(rows: int, columns: int) -> np.ndarray:
    """A dark disc on white whose radius is an eighth of the shorter side."""
    y, x = np.mgrid[:rows, :columns] + 0.5
    near = np.hypot(y - rows / 2, x - columns / 2) < min(rows, columns) / 8
    return np.repeat(np.where(near, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def area(picture: np.ndarray) -> float:
    return float((1 - picture.astype(np.float64) / 255).mean(axis=-1).sum())


@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
@pytest.mark.parametrize(
    ("store", "zoom", "student"), [((96, 128), 1.0, 0), ((72, 96), 0.8, 0), ((144, 192), 1.0, 48)]
)
def test_the_ratio_is_that_of_pictures(fit: str, store: tuple[int, int], zoom: float, student: int) -> None:
    config = read_config(
        {
            "augment": {**PLAIN, "size": 64, "scale": [zoom, zoom]},
            "data": {"store_height": store[0], "store_width": store[1]},
            "preprocess": {"height": 64, "width": 64, "fit": fit, "crop_pct": 0.8},
            "distill": {"student_size": student},
        }
    )
    stored = torch.from_numpy(disc(*store))[None]
    crop = augment(stored, config.augment, np.random.default_rng(0))[0].permute(1, 2, 0).numpy()
    training = area(crop) * ((student or 64) / 64) ** 2
    validation = area(config.preprocess.build().pixels(disc(450, 600)))
    if fit == "pad":  # The border of padding is dark too.
        validation -= 64 * 16
    assert magnification(config) == pytest.approx(math.sqrt(training / validation), rel=0.03)


def test_configurations_train_at_the_size_they_validate_at() -> None:
    for config in known_configs():
        assert magnified(config) is None, config.name


def test_what_is_proposed_mends_it() -> None:
    config = read_config(
        {
            "augment": {"size": 64, "scale": [1, 1]},
            "data": {"store_height": 96, "store_width": 128},
            "preprocess": {"height": 64, "width": 64, "fit": "crop", "crop_pct": 1.0},
        }
    )
    assert "1.50 times" in str(magnified(config))
    assert "store_height: 64" in str(magnified(config))
    assert "store_width: 85" in str(magnified(config))


def test_a_run_says_so(tmp_path, caplog) -> None:
    prepared = synthetic_data(tmp_path / "data", images=56)
    sets = [
        "augment.size=32",
        "data.store_height=120",
        "data.store_width=160",
        "preprocess.height=32",
        "preprocess.width=32",
        "data.batch_size=4",
        "model.pretrained=false",
        "optim.accelerator=cpu",
        "log.report=false",
        "threads=1",
        "optim.precision=32-true",
    ]
    words = [word for text in sets for word in ("--set", text)]
    with caplog.at_level(logging.WARNING, logger="skinclf"):
        assert (
            run(
                [
                    "train",
                    "--config",
                    "ham10000-mobilenetv2-plain",
                    "--data",
                    str(prepared.folder),
                    "--output",
                    str(tmp_path / "run"),
                    "--max-steps",
                    "1",
                    *words,
                ]
            )
            == 0
        )
    assert "times as large as validation" in caplog.text
