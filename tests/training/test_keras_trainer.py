"""Training in TensorFlow from end to end: kill and resume, run folders, and every published configuration."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("tensorflow", reason="needs the extra `tensorflow`")
pytest.importorskip("lightning", reason="training needs the extra `train`")
pytestmark = pytest.mark.tensorflow

from support.keras_training import synthetic_data, tiny

from skinclf.conversion.verify import verify_model
from skinclf.errors import InvalidArgumentError, MismatchError, ModelError
from skinclf.images.decode import load_image
from skinclf.inference.predictor import Predictor
from skinclf.labels import ISIC2019, ISIC2019_7, MALIGNANT, parse_labels
from skinclf.models.load import load_model
from skinclf.models.options import ModelOptions
from skinclf_training.config.read import Config, load_config
from skinclf_training.data.prepare import Prepared
from skinclf_training.keras.checkpoint import read_checkpoint
from skinclf_training.keras.export import check_agreement, export_run, restore_model
from skinclf_training.keras.framework import keras, tf
from skinclf_training.keras.learner import Learner
from skinclf_training.keras.trainer import train

CONFIGS = (
    "devatreya-efficientnetb0",
    "devatreya-inceptionv3",
    "devatreya-resnet50",
    "devatreya-simple-cnn",
    "devatreya-vgg16",
    "skinconditionassistant-tensorflow",
    "skinsight-efficientnetb0",
    "skinsight-resnet50",
)
# Two phases, so that optimisers change on the way, and a checkpoint after every step.
PHASES = {"phases": [{"epoch": 0, "trainable": "head"}, {"epoch": 1, "lr": 0.5}], "checkpoint_steps": 1}
CONFIG = tiny(optim=PHASES)
STEPS = 9  # three epochs of three


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return synthetic_data(tmp_path_factory.mktemp("data"), MALIGNANT, 26)


@pytest.fixture(scope="module")
def whole(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "whole"
    rows = train(CONFIG, prepared, run)
    assert rows[-1]["step"] == STEPS
    return run


def history(run: Path) -> list[dict]:
    rows = json.loads((run / "history.json").read_text())
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def assert_same(one: Path, two: Path) -> None:
    for name in ("last", "best"):
        (a, x), (b, y) = (read_checkpoint(run / "checkpoints" / f"{name}.ckpt") for run in (one, two))
        assert a.keys() == b.keys()
        assert [key for key in a if not np.array_equal(a[key], b[key])] == []
        assert (x.epoch, x.batch, x.step, x.best, x.watch) == (y.epoch, y.batch, y.step, y.best, y.watch)
    assert history(one) == history(two)


class KillError(Exception):
    pass


def killed(config: Config, prepared: Prepared, run: Path, method: str, *, after: int) -> None:
    """Train until a method of the learner is called with a step beyond `after`."""
    original = getattr(Learner, method)

    def dies(self, *args):
        if read_step(run) >= after:
            raise KillError
        return original(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, method, dies)
        with pytest.raises(KillError):
            train(config, prepared, run)
    assert read_step(run) == after


def read_step(run: Path) -> int:
    checkpoint = run / "checkpoints" / "last.ckpt"
    return read_checkpoint(checkpoint)[1].step if checkpoint.is_file() else 0


def test_a_run_killed_again_and_again_comes_to_the_same_weights(
    prepared: Prepared, whole: Path, tmp_path: Path
) -> None:
    """Within a phase, in validation, at an epoch's end where a phase ends too, and within the next phase."""
    run = tmp_path / "run"
    for method, after in (("step", 1), ("scores", 2), ("step", 3), ("step", 8)):
        killed(CONFIG, prepared, run, method, after=after)
    train(CONFIG, prepared, run)
    assert_same(whole, run)


def test_a_killed_process_goes_on(prepared: Prepared, whole: Path, tmp_path: Path) -> None:
    """SIGKILL, in a process of its own: nothing gets a chance to tidy up."""
    config, run = tmp_path / "c.yaml", tmp_path / "run"
    config.write_text(CONFIG.to_yaml())
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from skinclf_training.config.read import load_config\n"
        "from skinclf_training.data.prepare import read_prepared\n"
        "from skinclf_training.keras import trainer as t\n"
        "step = t.Learner.step\n"
        "def dies(self, pixels, soft, rates, number):\n"
        "    if number == 6:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    step(self, pixels, soft, rates, number)\n"
        "t.Learner.step = dies\n"
        "t.train(load_config(sys.argv[1]), read_prepared(Path(sys.argv[2])), Path(sys.argv[3]))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(config), str(prepared.folder), str(run)],
        capture_output=True,
        check=False,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )
    assert result.returncode == -signal.SIGKILL, result.stderr.decode()
    train(CONFIG, prepared, run)
    assert_same(whole, run)


