"""Checkpoints as training scripts write them: values beside weights, prefixes, heads, holders, averaged weights."""

from __future__ import annotations

import argparse
import collections
import datetime as dt
import logging
import pathlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.bundles import random_network

from skinclf.errors import ModelError, UnsafeModelError
from skinclf.models.load import load_model
from skinclf.models.options import ModelOptions

torch = pytest.importorskip("torch")
ARCHITECTURE = "test_resnet"


@pytest.fixture(scope="module")
def state() -> dict[str, Any]:
    return random_network(ARCHITECTURE, 7, seed=0)


@pytest.fixture(scope="module")
def other() -> dict[str, Any]:
    return random_network(ARCHITECTURE, 7, seed=1)


def loaded(tmp_path: Path, content: Any, architecture: str | None = ARCHITECTURE) -> dict[str, Any]:
    file = tmp_path / "model.pth"
    torch.save(content, file)
    options = ModelOptions(architecture=architecture, labels="ham10000", preprocess="torch")
    return load_model(file, options=options).torch_network().state_dict()


def same(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    return set(found) == set(expected) and all(torch.equal(found[key], expected[key]) for key in expected)


def renamed(state: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {prefix + key: value for key, value in state.items()}


history: collections.defaultdict[str, list[float]] = collections.defaultdict(list)
history["loss"].append(0.5)
BESIDE = {
    "NumPy number": np.float64(0.9),
    "NumPy float32": np.float32(0.25),
    "NumPy integer": np.int64(3),
    "NumPy truth value": np.bool_(True),
    "NumPy text": np.str_("auc"),
    "NumPy array": np.arange(5, dtype=np.float32),
    "NumPy random state": np.random.RandomState(0).get_state(),
    "defaultdict": history,
    "defaultdict of numbers": collections.defaultdict(float, auc=np.float64(0.5)),
    "OrderedDict": collections.OrderedDict(a=1),
    "deque": collections.deque([1, 2], maxlen=5),
    "Namespace": argparse.Namespace(lr=1e-3, out=pathlib.PurePosixPath("runs/1"), classes=["a"]),
    "path": pathlib.Path("runs") / "best.pth",
    "Windows path": pathlib.PureWindowsPath("C:/runs/best.pth"),
    "time": dt.datetime(2024, 5, 1, 12, 0, tzinfo=dt.UTC),
    "set": {1, 2},
}


@pytest.mark.parametrize("value", BESIDE.values(), ids=BESIDE.keys())
def test_plain_values_beside_the_weights_are_no_obstacle(
    tmp_path: Path, state: dict[str, Any], value: Any
) -> None:
    assert same(loaded(tmp_path, {"epoch": 3, "value": value, "model_state_dict": state}), state)


def test_a_numpy_number_is_read_as_a_number(tmp_path: Path, state: dict[str, Any]) -> None:
    file = tmp_path / "model.pth"
    torch.save({"model": state, "metrics": {"auc": np.float64(0.875), "n": np.int32(12)}}, file)
    options = ModelOptions(architecture=ARCHITECTURE, labels="ham10000", preprocess="torch")
    assert load_model(file, options=options).spec.training == {"auc": 0.875, "n": 12}


class Command:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("this code ran",))


class Nested:
    def __reduce__(self) -> tuple[Any, ...]:
        return (argparse.Namespace, (Command(),))


@pytest.mark.parametrize(
    "value", [Command(), Nested(), {"a": [Command()]}, np.array([Command()], dtype=object)]
)
def test_code_beside_the_weights_is_refused(
    tmp_path: Path, state: dict[str, Any], value: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UnsafeModelError, match="print"):
        loaded(tmp_path, {"model": state, "value": value})
    assert "this code ran" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "prefix", ["model.", "net.", "backbone.", "module.model.", "model.module.", "a.b.c."]
)
def test_a_prefix_that_all_tensors_share_is_taken_off(
    tmp_path: Path, state: dict[str, Any], prefix: str
) -> None:
    assert same(loaded(tmp_path, {"state_dict": renamed(state, prefix)}), state)


def test_a_prefix_beside_the_weights_of_a_loss(tmp_path: Path, state: dict[str, Any]) -> None:
    content = {
        **renamed(state, "model."),
        "criterion.weight": torch.ones(7),
        "loss_fn.pos_weight": torch.ones(7),
    }
    assert same(loaded(tmp_path, {"state_dict": content}), state)


def test_a_prefix_beside_the_counters_of_metrics(tmp_path: Path, state: dict[str, Any]) -> None:
    content = {
        **renamed(state, "model."),
        "val_auc.confmat": torch.ones(2, 2),
        "train_accuracy.tp": torch.tensor(3),
        "test_metrics.f1.total": torch.ones(1),
    }
    assert same(loaded(tmp_path, {"state_dict": content}), state)


