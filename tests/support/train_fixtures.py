"""A small prepared data set and small configurations, for tests of training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from skinclf.images.synthetic import synthetic_lesion
from skinclf.labels import TAXONOMIES
from skinclf_training.config.read import Config, read_config
from skinclf_training.data.prepare import Prepared, prepare, read_prepared
from skinclf_training.data.split import parse_ratios

TINY = {
    "name": "tiny",
    "seed": 7,
    "threads": 1,
    "model": {"architecture": "test_efficientnet", "drop_rate": 0.2},
    "preprocess": {"height": 32, "width": 32},
    "data": {"store_height": 36, "store_width": 48, "batch_size": 8, "workers": 1},
    "augment": {"size": 32, "mixup": 0.2, "mixup_prob": 0.5},
    "optim": {"epochs": 2, "accelerator": "cpu", "precision": "32-true", "ema": 0.9},
    "log": {"report": False},
}


def tiny(**changes: Any) -> Config:
    """A configuration of a few seconds, with changes per section."""
    data = json.loads(json.dumps(TINY))
    for key, value in changes.items():
        data[key] = {**data.get(key, {}), **value} if isinstance(value, dict) else value
    return read_config(data)


def synthetic_data(
    folder: Path, *, labels: str = "ham10000", images: int = 56, size: tuple[int, int] = (48, 36)
) -> Prepared:
    """Synthetic pictures of every class of a taxonomy in turn, one lesion each, split 70/15/15.

    The binary taxonomies are written as HAM10000 has them, so that the crosswalk is used.
    """
    (folder / "images").mkdir(parents=True)
    codes: Sequence[str] = TAXONOMIES["ham10000" if labels in {"malignant", "melanoma"} else labels].codes
    lines = ["lesion_id,image_id,dx"]
    for i in range(images):
        picture = synthetic_lesion(i % 8, width=size[0], height=size[1])
        Image.fromarray(picture).save(folder / "images" / f"i{i:03}.jpg")
        lines.append(f"L{i:03},i{i:03},{codes[i % len(codes)]}")
    (folder / "metadata.csv").write_text("\n".join(lines))
    prepare(
        folder / "metadata.csv",
        [folder / "images"],
        folder / "prepared",
        labels=labels,
        shares=parse_ratios("70/15/15"),
        seed=1,
        workers=1,
    )
    return read_prepared(folder / "prepared")


def final_state(run: Path) -> dict[str, Any]:
    """The run's last checkpoint."""
    state: dict[str, Any] = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    return state


def assert_same(a: Path, b: Path) -> None:
    """Two runs ended with the same weights, optimiser, decisions and history, bit for bit."""
    one, two = final_state(a), final_state(b)
    assert one["global_step"] == two["global_step"]
    for key in one["state_dict"]:
        assert torch.equal(one["state_dict"][key], two["state_dict"][key]), key
    assert one["skinclf_watch"] == two["skinclf_watch"]
    for first, second in zip(*(s["optimizer_states"][0]["state"].values() for s in (one, two)), strict=True):
        assert all(torch.equal(first[key], second[key]) for key in first)
    first, second = (
        [
            {k: v for k, v in row.items() if k != "seconds"}
            for row in json.loads((r / "history.json").read_text())
        ]
        for r in (a, b)
    )
    assert first == second