def test_a_trial_is_validated_and_goes_on_where_it_ended(
    prepared: Prepared, whole: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    rows = train(CONFIG, prepared, run, max_steps=4)
    assert [row["step"] for row in rows] == [3, 4]
    made = export_run(run, prepared, run / "bundle")
    assert set(made.predictions) == {"val"}
    train(CONFIG, prepared, run)
    assert_same(whole, run)


def test_one_history_and_one_best_for_all_phases(prepared: Prepared, whole: Path) -> None:
    rows = history(whole)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert [row["head_lr"] / row["lr"] for row in rows] == pytest.approx([4, 4, 4])
    assert (whole / "history.csv").read_text().count("\n") == 4
    state = read_checkpoint(whole / "checkpoints" / "best.ckpt")[1]
    figures = [row["val_malignant_auc"] for row in rows]
    assert state.best.best == max(figures)
    assert state.epoch == figures.index(max(figures)) + 1
    facts = json.loads((whole / "environment.json").read_text())
    assert facts["split_sha256"] == prepared.hash
    assert facts["versions"]["keras"] == keras.__version__
    assert load_config(str(whole / "config.yaml")) == CONFIG


def test_a_hook_sees_every_row_and_may_stop(prepared: Prepared, tmp_path: Path) -> None:
    seen = []
    rows = train(tiny(), prepared, tmp_path / "run", on_epoch=lambda row: seen.append(row) or len(seen) == 2)
    assert seen == rows
    assert len(rows) == 2


def test_a_run_is_for_its_data(prepared: Prepared, whole: Path, tmp_path: Path) -> None:
    with pytest.raises(MismatchError, match="another configuration"):
        train(tiny(seed=8), prepared, whole)
    with pytest.raises(InvalidArgumentError, match="holds a run already"):
        train(CONFIG, prepared, whole, resume="never")
    with pytest.raises(InvalidArgumentError, match="for the labels ham10000"):
        train(tiny(labels="ham10000"), prepared, tmp_path / "run")
    with pytest.raises(InvalidArgumentError, match=r"select: val_auc`; expected one of .*loss, accuracy"):
        train(tiny(select="val_auc"), prepared, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    moved = dataclasses.replace(prepared, manifest={**prepared.manifest, "split_sha256": "0" * 64})
    with pytest.raises(MismatchError, match="was trained on split"):
        export_run(whole, moved, tmp_path / "bundle")
    with pytest.raises(InvalidArgumentError, match="finished at least one epoch"):
        export_run(tmp_path, prepared, tmp_path / "bundle")


def test_keras_files_and_bundle_answer_alike(prepared: Prepared, whole: Path, tmp_path: Path) -> None:
    made = export_run(whole, prepared, tmp_path / "bundle", name="mine")
    assert made.spec.name == "mine"
    assert made.spec.calibration is not None
    assert verify_model(tmp_path / "bundle").ok
    paths = [prepared.paths[i] for i in prepared.rows("val")]
    predictor = Predictor(str(tmp_path / "bundle"), runtime="torch", device="cpu", workers=0)
    rows = list(csv.DictReader(made.predictions["val"].open()))
    wanted = [float(row["p_malignant"]) for row in rows]
    assert [p.probabilities["malignant"] for p in predictor.predict(paths)] == pytest.approx(wanted, abs=1e-6)
    # Without temperature, in TensorFlow, from either file.
    own = made.spec.preprocess
    x = own.normalize(np.stack([own.pixels(load_image(path)) for path in paths])).transpose(0, 2, 3, 1)
    for name in ("model.keras", "model.h5"):
        by_keras = np.asarray(keras.saving.load_model(whole / name)(x, training=False))[:, 0]
        loaded = load_model(whole / name, options=ModelOptions(labels=prepared.labels, preprocess=own))
        again = [p.probabilities["malignant"] for p in Predictor(loaded, workers=0).predict(paths)]
        np.testing.assert_allclose(again, by_keras, rtol=0, atol=1e-5)
        assert np.ptp(by_keras) > 1e-4


def test_a_bundle_that_answers_otherwise_is_not_written(prepared: Prepared, whole: Path) -> None:
    model, _ = restore_model(CONFIG, whole)
    spec_preprocess = CONFIG.preprocess.build()
    loaded = load_model(
        whole / "model.keras", options=ModelOptions(labels=prepared.labels, preprocess=spec_preprocess)
    )
    network = loaded.torch_network()
    paths = [prepared.paths[i] for i in prepared.rows("val")]
    assert check_agreement(model, CONFIG, network, loaded.spec, paths) <= 1e-5
    with torch.no_grad():
        next(network.parameters()).mul_(1.01)
    with pytest.raises(ModelError, match="differ from those of Keras"):
        check_agreement(model, CONFIG, network, loaded.spec, paths)


def test_averaged_weights_are_validated_and_exported(prepared: Prepared, whole: Path) -> None:
    last, _ = read_checkpoint(whole / "checkpoints" / "last.ckpt")
    raw = last["model/0000"]
    assert not np.array_equal(raw, last["average/0000"])
    config = tiny(select="loss", optim={"epochs": 1})
    run = whole.parent / "averaged"
    (row,) = train(config, prepared, run)
    arrays, _ = read_checkpoint(run / "checkpoints" / "last.ckpt")
    best, _ = read_checkpoint(run / "checkpoints" / "best.ckpt")
    assert np.array_equal(best["weights/0000"], arrays["average/0000"])
    made = export_run(run, prepared, run / "bundle")
    assert made.spec.training["epoch"] == 1
    model, _ = restore_model(config, run)
    own = config.preprocess.build()
    x = np.stack([own.pixels(load_image(prepared.paths[i])) for i in prepared.rows("val")])
    p = np.asarray(model(own.normalize(x).transpose(0, 2, 3, 1)))[:, 0].astype(np.float64)
    truth = prepared.targets[prepared.rows("val")]
    assert row["val_loss"] == pytest.approx(-np.log(np.where(truth == 1, p, 1 - p)).mean(), abs=1e-5)


@pytest.mark.parametrize("half", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_trains_and_exports_float32(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half: str
) -> None:
    from skinclf_training.keras import trainer as module

    monkeypatch.setattr(module, "policy", lambda config, place: half)
    train(tiny(optim={"epochs": 1}), prepared, tmp_path / "run")
    arrays, _ = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert all(np.isfinite(v).all() for v in arrays.values() if v.dtype.kind == "f")
    scale = arrays["training/0001"][0]
    assert 1 < scale <= 2**15 if half == "mixed_float16" else scale == 1
    export_run(tmp_path / "run", prepared, tmp_path / "bundle")
    assert keras.config.dtype_policy().name == "float32"
    saved = keras.saving.load_model(tmp_path / "run" / "model.keras")
    assert {layer.compute_dtype for layer in saved._flatten_layers()} == {"float32"}


def test_an_overflow_skips_the_step_and_halves_the_scale(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from skinclf_training.keras import learner
    from skinclf_training.keras import trainer as module

    monkeypatch.setattr(module, "policy", lambda config, place: "mixed_float16")
    monkeypatch.setattr(learner, "_SCALE", 2.0**120)
    train(tiny(optim={"epochs": 1, "ema": 0.0}), prepared, tmp_path / "run", max_steps=2)
    arrays, _ = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert arrays["training/0001"][0] == 2.0**118
    assert not any(arrays[key].any() for key in arrays if key.startswith("optimizer/body/0002"))
    assert all(np.isfinite(v).all() for v in arrays.values() if v.dtype.kind == "f")


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Prepared]:
    folder = tmp_path_factory.mktemp("sets")
    return {
        labels.name: synthetic_data(folder / labels.name, labels, 5 * len(labels))
        for labels in (MALIGNANT, ISIC2019, ISIC2019_7)
    }


@pytest.fixture
def _eagerly():
    """Two steps are not worth compiling hundreds of layers for."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.mark.slow
@pytest.mark.usefixtures("_eagerly")
@pytest.mark.filterwarnings("ignore:Even though the `tf.config")
@pytest.mark.parametrize("name", CONFIGS)
def test_every_configuration_trains_to_a_bundle_that_predicts(
    sets: dict[str, Prepared], tmp_path: Path, name: str
) -> None:
    side = 75 if "inception" in name else 64
    sizes = ("preprocess.height", "preprocess.width", "data.store_height", "data.store_width", "augment.size")
    config = load_config(
        name,
        [
            *(f"{key}={side}" for key in sizes),
            "model.pretrained=false",
            "data.batch_size=4",
            "optim.accelerator=cpu",
            "log.report=false",
        ],
    )
    prepared, run = sets[parse_labels(config.labels).name], tmp_path / "run"
    (row,) = train(config, prepared, run, max_steps=2)
    assert row["step"] == 2
    assert np.isfinite([row["train_loss"], row["val_loss"]]).all()
    made = export_run(run, prepared, run / "bundle")
    assert made.spec.preprocess == config.preprocess.build()
    images = [prepared.paths[i] for i in prepared.rows("test")]
    predictions = list(
        Predictor(str(run / "bundle"), runtime="torch", device="cpu", workers=0).predict(images)
    )
    assert [tuple(p.probabilities) for p in predictions] == [prepared.labels.codes] * len(images)
