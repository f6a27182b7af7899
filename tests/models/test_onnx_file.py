"""`skinclf.models.formats.onnx.file`: ONNX graphs as models."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest

from skinclf.errors import MissingExtraError, ModelError, UnsafeModelError
from skinclf.images.preprocess import scaling
from skinclf.labels import HAM10000, MALIGNANT
from skinclf.models.formats.onnx.file import import_onnx
from skinclf.models.loaded import Stated
from skinclf.models.probabilities import probabilities
from skinclf.runtimes.create import create_runtime

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper
from support.onnx_file import model, save

STATED = {"labels": HAM10000, "preprocess": scaling("unit", height=8, width=8)}


def load(path, **stated):
    return import_onnx(path, Stated(**{**STATED, **stated}), name="net", source=str(path))


def softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def run(loaded, pixels):
    scores = create_runtime(loaded, device="cpu").run(pixels)
    return probabilities(scores, loaded.spec.activation)


PIXELS = np.random.default_rng(1).integers(0, 256, (3, 8, 8, 3), np.uint8)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(
    ("ending", "after"), [("", ()), ("Softmax", ()), ("LogSoftmax", ()), ("Softmax", ("Identity",))]
)
def test_probabilities_are_the_graphs(tmp_path, layout, ending, after):
    path = tmp_path / "model.bin"
    weight = save(path, layout=layout, ending=ending, after=after)
    loaded = load(path)
    assert loaded.network is None
    assert not loaded.has_network
    assert loaded.artifact == path
    assert loaded.spec.activation == ("identity" if ending == "Softmax" else "softmax")
    expected = softmax((PIXELS / 255).mean(axis=(1, 2)) @ weight)
    assert np.abs(run(loaded, PIXELS) - expected).max() < 1e-6


@pytest.mark.parametrize(("ending", "activation"), [("", "sigmoid"), ("Sigmoid", "identity")])
def test_one_output_serves_two_labels(tmp_path, ending, activation):
    path = tmp_path / "net.onnx"
    weight = save(path, outputs=1, ending=ending)
    loaded = load(path, labels=MALIGNANT)
    assert loaded.spec.activation == activation
    p = 1 / (1 + np.exp(-((PIXELS / 255).mean(axis=(1, 2)) @ weight)))
    assert np.abs(run(loaded, PIXELS) - np.concatenate([1 - p, p], axis=1)).max() < 1e-6


@pytest.mark.parametrize("missing", ["labels", "preprocess"])
def test_labels_and_preprocessing_must_be_stated(tmp_path, missing):
    save(tmp_path / "net.onnx")
    with pytest.raises(ModelError, match=f"`{missing}`"):
        load(tmp_path / "net.onnx", **{missing: None})


def test_the_size_follows_the_graph_only_for_a_scalings_name(tmp_path):
    path = tmp_path / "net.onnx"
    save(path, size=16)
    with pytest.raises(ModelError, match="takes 16 x 16 pixels; the stated preprocessing makes 8 x 8"):
        load(path)
    assert load(path, any_size=True).spec.preprocess == scaling("unit", height=16, width=16)
    save(path, size="any")
    assert load(path).spec.preprocess.height == 8


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"outputs": 5}, "5 outputs but there are 7 labels"),
        ({"ending": "Sigmoid"}, "Sigmoid over 7 labels"),
        ({"dtype": TensorProto.UINT8}, "UINT8"),
        ({"layout": "NHWC", "size": 3, "dtype": TensorProto.FLOAT16}, "FLOAT16"),
        (
            {"extra_inputs": [helper.make_tensor_value_info("age", TensorProto.FLOAT, [1])]},
            r"the second input, age, is FLOAT of shape \[1\]",
        ),
        (
            {
                "extra_inputs": [
                    helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2])
                    for name in ("age", "sex")
                ]
            },
            r"inputs \['x', 'age', 'sex'\]",
        ),
    ],
)
def test_what_is_no_image_classifier_is_refused(tmp_path, options, says):
    save(tmp_path / "net.onnx", **options)
    with pytest.raises(ModelError, match=says):
        load(tmp_path / "net.onnx")


def test_operators_from_elsewhere_are_refused(tmp_path):
    save(tmp_path / "net.onnx", ending="Softmax", domain="evil.ops")
    with pytest.raises(UnsafeModelError, match=r"evil\.ops"):
        load(tmp_path / "net.onnx")


@pytest.mark.parametrize(
    "damage", [lambda b: b[: len(b) // 2], lambda b: b"\x08\x09\x12" + b"\xff" * 40, lambda b: b""]
)
def test_damaged_files(tmp_path, damage):
    path = tmp_path / "net.onnx"
    save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ModelError, match=r"damaged|expected one output"):
        load(path)


def save_external(path, location):
    built, weight = model()
    tensor = built.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    path.write_bytes(built.SerializeToString())
    return weight


def test_weights_beside_the_file_are_found_and_hashed(tmp_path):
    path = tmp_path / "net.onnx"
    weight = save_external(path, "net.data")
    with pytest.raises(ModelError, match=r"net\.data' are missing"):
        load(path)
    (tmp_path / "net.data").write_bytes(weight.tobytes())
    loaded = load(path)
    expected = softmax((PIXELS / 255).mean(axis=(1, 2)) @ weight)
    assert np.abs(run(loaded, PIXELS) - expected).max() < 1e-6
    (tmp_path / "net.data").write_bytes((weight * 2).tobytes())
    assert load(path).spec.weights_sha256 != loaded.spec.weights_sha256


@pytest.mark.parametrize(
    "location", ["../secret", "/etc/passwd", "a/../../secret", "C:\\secret", "..\\secret", ""]
)
def test_weights_outside_the_folder_are_refused(tmp_path, location):
    (tmp_path / "secret").write_bytes(b"0" * 84)
    (tmp_path / "model").mkdir()
    save_external(tmp_path / "model" / "net.onnx", location)
    with pytest.raises(UnsafeModelError, match="outside its own folder"):
        load(tmp_path / "model" / "net.onnx")


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    (tmp_path / "secret").write_bytes(b"0" * 84)
    (tmp_path / "model").mkdir()
    os.symlink(tmp_path / "secret", tmp_path / "model" / "net.data")
    save_external(tmp_path / "model" / "net.onnx", "net.data")
    with pytest.raises(UnsafeModelError, match="outside its own folder"):
        load(tmp_path / "model" / "net.onnx")


def test_files_of_a_hub_cache_link_to_their_blobs(tmp_path):
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "sha"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    weight = save_external(blobs / "a", "net.data")
    (blobs / "b").write_bytes(weight.tobytes())
    os.symlink(blobs / "a", snapshot / "net.onnx")
    os.symlink(blobs / "b", snapshot / "net.data")
    assert load(snapshot / "net.onnx").spec.labels == HAM10000


def test_a_tensor_hidden_in_a_subgraph_is_found(tmp_path):
    outside = onnx.TensorProto(
        name="hidden", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL
    )
    outside.external_data.add(key="location", value="../secret")
    branch = helper.make_graph(
        [helper.make_node("Identity", ["hidden"], ["y"])],
        "b",
        [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
        [outside],
    )
    built, _ = model()
    built.graph.node.append(
        helper.make_node("If", ["flag"], ["unused"], then_branch=branch, else_branch=branch)
    )
    (tmp_path / "net.onnx").write_bytes(built.SerializeToString())
    with pytest.raises(UnsafeModelError, match="outside its own folder"):
        load(tmp_path / "net.onnx")


def test_without_onnx_the_message_holds_the_line_to_install(tmp_path, monkeypatch):
    save(tmp_path / "net.onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"skinclf\[onnx\]"):
        load(tmp_path / "net.onnx")
