"""Preprocessing as users state it: names with their resize, sizes, JSON."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest

from skinclf.errors import InvalidArgumentError, ModelError, OutputError
from skinclf.images.preprocess import RESIZES, scaling
from skinclf.labels import HAM10000
from skinclf.models.architectures.native_size import native_size
from skinclf.models.formats.detect import folder_kind
from skinclf.models.loaded import Stated
from skinclf.models.registry import list_models
from skinclf.models.spec import ModelSpec
from skinclf.models.stated_preprocess import input_size, read_preprocess


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("colour", ["caffe", "tf", "torch", "unit", "raw"])
def test_a_name_states_scaling_and_resize(colour, resize):
    made, plain = read_preprocess(f"{colour}-{resize}", None), scaling(colour)
    assert (made.mean, made.std, made.scale, made.color) == (plain.mean, plain.std, plain.scale, plain.color)
    assert made.library == resize.partition("-")[0]


@pytest.mark.parametrize("name", ["caffe-", "caffe-cv", "opencv", "-opencv", "Caffe"])
def test_other_names_are_refused_with_the_list(name):
    with pytest.raises(InvalidArgumentError, match="caffe-opencv"):
        read_preprocess(name, None)


def test_what_models_show_prints_is_read_back(tmp_path):
    seen = 0
    for model in list_models():
        for variant, fields in model.variants.items():
            printed = json.dumps(dict(fields))
            assert read_preprocess(printed, None) == model.preprocess(variant)
            (tmp_path / "p.json").write_text(printed)
            assert read_preprocess(tmp_path / "p.json", None) == model.preprocess(variant)
            seen += 1
        if len(model.variants) == 1:
            assert read_preprocess(json.dumps(model.to_dict()), None) == model.preprocess()
        elif model.variants:
            with pytest.raises(InvalidArgumentError, match="variants"):
                read_preprocess(json.dumps(model.to_dict()), None)
    assert seen


def test_json_forms(tmp_path):
    own = scaling("torch-opencv", height=99, width=101)
    assert read_preprocess(json.dumps(own.to_dict()), None) == own
    spec = ModelSpec(name="m", architecture="resnet18", labels=HAM10000, preprocess=own)
    (tmp_path / "config.json").write_text(json.dumps(spec.to_config()))
    assert read_preprocess(tmp_path / "config.json", None) == own
    with pytest.raises(InvalidArgumentError, match="height"):
        read_preprocess('{"scaling": "caffe"}', None)
    with pytest.raises(InvalidArgumentError, match="no JSON"):
        read_preprocess('{"scaling": ', None)


def test_input_sizes():
    assert (input_size(None), input_size(224), input_size((450, 600))) == (None, (224, 224), (450, 600))
    for bad in (7, 5000, (1, 2, 3), (224, 2.5)):
        with pytest.raises(InvalidArgumentError, match="input_size"):
            input_size(bad)


def test_the_size_of_a_name_is_the_published_one_or_asked_for():
    named = Stated(preprocess=scaling("torch"), any_size=True)
    whole = Stated(preprocess=scaling("torch", height=50, width=60))
    assert named.preprocess_at("m", (380, 300)) == scaling("torch", height=380, width=300)
    assert whole.preprocess_at("m", (380, 300)) == whole.preprocess
    with pytest.raises(ModelError, match="`input_size`"):
        named.preprocess_at("m", None)


@pytest.mark.parametrize(
    ("name", "size"),
    [("resnet50", 224), ("tf_efficientnet_b4", 380), ("inception_v3", 299), ("vit_base_patch16_384", 384)],
)
def test_sizes_of_timm(name, size, caplog):
    with caplog.at_level(logging.INFO, logger="skinclf"):
        assert native_size(name, {}) == (size, size)
    assert f"{size} x {size}" in caplog.text
    assert native_size("skinclf/published-efficientnet", {}) is None


def test_independent_labels_state_malignancy_by_one_rule():
    spec = ModelSpec(
        name="m", architecture="x", labels=HAM10000, preprocess=scaling("unit"), activation="independent"
    )
    p = np.asarray([[0.5, 0.5, 0.9, 0.1, 0.5, 0.2, 0.0]], np.float32)
    assert spec.labels.malignant(p).tolist() == [0.875]  # 1 - (1 - 0.5)^3
    assert HAM10000.malignant(p).tolist() == [1.5]
    assert spec.labels.fingerprint != HAM10000.fingerprint
    assert ModelSpec.from_config(spec.to_config(), source="").labels == spec.labels


def test_a_saved_model_folder_is_named_as_such(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01")
    with pytest.raises(ModelError, match=r"SavedModel.*save the Keras model"):
        folder_kind(tmp_path)


@pytest.mark.parametrize("name", ["out.onnx", "out.tflite", "model.H5"])
def test_a_bundle_is_not_named_like_a_file(tmp_path, name):
    from skinclf.conversion.convert import convert_model

    with pytest.raises(OutputError, match="Name a folder"):
        convert_model(None, tmp_path / name)
    assert not (tmp_path / name).exists()