def test_two_networks_in_one_state_dict_are_named(
    tmp_path: Path, state: dict[str, Any], other: dict[str, Any]
) -> None:
    with pytest.raises(ModelError, match=r"2 networks of the same layers \(student, teacher\)"):
        loaded(tmp_path, {"state_dict": {**renamed(state, "student."), **renamed(other, "teacher.")}})


def test_a_name_with_the_owner_of_its_repository(tmp_path: Path, state: dict[str, Any]) -> None:
    assert same(loaded(tmp_path, state, "timm/test_resnet"), state)


@pytest.mark.parametrize("place", ["fc.0", "fc.1", "fc.3", "fc.linear", "fc.head.2"])
@pytest.mark.parametrize("prefix", ["", "model."])
def test_a_linear_layer_anywhere_in_the_head(
    tmp_path: Path, state: dict[str, Any], place: str, prefix: str
) -> None:
    content = renamed({key.replace("fc.", f"{place}."): value for key, value in state.items()}, prefix)
    assert same(loaded(tmp_path, content), state)


def test_a_head_beside_the_backbone(tmp_path: Path, state: dict[str, Any]) -> None:
    content = {
        key.replace("fc.", "head.1.") if key.startswith("fc.") else f"encoder.{key}": value
        for key, value in state.items()
    }
    assert same(loaded(tmp_path, content), state)


def test_a_head_of_several_layers_is_named(tmp_path: Path, state: dict[str, Any]) -> None:
    content = {key: value for key, value in state.items() if not key.startswith("fc.")}
    content |= {"fc.0.weight": torch.ones(9, 128), "fc.3.weight": torch.ones(7, 9)}
    with pytest.raises(ModelError, match=r"several layers \(fc\.0\.weight, fc\.3\.weight\)"):
        loaded(tmp_path, content)


@pytest.mark.parametrize(
    "keys",
    [["model_state"], ["net_state_dict"], ["params"], ["teacher"], ["model", "state_dict"], ["a", "b", "c"]],
)
def test_a_state_dict_under_any_key(tmp_path: Path, state: dict[str, Any], keys: list[str]) -> None:
    content: Any = state
    for key in reversed(keys):
        content = {key: content, "epoch": 1, "class_weights": {"w": torch.ones(7)}}
    assert same(loaded(tmp_path, content), state)


def test_several_state_dicts_are_named(tmp_path: Path, state: dict[str, Any], other: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=r"several state dicts \(student, teacher\)"):
        loaded(tmp_path, {"student": state, "teacher": other})


@pytest.mark.parametrize("key", ["state_dict_ema", "model_ema"])
def test_averaged_weights_are_used_where_timm_uses_them(
    tmp_path: Path, state: dict[str, Any], other: dict[str, Any], key: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "skinclf"):
        assert same(loaded(tmp_path, {"state_dict": other, key: renamed(state, "module.")}), state)
    assert f"averaged weights ({key}) are used" in caplog.text


@pytest.mark.parametrize(
    "averaged",
    [{"ema": 0}, {"swa_state_dict": 0}, {"averaged_model": 0}, {"callbacks": {"EMA": {"ema_weights": 0}}}],
)
def test_other_averaged_weights_are_mentioned(
    tmp_path: Path,
    state: dict[str, Any],
    other: dict[str, Any],
    averaged: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    def filled(value: Any) -> Any:
        return {k: filled(v) for k, v in value.items()} if isinstance(value, dict) else other

    with caplog.at_level(logging.WARNING, "skinclf"):
        assert same(loaded(tmp_path, {"state_dict": state, **filled(averaged)}), state)
    assert "also holds averaged weights" in caplog.text


def test_an_averaged_model_of_torch(tmp_path: Path, state: dict[str, Any]) -> None:
    content = {"n_averaged": torch.tensor(5), **renamed(state, "module.")}
    assert same(loaded(tmp_path, content), state)


def test_a_module_that_holds_itself_twice(
    tmp_path: Path, state: dict[str, Any], other: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    content = {
        "initted": torch.tensor(True),
        "step": torch.tensor(9),
        **renamed(other, "online_model."),
        **renamed(state, "ema_model."),
    }
    with caplog.at_level(logging.WARNING, "skinclf"):
        assert same(loaded(tmp_path, content), state)
    assert "averaged weights (ema_model) are used" in caplog.text


def test_a_former_name_of_timm(tmp_path: Path) -> None:
    network = random_network("tf_efficientnet_b0", 7, seed=0)
    assert same(loaded(tmp_path, network, "tf_efficientnet_b0_ns"), network)


@pytest.mark.parametrize("name", ["resnet18.nothing_here", "no_such_net", "hf-hub:a/b"])
def test_unknown_names_of_timm_are_one_sentence(tmp_path: Path, state: dict[str, Any], name: str) -> None:
    with pytest.raises(ModelError, match=r"timm has no network"):
        loaded(tmp_path, state, name)
