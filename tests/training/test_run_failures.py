"""Runs that cannot start or go on: one sentence, the good checkpoint, and a folder that a failed start leaves free."""

from __future__ import annotations

import json
import logging
import signal
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lightning", reason="training needs the extra `train`")

import torch
from support.train_fixtures import synthetic_data, tiny

from skinclf.errors import DivergenceError, InvalidArgumentError, MismatchError, ModelError, OutputError
from skinclf_training.config.read import known_configs, load_config
from skinclf_training.data.prepare import Prepared
from skinclf_training.recipes.run_folder import BEST, LAST, read_history
from skinclf_training.recipes.starting_weights import check_starting_weights
from skinclf_training.torch.lightning_module import Classifier
from skinclf_training.torch.trainer import train


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return synthetic_data(tmp_path_factory.mktemp("failures"))


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mtime_ns)
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name != "train.log"
    }


def die_at(batch: int, error: BaseException, patch: pytest.MonkeyPatch) -> None:
    """Raise an error instead of a training step, counted from 1."""
    calls, original = 0, Classifier.training_step

    def step(self: Classifier, *args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == batch:
            raise error
        return original(self, *args)

    patch.setattr(Classifier, "training_step", step)


def test_a_missing_file_of_weights_says_how_to_go_on_and_touches_nothing(
    prepared: Prepared, tmp_path: Path
) -> None:
    config = tiny(model={"architecture": "mobilenetv2_100", "init": "weights/none.safetensors"})
    with pytest.raises(InvalidArgumentError, match=r"none.safetensors.*model.init=null") as caught:
        train(config, prepared, tmp_path / "run")
    assert "model.pretrained=true and preprocess.scaling=torch" in str(caught.value)
    assert caught.value.parameter == "overrides"
    assert not (tmp_path / "run").exists()


def test_weights_that_come_with_the_package_are_found_from_every_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    check_starting_weights(load_config("ham10000-efficientnetb0-start"))


def test_every_configuration_that_needs_a_file_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    needy = [c for c in known_configs() if c.model.init and not c.model.init.startswith("skinclf/")]
    assert needy
    for config in needy:
        with pytest.raises(InvalidArgumentError, match=r"model\.init=null with model\.pretrained=true"):
            check_starting_weights(config)


@pytest.mark.parametrize("changes", [{"seed": 9}, {"optim": {"epochs": 1}}, {"data": {"batch_size": 4}}])
def test_a_start_that_failed_before_a_checkpoint_claims_no_folder(
    prepared: Prepared, tmp_path: Path, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        die_at(2, RuntimeError("a cable was pulled"), patch)
        with pytest.raises(RuntimeError, match="cable"):
            train(tiny(optim={"epochs": 1}), prepared, run)
    assert (run / "config.yaml").is_file()
    config = tiny(**{"optim": {"epochs": 1}, **changes})
    assert len(train(config, prepared, run, resume="never")) == 1
    assert load_config(str(run / "config.yaml")) == config
    with pytest.raises(MismatchError, match="another configuration"):
        train(tiny(seed=11, optim={"epochs": 1}), prepared, run)


def test_a_repeated_finished_run_changes_nothing(prepared: Prepared, tmp_path: Path) -> None:
    for name, options, config in [
        ("whole", {}, tiny()),
        ("trial", {"max_steps": 7}, tiny()),
        ("boundary", {"max_steps": 4}, tiny()),
        ("early", {}, tiny(optim={"epochs": 6, "lr": 0.0, "head_lr": 0.0}, stop={"patience": 1})),
    ]:
        run = tmp_path / name
        rows = train(config, prepared, run, **options)
        before = files(run)
        again = train(config, prepared, run, **options)
        assert files(run) == before, name
        assert again == rows == read_history(run)


def test_a_loss_that_is_no_number_is_one_sentence_and_leaves_the_folder_free(
    prepared: Prepared, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with pytest.raises(DivergenceError, match=r"Epoch 1.*not a number.*No checkpoint was written"):
        train(tiny(optim={"lr": 1e30, "head_lr": 1e30, "clip": 0.0, "epochs": 1}), prepared, run)
    assert len(train(tiny(optim={"epochs": 1}), prepared, run)) == 1


def test_a_loss_that_is_no_number_in_a_later_epoch_names_the_good_checkpoint(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, original = tmp_path / "run", Classifier.optimizer_step

    def breaks(self: Classifier, epoch: int, *args: Any) -> None:
        original(self, epoch, *args)
        if epoch == 1:
            next(self.network.parameters()).data.fill_(float("nan"))

    monkeypatch.setattr(Classifier, "optimizer_step", breaks)
    config = tiny(optim={"epochs": 3, "checkpoint_steps": 1})
    with pytest.raises(DivergenceError, match=r"Epoch 2.*best\.ckpt is good"):
        train(config, prepared, run)
    for name in (BEST, LAST):
        state = torch.load(run / name, weights_only=True)["state_dict"]
        assert all(torch.isfinite(v).all() for v in state.values() if v.is_floating_point())
    assert "not a number" in (run / "train.log").read_text()


def test_a_disk_that_takes_no_checkpoint_is_one_sentence(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource: Any = pytest.importorskip("resource", reason="needs a limit on the size of files")
    run, config = tmp_path / "run", tiny(optim={"epochs": 1})
    with monkeypatch.context() as patch:
        die_at(1, RuntimeError("decoded"), patch)
        with pytest.raises(RuntimeError, match="decoded"):
            train(config, prepared, run)
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"ckpt: cannot be written: File too large.*No checkpoint"):
            train(config, prepared, run)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert not list(run.rglob("*.part"))
    assert len(train(config, prepared, run)) == 1


def test_an_interruption_names_the_checkpoint_and_the_same_command_continues(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, handler = tmp_path / "run", signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        die_at(6, KeyboardInterrupt(), patch)
        with pytest.raises(KeyboardInterrupt, match=r"Interrupted. Good: .*best.ckpt and .*last.ckpt"):
            train(tiny(), prepared, run)
    assert signal.getsignal(signal.SIGINT) is handler
    assert len(train(tiny(), prepared, run)) == 2


@pytest.mark.parametrize(
    "error",
    [OSError("Connection refused"), ValueError("outgoing traffic is off"), Exception("no client")],
)
def test_imagenet_weights_without_network_are_one_sentence(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    import timm

    original = timm.create_model

    def create(name: str, *, pretrained: bool = False, **options: Any) -> Any:
        if pretrained:
            raise error
        return original(name, **options)

    monkeypatch.setattr(timm, "create_model", create)
    config = tiny(model={"pretrained": True})
    with pytest.raises(ModelError, match=f"could not be fetched .{error}.*network access once"):
        train(config, prepared, tmp_path / "run")


def test_the_log_of_a_run_is_in_its_folder_whatever_the_terminal_shows(
    prepared: Prepared, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("skinclf")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        train(tiny(optim={"epochs": 1}), prepared, tmp_path / "run")
        assert logger.level == logging.ERROR
    finally:
        logger.setLevel(before)
    assert not caplog.records
    text = (tmp_path / "run" / "train.log").read_text()
    assert "val_macro_auc" in text
    assert json.loads((tmp_path / "run" / "history.json").read_text())
