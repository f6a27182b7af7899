"""Keras files whose layers or graphs cannot be rebuilt: named, in one sentence. No TensorFlow needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from support.keras_families import random_images
from support.keras_fixtures import (
    layer,
    scores,
    stated,
    tiny,
    tiny_weights,
    write_h5,
)

from skinclf.errors import ModelError, UnsafeModelError
from skinclf.models.formats.keras.file import import_keras
from skinclf.models.loaded import LoadedModel, Stated


def load(path: Path, told: Stated | None = None) -> LoadedModel:
    return import_keras(path, told or stated(3, height=16), name="mine", source="somewhere", revision="abc")


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return write_h5(tmp_path / "model.h5", tiny(), tiny_weights())


# --- layers that cannot be rebuilt are named -------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (layer("MultiHeadAttention", "attend"), "'attend' is a 'MultiHeadAttention'"),
        (
            layer("Conv2D", "c", filters=4, kernel_size=3, data_format="channels_first"),
            "'c' is channels_first",
        ),
        (layer("Conv2D", "c", filters="many", kernel_size=3), "'c'.*filters.*'many'"),
        (layer("Conv2D", "c", filters=4, kernel_size=[3, 99]), "'c'.*does not fit"),
        (layer("BatchNormalization", "b", axis=1), "'b'.*last axis"),
        (layer("LayerNormalization", "n", axis=[1]), "'n'.*last axes"),
        (layer("Reshape", "r", target_shape=[7, 11]), "'r' cannot reshape"),
        (layer("Resizing", "z", height=5, width=5, interpolation="lanczos3"), "'z'.*'lanczos3'"),
        (
            layer("Resizing", "z", height=5, width=5, crop_to_aspect_ratio=True),
            "'z' resizes by 'bilinear' with crop_to",
        ),
        (layer("Resizing", "z", height=5, width=5, pad_to_aspect_ratio=True), "'z'.*pad_to_aspect_ratio"),
        (layer("UpSampling2D", "u", interpolation="bicubic"), "'u'.*'bicubic'.*bilinear, nearest"),
        (layer("Conv2DTranspose", "t", filters=3, kernel_size=3), "'t' is a 'Conv2DTranspose'"),
        (layer("GroupNormalization", "g"), "'g' is a 'GroupNormalization'"),
        (layer("Normalization", "n", axis=1), "'n'.*last axis"),
        (layer("Normalization", "n", axis=-1, invert=True), "'n'.*not inverted"),
        (layer("Softmax", "s", axis=[1, 2]), "'s'.*axis"),
        (layer("Average", "a", axis=1), "'a' averages along an axis"),
        (layer("Activation", "a", activation="celu"), "'a'.*'celu'"),
        (layer("Dense", "q", units=3, dtype={"class_name": "QuantizedDTypePolicy"}), "'q' is quantised"),
        (layer("Activation", "a", activation={"class_name": "function", "config": "mine"}), "'a'.*'mine'"),
        (layer("Add", "add"), "'add'"),
        (layer("TFOpLambda", "op", function="io.read_file"), "'op'.*io.read_file"),
    ],
)
def test_refused_by_name(tmp_path: Path, bad: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load(write_h5(tmp_path / "m.h5", tiny(bad), tiny_weights()))


@pytest.mark.parametrize(
    "config",
    [
        "",
        "[]",
        "{}",
        '{"class_name": "Functional"}',
        '{"class_name": "Sequential", "config": {"layers": []}}',
        "nonsense",
    ],
)
def test_malformed_configs(tmp_path: Path, config: str) -> None:
    with pytest.raises(ModelError, match="mine: "):
        load(write_h5(tmp_path / "m.h5", config, tiny_weights()))


def test_subclassed_models_are_refused(tmp_path: Path) -> None:
    config = {
        "class_name": "MyNet",
        "config": {"name": "n"},
        "module": "my.code",
        "registered_name": "my>MyNet",
    }
    with pytest.raises(UnsafeModelError, match="custom class 'my>MyNet'"):
        load(write_h5(tmp_path / "m.h5", config, tiny_weights()))


def functional(**changes: Any) -> dict[str, Any]:
    """`tiny()` as a Functional model in Keras 2's form."""
    layers = []
    for before, item in zip([None, *tiny()["config"]["layers"]], tiny()["config"]["layers"], strict=False):
        nodes = [] if before is None else [[[before["config"]["name"], 0, 0, {}]]]
        layers.append({**item, "name": item["config"]["name"], "inbound_nodes": nodes})
    ends = {"input_layers": [["in", 0, 0]], "output_layers": [["out", 0, 0]]}
    return {"class_name": "Functional", "config": {"name": "f", "layers": layers, **ends, **changes}}


