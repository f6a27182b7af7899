"""OpenVINO graphs of Keras files, built without torch: the numbers of the torch network, for every operation.

`tests/models/test_keras_parity.py` does the same with every family and layer that Keras itself saves.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.direct_graph import direct_answers
from support.keras_fixtures import layer, stated, tiny, tiny_weights, write_h5

from skinclf.errors import ModelError
from skinclf.images.preprocess import scaling
from skinclf.models.architectures.graph.arguments import Arguments
from skinclf.models.architectures.graph.form import RESERVED
from skinclf.models.architectures.graph.network import GraphNetwork, build
from skinclf.models.architectures.graph.operations import OPERATIONS as TORCH_OPERATIONS
from skinclf.models.formats.keras.file import ARCHITECTURE, import_keras
from skinclf.models.loaded import LoadedModel
from skinclf.models.spec import ModelSpec
from skinclf.runtimes.create import create_runtime
from skinclf.runtimes.direct_graph import direct_graph, has_direct_graph
from skinclf.runtimes.direct_operations import OPERATIONS, nearest_rows

pytest.importorskip("openvino")

HEIGHT, WIDTH = 9, 11
#: Operations from (N, 3, 9, 11), each with the channels and whether it keeps an image; a few with several forms.
IMAGE = {
    "conv": [
        {"in": 3, "out": 4, "kernel": [3, 2], "stride": [2, 1], "pad": [1, 0], "dilation": [1, 2]},
        {"in": 3, "out": 6, "kernel": [3, 3], "groups": 3, "bias": False},
    ],
    "batch_norm": [{"size": 3, "epsilon": 0.001}],
    "layer_norm": [
        {"shape": [3], "epsilon": 0.001},
        {"shape": [WIDTH, 3], "epsilon": 0.1},
        {"shape": [3], "epsilon": 1e-6, "affine": False},
    ],
    "prelu": [{"shape": [3, 1, 1]}, {"shape": [3, HEIGHT, WIDTH]}],
    "max_pool": [
        {"kernel": [3, 2], "stride": [2, 2]},
        {"kernel": [3, 3], "stride": [2, 2], "pad": [0, 1, 1, 1]},
        {"kernel": [2, 2], "stride": [1, 1], "pad": [0, 1, 0, 1]},
    ],
    "avg_pool": [
        {"kernel": [2, 3], "stride": [2, 3]},
        {"kernel": [3, 3], "stride": [2, 2], "pad": [0, 1, 1, 1]},
        {"kernel": [2, 2], "stride": [1, 1], "pad": [0, 1, 0, 1]},
    ],
    "global_mean": [{}, {"keep": True}],
    "global_max": [{}, {"keep": True}],
    "pad": [{"pad": [1, 0, 2, 3]}, {"pad": [-1, -2, -3, 0]}, {"pad": [-1, 2, 1, -2]}],
    "constant": [
        *({"op": op, "value": [0.5, -2.0, 3.0]} for op in ("add", "sub", "rsub", "mul", "div", "max", "min")),
        {"op": "rdiv", "value": [2.0, -1.0, 3.0]},
        {"op": "mul", "value": [0.25]},
    ],
    "permute": [{"axes": [0, 2, 3, 1]}, {"axes": [0, 3, 1, 2]}],
    "reshape": [{"shape": [3 * HEIGHT * WIDTH]}, {"shape": [HEIGHT, 3, WIDTH]}],
    "select": [{"channel": 2}],
    "flip": [{}],
    "resize": [{"size": [5, 17]}, {"size": [18, 22]}],
    "nearest": [{"from": [HEIGHT, WIDTH], "size": [7, 30]}],
    "softmax": [{"axis": 1}, {"axis": 3}],
    "general_relu": [{"slope": 0.1, "threshold": 0.3}, {"capped": True, "max": 0.8, "threshold": -0.2}],
    "leaky_relu": [{"slope": 0.2}],
    "elu": [{"alpha": 0.7}],
    "gelu": [{"approximate": "none"}, {"approximate": "tanh"}],
    **{
        op: [{}]
        for op in [
            "relu",
            "relu6",
            "selu",
            "sigmoid",
            "hard_sigmoid",
            "hard_sigmoid_2",
            "silu",
            "hard_silu",
            "tanh",
            "softplus",
            "softsign",
            "exponential",
            "mish",
        ]
    },
}
CASES = [(op, number) for op, forms in IMAGE.items() for number in range(len(forms))]
#: Operations of several values, or of vectors, as whole graphs.
GRAPHS = {
    "merges": (
        {
            **{op: ["merge", {"op": op}] for op in ("add", "sub", "mul", "max", "min", "mean")},
            "soft": ["sigmoid", {}],
            "div": ["merge", {"op": "div"}],
            "join": ["concat", {"axis": 2}],
        },
        [
            ["soft", [0]],
            *([op, [0, 1]] for op in ("add", "sub", "mul", "max", "min", "div")),
            ["mean", [0, 1, 2]],
            ["join", [2, 3, 4, 5, 6, 7, 8]],
        ],
    ),
    "planes": (
        {
            **{f"plane{i}": ["select", {"channel": i}] for i in (0, 2)},
            "stack": ["stack", {}],
        },
        [["plane2", [0]], ["plane0", [0]], ["stack", [1, 2, 1]]],
    ),
    "sequences": (
        {
            "rows": ["reshape", {"shape": [HEIGHT, 3 * WIDTH]}],
            "norm": ["batch_norm", {"size": HEIGHT, "epsilon": 0.01, "image": False}],
            "layer": ["layer_norm", {"shape": [3 * WIDTH], "epsilon": 0.01, "image": False}],
            "dense": ["linear", {"in": 3 * WIDTH, "out": 5}],
            "scale": ["constant", {"op": "mul", "value": [1.0, 2.0, 3.0, 4.0, 5.0], "axis": -1}],
            "flat": ["reshape", {"shape": [5 * HEIGHT]}],
            "vector": ["batch_norm", {"size": 5 * HEIGHT, "epsilon": 0.01, "image": False}],
            "slope": ["prelu", {"shape": [5 * HEIGHT]}],
        },
        [
            [name, [step]]
            for step, name in enumerate(
                ["rows", "norm", "layer", "dense", "scale", "flat", "vector", "slope"]
            )
        ],
    ),
    "one probability": (
        {
            "pool": ["global_mean", {}],
            "dense": ["linear", {"in": 3, "out": 1, "bias": False}],
            "p": ["sigmoid", {}],
            "two": ["complement", {}],
        },
        [["pool", [0]], ["dense", [1]], ["p", [2]], ["two", [3]]],
    ),
}


def model_of(layers, calls):
    """A model of a graph that is made a vector at its end, with random numbers in every parameter."""
    probe = {"version": 1, "input": [HEIGHT, WIDTH], "layers": layers, "calls": calls}
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(0)
        width = GraphNetwork(probe).eval()(torch.zeros(1, 3, HEIGHT, WIDTH)).numel()
        layers = {**layers, "end": ["reshape", {"shape": [width]}]}
        graph = {**probe, "layers": layers, "calls": [*calls, ["end", [len(calls)]]]}
        network = build(width, graph)
        for name, values in network.state_dict().items():
            if values.is_floating_point():
                values.uniform_(0.5, 1.5) if "var" in name else values.normal_()
    tensors = {key: value.numpy() for key, value in network.state_dict().items()}
    labels = stated(max(width, 2)).labels
    spec = ModelSpec(
        name="m",
        architecture=ARCHITECTURE,
        labels=labels,
        preprocess=scaling("raw", height=HEIGHT, width=WIDTH),
        activation="softmax" if width > 1 else "sigmoid",
        model_args={"graph": graph},
    )
    return LoadedModel(spec=spec, build=lambda: network, tensors=lambda: tensors)


def assert_same(model):
    images = np.random.default_rng(1).normal(0, 1.5, (2, HEIGHT, WIDTH, 3)).astype(np.float32)
    found = direct_answers(model, images)
    with torch.inference_mode():
        wanted = model.torch_network()(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
    assert wanted.std() > 0
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_it_knows_every_operation():
    assert set(OPERATIONS) <= set(TORCH_OPERATIONS)
    # A second input goes through torch.
    assert set(TORCH_OPERATIONS) - set(OPERATIONS) <= {"entries"}
    named = set(IMAGE) | {op for layers, _ in GRAPHS.values() for op, _ in layers.values()}
    assert named == set(OPERATIONS)


@pytest.mark.parametrize(("op", "number"), CASES)
def test_an_operation_is_torchs(op, number):
    assert_same(model_of({"it": [op, IMAGE[op][number]]}, [["it", [0]]]))


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_is_torchs(name):
    assert_same(model_of(*GRAPHS[name]))


def test_nearest_rows_are_those_of_the_torch_operation():
    for length in range(1, 40):
        for count in range(1, 40):
            made = TORCH_OPERATIONS["nearest"](Arguments("n", {"from": [length, 1], "size": [count, 1]}))
            np.testing.assert_array_equal(made.get_buffer("rows").numpy(), nearest_rows(length, count))


def test_names_that_torch_keeps_for_itself_are_reserved():
    # In a process of its own: other libraries add methods to torch's modules when they are imported.
    code = "import torch; print(*dir(torch.nn.ModuleDict()))"
    names = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert {name for name in names.split() if not name.startswith("_")} <= RESERVED


# --- a Keras file ----------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path):
    return write_h5(tmp_path / "model.h5", tiny(), tiny_weights())


def load(path, **changes):
    told = stated(3, height=16)
    return import_keras(path, replace(told, **changes), name="m", source=str(path))


@pytest.mark.parametrize("kind", ["raw", "caffe-opencv", "tf-pillow", "torch-tensorflow"])
def test_a_file_gives_the_numbers_of_torch_through_its_preprocessing(file, kind):
    model = load(file, preprocess=scaling(kind.partition("-")[0], height=16, width=16))
    pixels = (
        np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3)).astype(model.spec.preprocess.pixel_dtype)
    )
    found = create_runtime(model, runtime="openvino", device="cpu").run(pixels)
    wanted = create_runtime(model, runtime="torch", device="cpu").run(pixels)
    assert wanted.std() > 0
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-4 if kind == "raw" else 1e-5)


def test_neither_torch_nor_a_cache_is_touched(file, tmp_path):
    script = (
        "import sys, pathlib, numpy as np\n"
        "from skinclf.inference.predictor import Predictor\n"
        "from skinclf.models.options import ModelOptions\n"
        "from skinclf.images.synthetic import synthetic_lesion\n"
        "options = ModelOptions(labels='bkl,mel,nv', preprocess='raw-pillow')\n"
        f"made = Predictor({str(file)!r}, options=options, runtime='openvino', workers=0)\n"
        "print(sum(made.predict(synthetic_lesion(0)).probabilities.values()))\n"
        "print(sorted({'torch', 'tensorflow', 'keras', 'timm'} & set(sys.modules)))"
    )
    environment = {**os.environ, "SKINCLF_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    total, modules = done.stdout.splitlines()
    assert float(total) == pytest.approx(1, abs=1e-6)
    assert modules == "[]"
    assert not (tmp_path / "cache").exists()


def test_an_operation_that_it_does_not_know_goes_through_torch(file, monkeypatch):
    model = load(file)
    assert has_direct_graph(model)
    pixels = (
        np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3)).astype(model.spec.preprocess.pixel_dtype)
    )
    direct = create_runtime(model, runtime="openvino", device="cpu").run(pixels)
    monkeypatch.delitem(OPERATIONS, "conv")
    assert not has_direct_graph(model)
    converted = create_runtime(model, runtime="openvino", device="cpu").run(pixels)
    np.testing.assert_allclose(direct, converted, rtol=1e-5, atol=1e-4)


def test_a_bundle_has_none(file):
    assert not has_direct_graph(replace(load(file), tensors=None))


def test_numbers_that_do_not_fit_are_refused(file):
    model = load(file)
    tensors = dict(model.tensors())
    name = next(iter(tensors))
    for changed in ({}, {name: tensors[name][:-1]}):
        wrong = replace(
            model, tensors=lambda changed=changed: {k: v for k, v in tensors.items() if k != name} | changed
        )
        with pytest.raises(ModelError, match=name):
            direct_graph(wrong)


def test_the_last_inputs_are_the_embeddings_of_torch(tmp_path):
    path = write_h5(tmp_path / "model.h5", tiny(layer("Dropout", "drop")), tiny_weights())
    model = load(path)
    pixels = (
        np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3)).astype(model.spec.preprocess.pixel_dtype)
    )
    _, found = create_runtime(model, runtime="openvino", device="cpu", embeddings=True).embed(pixels)
    _, wanted = create_runtime(model, runtime="torch", device="cpu").embed(pixels)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-4)
