"""A run in TensorFlow keeps what one in PyTorch keeps: epochs, events, log, and a finished run as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("tensorflow", reason="needs the extra `tensorflow`")
pytest.importorskip("lightning", reason="training needs the extra `train`")

import numpy as np
from support.keras_training import synthetic_data, tiny

from skinclf.errors import DivergenceError
from skinclf.labels import MALIGNANT
from skinclf_training.data.prepare import Prepared
from skinclf_training.keras.framework import tf
from skinclf_training.keras.learner import Learner
from skinclf_training.keras.trainer import train
from skinclf_training.recipes.batch_progress import BatchProgress


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return synthetic_data(tmp_path_factory.mktemp("data"), MALIGNANT, 30)


def test_epochs_events_and_progress_are_kept_and_a_finished_run_stays(
    prepared: Prepared, tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run, seen = tmp_path / "run", list[BatchProgress]()
    phases = [{"epoch": 0, "trainable": "head"}, {"epoch": 1}]
    config = tiny(optim={"phases": phases}, log={"tensorboard": True, "keep_epochs": 2})
    rows = train(config, prepared, run, on_batch=seen.append)
    assert [(p.epoch, p.batch) for p in seen] == [(e, b) for e in (1, 2, 3) for b in (1, 2, 3)]
    assert {p.batches for p in seen} == {3}
    assert sorted(p.name for p in (run / "checkpoints").glob("epoch-*")) == [
        "epoch-002.ckpt",
        "epoch-003.ckpt",
    ]
    assert [row["frozen_layers"] for row in rows] == [6, 0, 0]
    assert all(0 <= row["val_predicted_positive_rate"] <= 1 for row in rows)
    scalars = {}
    for events in sorted((run / "tensorboard").glob("events*")):
        found = EventAccumulator(str(events)).Reload()
        for name in found.Tags()["tensors"]:
            values = [float(tf.make_ndarray(t.tensor_proto)) for t in found.Tensors(name)]
            scalars.setdefault(name, []).extend(values)
    assert scalars["train_loss"] == pytest.approx([row["train_loss"] for row in rows])
    assert "val_malignant_auc" in (run / "train.log").read_text()
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*") if p.is_file() and p.name != "train.log"}
    assert train(config, prepared, run) == rows
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_a_loss_that_is_no_number_is_one_sentence(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Learner.step

    def breaks(self: Learner, pixels: object, soft: object, rates: object, number: int) -> None:
        original(self, pixels, soft, rates, number)
        if number == 2:
            self.built.model.weights[0].assign(np.full(self.built.model.weights[0].shape, np.nan))

    monkeypatch.setattr(Learner, "step", breaks)
    with pytest.raises(DivergenceError, match=r"Epoch 1.*not a number.*the folder is free"):
        train(tiny(), prepared, tmp_path / "run")