def test_functional_form(tmp_path: Path, whole: Path) -> None:
    path = write_h5(tmp_path / "f.h5", functional(), tiny_weights())
    images = random_images(2, 16, 16)
    np.testing.assert_array_equal(scores(load(path), images), scores(load(whole), images))


def test_inputs_and_outputs_by_name(tmp_path: Path, whole: Path) -> None:
    ends = {"input_layers": {"image": ["in", 0, 0]}, "output_layers": {"diagnosis": ["out", 0, 0]}}
    path = write_h5(tmp_path / "f.h5", functional(**ends), tiny_weights())
    images = random_images(2, 16, 16)
    np.testing.assert_array_equal(scores(load(path), images), scores(load(whole), images))


def test_a_layer_noted_under_the_model_that_made_it(tmp_path: Path, whole: Path) -> None:
    """Keras 3 writes `<maker>/<layer>` into every model that has the layer; its own name must be the only one."""
    inner = functional()
    inner["config"]["name"] = "inner"
    start = {"class_name": "InputLayer", "name": "i", "config": {"batch_input_shape": [None, 16, 16, 3]}}
    call = {**inner, "name": "inner", "inbound_nodes": [[["i", 0, 0, {}]]]}
    ends = {"input_layers": [["i", 0, 0]], "output_layers": [["inner", 1, 0]]}
    config = {
        "class_name": "Functional",
        "config": {"layers": [{**start, "inbound_nodes": []}, call], **ends},
    }

    def write(names: dict[str, str]) -> Path:
        path = tmp_path / "nested.h5"
        with h5py.File(path, "w") as file:
            file.attrs["keras_version"], file.attrs["model_config"] = "2.15.0", json.dumps(config)
            for name, place in names.items():
                for key, value in tiny_weights()[name].items():
                    file[f"model_weights/inner/{place}/{key}"] = value
        return path

    images = random_images(2, 16, 16)
    expected = scores(load(whole), images)
    path = write({"conv": "maker/conv", "out": "inner/out"})
    np.testing.assert_array_equal(scores(load(path), images), expected)
    with pytest.raises(ModelError, match=r"Missing: inner/conv/kernel.*Unexpected: inner/maker/convolution"):
        load(write({"conv": "maker/convolution", "out": "out"}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"output_layers": {"a": ["out", 0, 0], "b": ["pool", 0, 0]}}, "1 inputs and 2 outputs"),
        ({"output_layers": [["nobody", 0, 0]]}, "'nobody', which is no layer"),
        ({"output_layers": [["out", 1, 0]]}, "calls"),
        ({"output_layers": [["out", 0, 5]]}, "never computed"),
        ({"output_layers": ["out"]}, "form that skinclf does not know"),
        ({"input_layers": []}, "inputs and outputs"),
        ({"output_layers": [["out", 0, 0], ["pool", 0, 0]]}, "1 inputs and 2 outputs"),
    ],
)
def test_broken_graphs(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load(write_h5(tmp_path / "f.h5", functional(**changes), tiny_weights()))


def test_loops_are_found(tmp_path: Path) -> None:
    config = functional()
    config["config"]["layers"][1]["inbound_nodes"] = [[["pool", 0, 0, {}]]]
    with pytest.raises(ModelError, match="never computed"):
        load(write_h5(tmp_path / "f.h5", config, tiny_weights()))
