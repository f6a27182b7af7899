"""Training: kill and resume, and the parts that make a run what its configuration says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from skinclf.labels import HAM10000
from skinclf.synthetic import synthetic_lesion

pytest.importorskip("lightning", reason="training needs the extra `train`")

import torch

from skinclf_training.config import Config
from skinclf_training.data.prepare import Prepared, prepare, read_prepared
from skinclf_training.data.split import parse_ratios
from skinclf_training.train import train

TINY = {
    "name": "tiny",
    "seed": 7,
    "threads": 1,
    "model": {"architecture": "test_efficientnet", "drop_rate": 0.2},
    "preprocess": {"height": 32, "width": 32},
    "data": {"store_height": 36, "store_width": 48, "batch_size": 8, "workers": 1},
    "augment": {"size": 32, "mixup": 0.2, "mixup_prob": 0.5},
    "optim": {"epochs": 2, "accelerator": "cpu", "precision": "32-true", "ema": 0.9},
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Seven classes, 56 small pictures."""
    folder = tmp_path_factory.mktemp("train")
    (folder / "images").mkdir()
    lines = ["lesion_id,image_id,dx"]
    for i in range(56):
        Image.fromarray(synthetic_lesion(i % 8, width=48, height=36)).save(folder / "images" / f"i{i:02}.jpg")
        lines.append(f"L{i:02},i{i:02},{HAM10000.codes[i % 7]}")
    (folder / "metadata.csv").write_text("\n".join(lines))
    prepare(
        folder / "metadata.csv", [folder / "images"], folder / "prepared",
        shares=parse_ratios("70/15/15"), seed=1, workers=1,
    )  # fmt: skip
    return read_prepared(folder / "prepared")


def tiny(**changes: dict) -> Config:
    data = json.loads(json.dumps(TINY))
    for key, value in changes.items():
        data[key] = {**data.get(key, {}), **value} if isinstance(value, dict) else value
    return Config.from_dict(data)


def final_state(run: Path) -> dict:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)


def assert_same(a: Path, b: Path) -> None:
    one, two = final_state(a), final_state(b)
    assert one["global_step"] == two["global_step"]
    for key in one["state_dict"]:
        assert torch.equal(one["state_dict"][key], two["state_dict"][key]), key
    first, second = (
        [
            {k: v for k, v in row.items() if k != "seconds"}
            for row in json.loads((r / "history.json").read_text())
        ]
        for r in (a, b)
    )
    assert first == second


@pytest.fixture(scope="module")
def whole(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "whole"
    train(tiny(optim={"checkpoint_steps": 1}), prepared, run)
    return run


class KillError(Exception):
    pass


@pytest.mark.parametrize("step", [1, 3, 5, 6, 8])
def test_a_killed_run_goes_on_to_the_same_weights(
    prepared: Prepared, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    from skinclf_training.module import Classifier

    config = tiny(optim={"checkpoint_steps": 1})
    calls = 0
    original = Classifier.training_step

    def dies(self, batch, batch_idx):
        nonlocal calls
        calls += 1
        if calls > step:
            raise KillError
        return original(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "training_step", dies)
        with pytest.raises(KillError):
            train(config, prepared, tmp_path / "run")
    assert final_state(tmp_path / "run")["global_step"] == step
    train(config, prepared, tmp_path / "run")
    assert_same(whole, tmp_path / "run")


def test_a_run_killed_in_validation_validates_again(
    prepared: Prepared, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from skinclf_training.module import Classifier

    def dies(self, batch, batch_idx):
        raise KillError

    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "validation_step", dies)
        with pytest.raises(KillError):
            train(tiny(optim={"checkpoint_steps": 1}), prepared, tmp_path / "run")
    train(tiny(optim={"checkpoint_steps": 1}), prepared, tmp_path / "run")
    assert_same(whole, tmp_path / "run")
