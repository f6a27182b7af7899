"""Training: kill and resume, what a run leaves behind, and its way to a bundle."""

from __future__ import annotations

import csv
import dataclasses
import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from skinclf.errors import InvalidArgumentError, MismatchError

pytest.importorskip("lightning", reason="training needs the extra `train`")

from support.train_fixtures import assert_same, final_state, synthetic_data, tiny

from skinclf.inference.predictor import Predictor
from skinclf.models.bundle import read_spec, read_weights
from skinclf.models.loaded import LoadedModel
from skinclf_training.config.read import load_config
from skinclf_training.data.prepare import Prepared
from skinclf_training.recipes.bundle_export import fit_temperature, load_bundle_network
from skinclf_training.torch.export import export_run
from skinclf_training.torch.trainer import train


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Seven classes, 56 small pictures."""
    return synthetic_data(tmp_path_factory.mktemp("train"))


@pytest.fixture(scope="module")
def whole(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "whole"
    train(tiny(optim={"checkpoint_steps": 1}), prepared, run)
    return run


class KillError(Exception):
    pass


@pytest.mark.parametrize("step", [3, 5, 6])
def test_a_killed_run_goes_on_to_the_same_weights(
    prepared: Prepared, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    from skinclf_training.torch.lightning_module import Classifier

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
    from skinclf_training.torch.lightning_module import Classifier

    def dies(self, batch, batch_idx):
        raise KillError

    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "validation_step", dies)
        with pytest.raises(KillError):
            train(tiny(optim={"checkpoint_steps": 1}), prepared, tmp_path / "run")
    train(tiny(optim={"checkpoint_steps": 1}), prepared, tmp_path / "run")
    assert_same(whole, tmp_path / "run")


def test_a_killed_process_goes_on(prepared: Prepared, whole: Path, tmp_path: Path) -> None:
    """SIGKILL, in a process of its own: nothing gets a chance to tidy up."""
    import signal
    import subprocess
    import sys

    config, run = tmp_path / "c.yaml", tmp_path / "run"
    config.write_text(tiny(optim={"checkpoint_steps": 1}).to_yaml())
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from skinclf_training.torch import trainer as t\n"
        "from skinclf_training.config.read import load_config\n"
        "from skinclf_training.data.prepare import read_prepared\n"
        "from skinclf_training.torch.lightning_module import Classifier\n"
        "step = Classifier.training_step\n"
        "def dies(self, batch, batch_idx):\n"
        "    if self.global_step == 7:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return step(self, batch, batch_idx)\n"
        "Classifier.training_step = dies\n"
        "t.train(load_config(sys.argv[1]), read_prepared(Path(sys.argv[2])), Path(sys.argv[3]))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(config), str(prepared.folder), str(run)],
        capture_output=True,
        check=False,
    )
    assert result.returncode == -signal.SIGKILL, result.stderr.decode()
    train(tiny(optim={"checkpoint_steps": 1}), prepared, run)
    assert_same(whole, run)


def test_a_folder_belongs_to_one_run(prepared: Prepared, whole: Path) -> None:
    with pytest.raises(MismatchError, match="another configuration"):
        train(tiny(seed=8), prepared, whole)
    with pytest.raises(InvalidArgumentError, match="holds a run already"):
        train(tiny(optim={"checkpoint_steps": 1}), prepared, whole, resume="never")
    moved = dataclasses.replace(prepared, manifest={**prepared.manifest, "split_sha256": "0" * 64})
    with pytest.raises(MismatchError, match="started on split"):
        train(tiny(optim={"checkpoint_steps": 1}), moved, whole)


def test_a_run_says_what_it_was(prepared: Prepared, whole: Path) -> None:
    facts = json.loads((whole / "environment.json").read_text())
    assert facts["split_sha256"] == prepared.hash
    assert facts["versions"]["torch"] == version("torch")
    rows = json.loads((whole / "history.json").read_text())
    assert [row["epoch"] for row in rows] == [1, 2]
    assert (whole / "history.csv").read_text().count("\n") == 3
    assert load_config(str(whole / "config.yaml")) == tiny(optim={"checkpoint_steps": 1})


def test_exported_bundle_gives_its_predictions_to_the_sdk(
    prepared: Prepared, whole: Path, tmp_path: Path
) -> None:
    made = export_run(whole, prepared, tmp_path / "bundle", test_part=True)
    spec = read_spec(tmp_path / "bundle")
    assert spec == made.spec.replace(source=str(tmp_path / "bundle"))
    assert spec.license == "CC-BY-NC-4.0"
    assert spec.training["split_sha256"] == prepared.hash
    assert spec.training["seed"] == 7
    assert {str(v.dtype) for v in read_weights(tmp_path / "bundle", spec).values()} == {
        "torch.float16",
        "torch.float32",
    }
    predictor = Predictor(str(tmp_path / "bundle"), runtime="torch", device="cpu", workers=0)
    for part in ("val", "test"):
        rows = list(csv.DictReader(made.predictions[part].open()))
        assert [r["image"] for r in rows] == [prepared.images[i] for i in prepared.rows(part)]
        wanted = np.array([[r[f"p_{c}"] for c in spec.labels.codes] for r in rows], dtype=np.float32)
        paths = [prepared.paths[i] for i in prepared.rows(part)]
        got = np.array(
            [[p.probabilities[c] for c in spec.labels.codes] for p in predictor.predict(paths)], np.float32
        )
        assert np.abs(wanted - got).max() < 1e-6
    assert (tmp_path / "bundle" / "predictions_val.csv").read_bytes() == made.predictions["val"].read_bytes()
    golden = spec.golden[0]
    assert (tmp_path / "bundle" / golden.file).is_file()
    raw = Predictor(
        LoadedModel(spec=spec.replace(calibration=None), network=load_bundle_network(tmp_path / "bundle"))
    )
    seen = raw.predict(tmp_path / "bundle" / golden.file)
    assert [seen.probabilities[c] for c in spec.labels.codes] == pytest.approx(
        golden.probabilities, abs=golden.tolerance
    )


def test_temperature_recovers_a_known_one() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20_000, 4)) * 2
    chances = np.exp(logits * 0.6) / np.exp(logits * 0.6).sum(1, keepdims=True)
    targets = (rng.random((20_000, 1)) > chances.cumsum(1)).sum(1)
    assert fit_temperature(logits, targets).scale[0] == pytest.approx(0.6, abs=0.03)


def test_export_wants_a_run_and_its_data(prepared: Prepared, whole: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="finished at least one epoch"):
        export_run(tmp_path, prepared, tmp_path / "bundle")
    moved = dataclasses.replace(prepared, manifest={**prepared.manifest, "split_sha256": "0" * 64})
    with pytest.raises(MismatchError, match="was trained on split"):
        export_run(whole, moved, tmp_path / "bundle")


def test_validation_probabilities_are_normalised_by_row(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from skinclf_training.torch import lightning_module

    class Epoch:
        current_epoch = 0

    seen = []

    def figures(probabilities, targets, labels):
        seen.append(probabilities)
        return {"macro_auc": 0.5}

    monkeypatch.setattr(lightning_module, "validation_metrics", figures)
    monkeypatch.setattr(lightning_module.Classifier, "trainer", Epoch())
    monkeypatch.setattr(lightning_module.Classifier, "log_dict", lambda *_, **__: None)
    network, weights = torch.nn.Conv2d(3, 7, 1), np.ones(7, np.float32)
    monkeypatch.setattr(
        lightning_module, "Freezer", lambda *_: type("Still", (), {"settle": lambda _: None})()
    )
    module = lightning_module.Classifier(tiny(), network, prepared.labels, weights, batches_per_epoch=1)
    scores = torch.tensor(np.random.default_rng(0).normal(0, 3, (12, 7)), dtype=torch.float32)
    module._outputs = [(scores[:8], torch.arange(8) % 7), (scores[8:], torch.arange(4))]
    module.on_validation_epoch_end()
    assert np.allclose(seen[0], scores.softmax(dim=1).numpy(), atol=1e-6)
