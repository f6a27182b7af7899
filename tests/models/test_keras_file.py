"""Reading Keras files: what fits is loaded exactly, what does not is named. No TensorFlow needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from support.keras_families import random_images
from support.keras_fixtures import (
    Array,
    layer,
    scores,
    sequential,
    stated,
    tiny,
    tiny_weights,
    write_h5,
    write_keras,
)

from skinclf._utils.files import sha256_file
from skinclf.errors import ModelError
from skinclf.models.architectures.build import restore_network
from skinclf.models.bundle import read_spec, read_weights, write_bundle
from skinclf.models.formats.keras.file import import_keras, looks_like_keras
from skinclf.models.loaded import LoadedModel, Stated

NAMES = {"conv": "conv2d", "out": "dense"}
TOLD = stated(3, height=16)


def load(path: Path, told: Stated = TOLD) -> LoadedModel:
    return import_keras(path, told, name="mine", source="somewhere", revision="abc")


def by_hand(images: Array, weights: dict[str, dict[str, Array]]) -> Array:
    """`tiny()` in numpy: 3 x 3 convolution with stride 2 and TensorFlow's padding, relu, mean, dense."""
    count, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (0, 1), (0, 1), (0, 0)))  # even sides: all of 'same' comes at the end
    made = np.zeros((count, height // 2, width // 2, 4))
    for row in range(height // 2):
        for column in range(width // 2):
            patch = padded[:, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
            made[:, row, column] = np.tensordot(patch, weights["conv"]["kernel"], 3) + weights["conv"]["bias"]
    return np.maximum(made, 0).mean((1, 2)) @ weights["out"]["kernel"] + weights["out"]["bias"]


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return write_h5(tmp_path / "model.h5", tiny(), tiny_weights())


@pytest.mark.parametrize("form", ["h5", "keras"])
def test_numbers_and_spec(tmp_path: Path, form: str) -> None:
    weights = tiny_weights()
    if form == "h5":
        path = write_h5(tmp_path / "model.h5", tiny(), weights)
    else:
        path = write_keras(tmp_path / "model.keras", tiny(), weights, names=NAMES)
    model = load(path)
    images = random_images(3, 16, 16) / 255
    np.testing.assert_allclose(scores(model, images), by_hand(images, weights), atol=1e-5)
    spec = model.spec
    assert (spec.architecture, spec.activation, spec.name) == ("skinclf/keras-graph", "softmax", "mine")
    assert (spec.source, spec.revision, spec.weights_sha256) == ("somewhere", "abc", sha256_file(path))
    assert model.artifact == path
    assert not model.torch_network().training
    assert sum(p.numel() for p in model.torch_network().parameters()) == 3 * 3 * 3 * 4 + 4 + 4 * 3 + 3


def test_order_in_the_file_means_nothing(tmp_path: Path, whole: Path) -> None:
    """Keras lists trainable variables first; names decide, whatever the order."""
    backwards = {name: dict(reversed(group.items())) for name, group in reversed(tiny_weights().items())}
    other = write_h5(tmp_path / "other.h5", tiny(), backwards)
    images = random_images(2, 16, 16)
    np.testing.assert_array_equal(scores(load(whole), images), scores(load(other), images))


def test_bundle_gives_equal_bits(tmp_path: Path, whole: Path) -> None:
    model = load(whole)
    write_bundle(tmp_path / "bundle", model.spec, model.torch_network().state_dict())
    spec = read_spec(tmp_path / "bundle")
    again = restore_network(spec, read_weights(tmp_path / "bundle", spec))
    images = random_images(2, 16, 16)
    np.testing.assert_array_equal(
        scores(model, images), scores(LoadedModel(spec=spec, network=again), images)
    )


def test_long_name_lists_are_split(tmp_path: Path) -> None:
    """Keras cuts lists above 64 KiB into `weight_names0`, `weight_names1`, ..."""

    def split(file: h5py.File) -> None:
        group = file["model_weights/conv"]
        names = group.attrs["weight_names"]
        del group.attrs["weight_names"]
        group.attrs["weight_names0"], group.attrs["weight_names1"] = names[:1], names[1:]

    path = write_h5(tmp_path / "model.h5", tiny(), tiny_weights(), change=split)
    assert scores(load(path), random_images(1, 16, 16)).shape == (1, 3)


# --- weights without an architecture -------------------------------------------------------------


def weights_only(path: Path, weights: dict[str, dict[str, Array]]) -> Path:
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in weights]
        for name, group in weights.items():
            place = file.create_group(name)
            place.attrs["weight_names"] = [f"{name}/{key}:0".encode() for key in group]
            for key, value in group.items():
                place[f"{name}/{key}:0"] = value
    return path


@pytest.mark.parametrize("encoded", [1, 2])
def test_weights_with_json(tmp_path: Path, whole: Path, encoded: int) -> None:
    text = json.dumps({**tiny(), "keras_version": "2.15.0"})
    (tmp_path / "arch.json").write_text(json.dumps(text) if encoded == 2 else text)
    path = weights_only(tmp_path / "w.h5", tiny_weights())
    told = Stated(labels=TOLD.labels, preprocess=TOLD.preprocess, architecture=str(tmp_path / "arch.json"))
    model = load(path, told)
    images = random_images(2, 16, 16)
    np.testing.assert_array_equal(scores(model, images), scores(load(whole), images))
    assert model.artifact is None
    assert model.spec.weights_sha256 == sha256_file(path)


def test_weights_with_another_model(tmp_path: Path, whole: Path) -> None:
    path = weights_only(tmp_path / "w.h5", tiny_weights(seed=1))
    told = Stated(labels=TOLD.labels, preprocess=TOLD.preprocess, architecture=str(whole))
    images = random_images(2, 16, 16) / 255
    np.testing.assert_allclose(
        scores(load(path, told), images), by_hand(images, tiny_weights(seed=1)), atol=1e-5
    )


def test_weights_alone_ask_for_an_architecture(tmp_path: Path) -> None:
    path = weights_only(tmp_path / "w.h5", tiny_weights())
    with pytest.raises(ModelError, match=r"without an architecture.*`architecture`"):
        load(path)
    for wrong in ("resnet50", str(tmp_path), str(path)):
        with pytest.raises(ModelError, match=r"cannot be read as a file|without an architecture"):
            load(path, Stated(labels=TOLD.labels, preprocess=TOLD.preprocess, architecture=wrong))


def test_a_whole_model_needs_no_architecture(whole: Path) -> None:
    told = Stated(labels=TOLD.labels, preprocess=TOLD.preprocess, architecture="resnet50")
    with pytest.raises(ModelError, match="holds its own architecture"):
        load(whole, told)


# --- what must be stated, and must agree ----------------------------------------------------------


def test_labels_and_preprocessing_must_be_stated(whole: Path) -> None:
    with pytest.raises(ModelError, match="`labels`"):
        load(whole, Stated(preprocess=TOLD.preprocess))
    with pytest.raises(ModelError, match="`preprocess`"):
        load(whole, Stated(labels=TOLD.labels))


def test_counts_and_sizes_must_agree(whole: Path) -> None:
    with pytest.raises(ModelError, match="mine: the model has 3 outputs, for 3 labels; 5 are stated"):
        load(whole, stated(5, height=16))
    with pytest.raises(
        ModelError, match="takes images of 16 x 16, but the stated preprocessing makes 16 x 20"
    ):
        load(whole, stated(3, height=16, width=20))


def test_one_sigmoid_serves_two_labels(tmp_path: Path) -> None:
    config = sequential(
        layer("GlobalAveragePooling2D", "p"), layer("Dense", "d", units=1, activation="sigmoid")
    )
    weights = {"d": {"kernel": np.ones((3, 1), np.float32), "bias": np.zeros(1, np.float32)}}
    path = write_h5(tmp_path / "m.h5", config, weights)
    assert load(path, stated(2, height=16)).spec.activation == "sigmoid"
    with pytest.raises(ModelError, match="1 output, for 2 labels; 3 are stated"):
        load(path, stated(3, height=16))


@pytest.mark.parametrize(
    ("activation", "units", "message"),
    [
        ("linear", 3, "ends in 'linear'"),
        ("relu", 1, "'relu'"),
    ],
)
def test_outputs_that_are_no_probabilities(tmp_path: Path, activation: str, units: int, message: str) -> None:
    config = sequential(
        layer("GlobalAveragePooling2D", "p"), layer("Dense", "d", units=units, activation=activation)
    )
    weights = {"d": {"kernel": np.ones((3, units), np.float32), "bias": np.zeros(units, np.float32)}}
    with pytest.raises(ModelError, match=message):
        load(write_h5(tmp_path / "m.h5", config, weights), stated(units, height=16))


# --- weights that do not fit -----------------------------------------------------------------------


def test_missing_unexpected_and_wrong_are_named(tmp_path: Path) -> None:
    weights = tiny_weights()
    del weights["conv"]["bias"]
    weights["out"]["kernel"] = np.zeros((5, 3), np.float32)
    weights["out"]["extra"] = np.zeros(2, np.float32)
    with pytest.raises(ModelError) as caught:
        load(write_h5(tmp_path / "m.h5", tiny(), weights))
    text = str(caught.value)
    assert "Missing: conv/bias" in text
    assert "Unexpected: out/out/extra" in text
    assert "Wrong shape: out/kernel (5, 3) instead of (4, 3)" in text


def test_every_missing_name_counts(tmp_path: Path) -> None:
    """Nothing is filled in silently: without any weights, all of them are missing."""
    with pytest.raises(ModelError, match="Missing: conv/kernel, conv/bias, out/kernel, out/bias"):
        load(write_h5(tmp_path / "m.h5", tiny(), {}))


def test_another_layer_in_the_expected_place(tmp_path: Path) -> None:
    config = tiny()
    config["config"]["layers"][1]["config"]["name"] = "renamed"
    with pytest.raises(ModelError, match="holds 'conv'; the architecture expects 'renamed' there"):
        load(write_keras(tmp_path / "m.keras", config, tiny_weights(), names=NAMES))


def test_integers_are_no_weights(tmp_path: Path) -> None:
    weights: Any = tiny_weights()
    weights["conv"]["kernel"] = weights["conv"]["kernel"].astype(np.int8)
    with pytest.raises(ModelError, match="holds int8; expected floating-point"):
        load(write_h5(tmp_path / "m.h5", tiny(), weights))


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_float_types_become_float32(tmp_path: Path, dtype: Any) -> None:
    weights: Any = {n: {k: v.astype(dtype) for k, v in g.items()} for n, g in tiny_weights().items()}
    model = load(write_h5(tmp_path / "m.h5", tiny(), weights))
    assert {p.dtype for p in model.torch_network().parameters()} == {torch.float32}


@pytest.mark.parametrize("form", ["h5", "keras"])
def test_bfloat16_is_the_upper_half_of_a_float32(tmp_path: Path, form: str) -> None:
    """HDF5 has no such type; Keras stores two bytes per number."""
    weights: Any = tiny_weights()
    halves = weights["conv"]["kernel"].view(np.uint32) >> 16
    weights["conv"]["kernel"] = np.ascontiguousarray(halves.astype("<u2")).view("V2")
    if form == "h5":
        path = write_h5(tmp_path / "m.h5", tiny(), weights)
    else:
        path = write_keras(tmp_path / "m.keras", tiny(), weights, names=NAMES)
    model = load(path)
    kernel = model.torch_network().state_dict()["layers.conv.weight"].permute(2, 3, 1, 0)
    expected = torch.from_numpy(tiny_weights()["conv"]["kernel"])
    assert torch.equal(kernel, torch.from_numpy((halves << 16).view(np.float32)))
    torch.testing.assert_close(kernel, expected, rtol=2**-7, atol=0)


def test_known_leftovers_are_ignored(tmp_path: Path) -> None:
    config = tiny(layer("Dropout", "drop", rate=0.5))
    seeds = {"drop": {"seed_generator/seed_generator_state": np.zeros(2, np.uint32)}}
    path = write_h5(tmp_path / "m.h5", config, {**tiny_weights(), **seeds})
    assert load(path).spec.activation == "softmax"


# --- versions of Keras -----------------------------------------------------------------------------


@pytest.mark.parametrize(("version", "expected"), [("2.15.0", 0.2 * 1 + 0.5), ("3.5.0", 4 / 6)])
def test_hard_sigmoid_changed_with_keras_3(tmp_path: Path, version: str, expected: float) -> None:
    config = sequential(
        layer("GlobalAveragePooling2D", "p"),
        layer("Activation", "a", activation="hard_sigmoid"),
        layer("Dense", "d", units=3, use_bias=False, activation="softmax"),
    )
    path = write_h5(
        tmp_path / "m.h5", config, {"d": {"kernel": np.eye(3, dtype=np.float32)}}, version=version
    )
    np.testing.assert_allclose(scores(load(path), np.ones((1, 16, 16, 3), np.float32)), expected, rtol=1e-6)


def test_lists_of_layers_before_keras_2_2_3(tmp_path: Path, whole: Path) -> None:
    config = tiny()
    config["config"] = config["config"]["layers"]
    images = random_images(2, 16, 16)
    path = write_h5(tmp_path / "old.h5", config, tiny_weights())
    np.testing.assert_array_equal(scores(load(path), images), scores(load(whole), images))


# --- recognising ---------------------------------------------------------------------------------------


def test_looks_like_keras(tmp_path: Path, whole: Path) -> None:
    archive = write_keras(tmp_path / "m.keras", tiny(), tiny_weights(), names=NAMES)
    for path in (whole, archive):
        assert looks_like_keras(path)
        assert looks_like_keras(path.rename(path.with_name(f"{path.stem}-{path.suffix[1:]}.bin")))
    torch.save({"a": torch.zeros(2)}, tmp_path / "m.pt")
    assert not looks_like_keras(tmp_path / "m.pt")
    assert not looks_like_keras(tmp_path / "none.bin")
    (tmp_path / "cut.h5").write_bytes(b"half")
    assert looks_like_keras(tmp_path / "cut.h5")
