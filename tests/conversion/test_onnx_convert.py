"""ONNX graphs as torch networks, operator by operator against ONNX Runtime, and as bundles."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from support.bundles import random_network

from skinclf.conversion.convert import convert_model, verify_model
from skinclf.errors import ModelError
from skinclf.images.preprocess import scaling
from skinclf.labels import HAM10000
from skinclf.models.formats.onnx.file import import_onnx
from skinclf.models.formats.onnx.lower import onnx_network
from skinclf.models.load import load_model
from skinclf.models.loaded import Stated
from skinclf.models.options import ModelOptions
from skinclf.models.probabilities import probabilities
from skinclf.runtimes.create import create_runtime

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper, numpy_helper

SIZE = 12
RNG = np.random.default_rng(0)


def weights(*shape):
    return RNG.normal(0, (2 / max(1, int(np.prod(shape[1:])))) ** 0.5, shape).astype(np.float32)


def ints(*values):
    return np.asarray(values, np.int64)


def single(value):
    return np.asarray(value, np.float32)


def graph(*steps, layout="NCHW", batch="n", opset=18):
    """A model from (operator, inputs, attributes) steps; `x` is the value before, arrays are constants."""
    nodes, constants, last = [], [], "image"
    for number, (op, inputs, attributes) in enumerate(steps):
        names = []
        for index, given in enumerate(inputs):
            if isinstance(given, np.ndarray):
                names.append(f"c{number}_{index}")
                constants.append(numpy_helper.from_array(given, names[-1]))
            else:
                names.append(last if given == "x" else given)
        last = f"v{number}"
        nodes.append(helper.make_node(op, names, [last], **attributes))
    shape = [batch, 3, SIZE, SIZE] if layout == "NCHW" else [batch, SIZE, SIZE, 3]
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, None)],
        constants,
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def pooled(width=3):
    """Mean over pixels, then seven classes."""
    return [
        ("GlobalAveragePool", ["x"], {}),
        ("Flatten", ["x"], {}),
        ("Gemm", ["x", weights(7, width), weights(7)], {"transB": 1}),
    ]


def compare(path, model, limit=2e-6, pixels=None):
    onnx.save(model, path)
    stated = Stated(labels=HAM10000, preprocess=scaling("torch", height=SIZE, width=SIZE))
    loaded = import_onnx(path, stated, name="net", source="s")
    pixels = (
        np.random.default_rng(1).integers(0, 256, (3, SIZE, SIZE, 3), np.uint8) if pixels is None else pixels
    )
    theirs = create_runtime(loaded, runtime="onnxruntime", device="cpu").run(pixels)
    inside = onnx_network(loaded)
    ours = create_runtime(inside, runtime="torch", device="cpu").run(pixels)
    expected = probabilities(theirs, loaded.spec.activation)
    assert np.ptp(expected, axis=0).max() > 1e-4  # the pictures differ, so the comparison can fail
    assert np.abs(probabilities(ours, inside.spec.activation) - expected).max() < limit
    return inside


CONV = ("Conv", ["x", weights(4, 3, 3, 3), weights(4)], {"pads": [1, 1, 1, 1], "strides": [2, 2]})


def norm(width):
    values = [weights(width) + 1, weights(width), weights(width), np.abs(weights(width)) + 0.5]
    return ("BatchNormalization", ["x", *values], {"epsilon": 0.01})


BODIES = {
    "conv without bias": [("Conv", ["x", weights(4, 3, 3, 3)], {})],
    "conv uneven padding": [("Conv", ["x", weights(4, 3, 3, 3)], {"pads": [0, 1, 1, 2], "strides": [2, 1]})],
    "conv same upper": [("Conv", ["x", weights(4, 3, 4, 4)], {"auto_pad": "SAME_UPPER", "strides": [2, 2]})],
    "conv same lower": [("Conv", ["x", weights(4, 3, 4, 4)], {"auto_pad": "SAME_LOWER", "strides": [1, 1]})],
    "conv valid": [("Conv", ["x", weights(4, 3, 3, 3)], {"auto_pad": "VALID"})],
    "grouped dilated": [CONV, ("Conv", ["x", weights(4, 2, 3, 3)], {"group": 2, "dilations": [2, 2]})],
    "depthwise": [CONV, ("Conv", ["x", weights(4, 1, 3, 3)], {"group": 4})],
    "batch norm": [CONV, norm(4)],
    "relu": [CONV, ("Relu", ["x"], {})],
    "relu6": [CONV, ("Clip", ["x", single(0), single(6)], {})],
    "clip": [CONV, ("Clip", ["x", single(-0.3), single(0.4)], {})],
    "clip above": [CONV, ("Clip", ["x", "", single(0.1)], {})],
    "sigmoid": [CONV, ("Sigmoid", ["x"], {})],
    "tanh": [CONV, ("Tanh", ["x"], {})],
    "hard swish": [CONV, ("HardSwish", ["x"], {})],
    "hard sigmoid": [CONV, ("HardSigmoid", ["x"], {"alpha": 1 / 6, "beta": 0.5})],
    "hard sigmoid default": [CONV, ("HardSigmoid", ["x"], {})],
    "leaky relu": [CONV, ("LeakyRelu", ["x"], {"alpha": 0.2})],
    "elu": [CONV, ("Elu", ["x"], {"alpha": 0.7})],
    "selu": [CONV, ("Selu", ["x"], {})],
    "softplus": [CONV, ("Softplus", ["x"], {})],
    "mish": [CONV, ("Mish", ["x"], {})],
    "prelu": [CONV, ("PRelu", ["x", weights(4, 1, 1) * np.float32(0.2)], {})],
    "add channel": [CONV, ("Add", ["x", weights(1, 4, 1, 1)], {})],
    "sub from": [CONV, ("Sub", [weights(4, 1, 1), "x"], {})],
    "sub": [CONV, ("Sub", ["x", single(0.4)], {})],
    "divide": [CONV, ("Div", ["x", single([2.5])], {})],
    "divide by": [CONV, ("Exp", ["x"], {}), ("Div", [single(1), "x"], {})],
    "squeeze and excite": [
        CONV,
        ("GlobalAveragePool", ["x"], {}),
        ("Sigmoid", ["x"], {}),
        ("Mul", ["v0", "x"], {}),
    ],
    "residual": [
        CONV,
        ("Relu", ["x"], {}),
        ("Conv", ["x", weights(4, 4, 1, 1)], {}),
        ("Add", ["x", "v0"], {}),
    ],
    "concatenation": [
        CONV,
        ("Relu", ["x"], {}),
        ("Concat", ["x", "v0"], {"axis": 1}),
        ("Conv", ["x", weights(4, 8, 1, 1)], {}),
    ],
    "max of two": [CONV, ("Sigmoid", ["x"], {}), ("Max", ["x", "v0"], {})],
    "max pool": [CONV, ("MaxPool", ["x"], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]})],
    "mean pool": [
        CONV,
        ("AveragePool", ["x"], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ],
    "mean pool with padding": [
        CONV,
        ("AveragePool", ["x"], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}),
    ],
    "pad": [CONV, ("Pad", ["x", ints(0, 0, 1, 2, 0, 0, 0, 1)], {})],
    "transposes": [
        CONV,
        ("Transpose", ["x"], {"perm": [0, 2, 3, 1]}),
        ("Add", ["x", weights(4)], {}),
        ("Transpose", ["x"], {"perm": [0, 3, 1, 2]}),
    ],
    "squeeze": [
        CONV,
        ("GlobalMaxPool", ["x"], {}),
        ("Squeeze", ["x", ints(3)], {}),
        ("Unsqueeze", ["x", ints(-1)], {}),
    ],
    "identity": [
        CONV,
        ("Identity", ["x"], {}),
        ("Dropout", ["x"], {}),
        ("Cast", ["x"], {"to": TensorProto.FLOAT}),
    ],
}


@pytest.mark.parametrize("body", BODIES)
def test_every_operator_against_onnx_runtime(tmp_path, body):
    compare(tmp_path / "net.onnx", graph(*BODIES[body], *pooled(4)))


HEADS = {
    "flattened": [
        ("Flatten", ["x"], {}),
        ("Gemm", ["x", weights(7, 3 * SIZE**2), weights(7)], {"transB": 1}),
    ],
    "reshaped": [("Reshape", ["x", ints(0, -1)], {}), ("MatMul", ["x", weights(3 * SIZE**2, 7)], {})],
    "reshaped by minus one": [
        ("Reshape", ["x", ints(-1, 3 * SIZE**2)], {}),
        ("MatMul", ["x", weights(3 * SIZE**2, 7)], {}),
    ],
    "mean": [
        ("ReduceMean", ["x", ints(2, 3)], {"keepdims": 0}),
        ("MatMul", ["x", weights(3, 7)], {}),
        ("Add", ["x", weights(7)], {}),
    ],
    "mean kept": [
        ("ReduceMean", ["x", ints(-1, -2)], {}),
        ("Conv", ["x", weights(7, 3, 1, 1)], {}),
        ("Flatten", ["x"], {}),
    ],
    "classes as an image": [("Conv", ["x", weights(7, 3, 1, 1)], {}), ("GlobalAveragePool", ["x"], {})],
    "scaled gemm": [
        *pooled()[:2],
        ("Gemm", ["x", weights(3, 7), weights(7)], {"alpha": 0.5, "beta": 2.0}),
    ],
    "norm of features": [*pooled()[:2], norm(3), ("Gemm", ["x", weights(3, 7)], {})],
    "shape arithmetic": [
        ("GlobalAveragePool", ["x"], {}),
        ("Shape", ["x"], {}),
        ("Gather", ["x", ints(0)], {}),
        ("Concat", ["x", ints(-1)], {"axis": 0}),
        ("Reshape", ["v0", "v3"], {}),
        ("MatMul", ["x", weights(3, 7)], {}),
    ],
    "softmax": [*pooled(), ("Softmax", ["x"], {"axis": 1}), ("Identity", ["x"], {})],
}


@pytest.mark.parametrize("head", HEADS)
def test_every_head_against_onnx_runtime(tmp_path, head):
    inside = compare(tmp_path / "net.onnx", graph(*HEADS[head]))
    # A final softmax comes off: what is left gives logits.
    assert inside.spec.activation == "softmax"


def test_images_with_channels_last(tmp_path):
    steps = [("Transpose", ["x"], {"perm": [0, 3, 1, 2]}), CONV, *pooled(4)]
    compare(tmp_path / "net.onnx", graph(*steps, layout="NHWC"))
    steps = [("ReduceMean", ["x", ints(1, 2)], {"keepdims": 0}), ("MatMul", ["x", weights(3, 7)], {})]
    compare(tmp_path / "net.onnx", graph(*steps, layout="NHWC"))


def test_an_older_operator_set_keeps_its_axes_as_attributes(tmp_path):
    steps = [
        CONV,
        ("ReduceMean", ["x"], {"axes": [2, 3]}),
        ("Squeeze", ["x"], {"axes": [2, 3]}),
        ("MatMul", ["x", weights(4, 7)], {}),
    ]
    compare(tmp_path / "net.onnx", graph(*steps, opset=11))


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        (
            [("InstanceNormalization", ["x", weights(3), weights(3)], {}), *pooled()],
            "InstanceNormalization has no counterpart",
        ),
        (
            [("MaxPool", ["x"], {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}), *pooled()],
            "ceil_mode",
        ),
        ([("Add", ["x", weights(1, 1, SIZE, SIZE)], {}), *pooled()], r"constant of shape \(1, 1, 12, 12\)"),
        ([("Pad", ["x", ints(0, 0, 1, 1, 0, 0, 1, 1), single(5)], {}), *pooled()], "Pad pads with something"),
        ([("ReduceMean", ["x", ints(1)], {}), *pooled(1)], r"mean over axes \[1\]"),
        ([("HardSigmoid", ["x"], {"alpha": 0.3}), *pooled()], "alpha 0.3"),
        ([("Transpose", ["x"], {"perm": [1, 0, 2, 3]}), *pooled()], "moves the batch"),
        ([("Softmax", ["x"], {"axis": 1}), *pooled()], "last axis"),
        ([*pooled(5)], "does not fit itself at linear"),
    ],
)
def test_what_has_no_counterpart_is_named(tmp_path, steps, says):
    onnx.save(graph(*steps), tmp_path / "net.onnx")
    stated = Stated(labels=HAM10000, preprocess=scaling("torch", height=SIZE, width=SIZE))
    loaded = import_onnx(tmp_path / "net.onnx", stated, name="net", source="s")
    with pytest.raises(ModelError, match=says):
        onnx_network(loaded)


def test_constants_that_would_fill_the_memory_are_refused(tmp_path):
    column, row = np.ones((40_000, 1), np.float32), np.ones((1, 40_000), np.float32)
    model = graph(("Add", [column, row], {}), ("GlobalAveragePool", ["image"], {}), *pooled()[1:])
    onnx.save(model, tmp_path / "net.onnx")
    stated = Stated(labels=HAM10000, preprocess=scaling("torch", height=SIZE, width=SIZE))
    with pytest.raises(ModelError, match="makes 1,600,000,000 numbers"):
        onnx_network(import_onnx(tmp_path / "net.onnx", stated, name="net", source="s"))


@pytest.mark.parametrize("architecture", ["test_efficientnet", "mobilenetv3_small_050", "resnet18"])
def test_exported_networks_become_bundles(tmp_path, architecture):
    import timm

    network = timm.create_model(architecture, num_classes=7).eval()
    network.load_state_dict(random_network(architecture, 7, seed=8))
    path = tmp_path / "net.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            torch.nn.Sequential(network, torch.nn.Softmax(1)).eval(),
            (torch.zeros(1, 3, 64, 64),),
            str(path),
            dynamo=False,
            input_names=["x"],
            output_names=["y"],
            dynamic_axes={"x": {0: "n"}, "y": {0: "n"}},
        )
    spec = convert_model(
        path, tmp_path / "bundle", options=ModelOptions(labels="ham10000", preprocess="torch")
    )
    assert spec.golden[0].source.startswith("onnxruntime ")
    assert (spec.architecture, spec.activation) == ("skinclf/onnx-graph", "softmax")
    path.unlink()
    report = verify_model(tmp_path / "bundle")
    assert report.ok
    assert report.checks[0].difference < 1e-5
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found = load_model(tmp_path / "bundle").torch_network()(x)
        assert (found.softmax(1) - network(x).softmax(1)).abs().max() < 1e-5
