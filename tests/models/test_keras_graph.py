"""Networks from graphs: what they compute, what may be done with them, and which graphs are refused."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from skinclf.errors import ModelError
from skinclf.images.preprocess import scaling
from skinclf.labels import HAM10000
from skinclf.models.architectures.build import build_network
from skinclf.models.architectures.graph.network import GraphNetwork, build
from skinclf.models.architectures.graph.operations import OPERATIONS, build_operation
from skinclf.models.architectures.graph.shapes import ShapeError, output_shape
from skinclf.models.spec import ModelSpec


def graph(**changes: Any) -> dict[str, Any]:
    """A residual network with most kinds of steps."""
    return {
        "version": 1,
        "input": [20, 24],
        "layers": {
            "scale": ["constant", {"op": "mul", "value": [0.5, 0.25, 0.125]}],
            "pad": ["pad", {"pad": [0, 1, 0, 1]}],
            "conv": ["conv", {"in": 3, "out": 8, "kernel": [3, 3], "stride": [2, 2], "bias": False}],
            "norm": ["batch_norm", {"size": 8, "epsilon": 1e-3}],
            "relu": ["relu", {}],
            "mix": ["conv", {"in": 8, "out": 8, "kernel": [3, 3], "pad": [1, 1]}],
            "add": ["merge", {"op": "add"}],
            "pool": ["max_pool", {"kernel": [3, 3], "stride": [2, 2], "pad": [0, 1, 0, 1]}],
            "layer_norm": ["layer_norm", {"shape": [8], "epsilon": 1e-3}],
            "mean": ["global_mean", {}],
            "dense": ["linear", {"in": 8, "out": 7}],
        },
        "calls": [
            ["scale", [0]],
            ["pad", [1]],
            ["conv", [2]],
            ["norm", [3]],
            ["relu", [4]],
            ["mix", [5]],
            ["add", [5, 6]],
            ["pool", [7]],
            ["layer_norm", [8]],
            ["mean", [9]],
            ["dense", [10]],
        ],
        **changes,
    }


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    made = build(7, graph())
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return made


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(3, 3, 20, 24, generator=torch.Generator().manual_seed(1)) * 4 - 2


# --- what may be done with a network ---------------------------------------------------------------


def test_it_is_an_architecture() -> None:
    spec = ModelSpec(
        name="x",
        architecture="skinclf/keras-graph",
        labels=HAM10000,
        preprocess=scaling("raw", height=20, width=24),
        model_args={"graph": json.loads(json.dumps(graph()))},
    )
    made = build_network(spec)
    assert isinstance(made, GraphNetwork)
    assert not made.training
    assert made(torch.zeros(2, 3, 20, 24)).shape == (2, 7)
    assert all(torch.isfinite(x).all() for x in made.state_dict().values())


@torch.no_grad()
def test_plain_modules_and_stable_names(network: nn.Module) -> None:
    assert type(network.layers["conv"]) is nn.Conv2d
    assert type(network.layers["norm"]) is nn.BatchNorm2d
    assert "layers.conv.weight" in network.state_dict()
    assert not any("scale" in key for key in network.state_dict()), "constants belong to the graph"


@torch.no_grad()
def test_channels_last_and_batches(network: nn.Module, images: torch.Tensor) -> None:
    expected = network(images)
    got = copy.deepcopy(network).to(memory_format=torch.channels_last)(
        images.contiguous(memory_format=torch.channels_last)
    )
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(torch.cat([network(x[None]) for x in images]), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_autocast(network: nn.Module, images: torch.Tensor) -> None:
    expected = network(images)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(network(images).float(), expected, atol=0.1, rtol=0.1)


def test_gradients_flow(network: nn.Module, images: torch.Tensor) -> None:
    """For class activation maps, and for fine-tuning."""
    x = images.clone().requires_grad_()
    network(x)[:, 2].sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    network.zero_grad()


def test_traced_and_fused(network: nn.Module, images: torch.Tensor) -> None:
    from torch.fx.experimental.optimization import fuse

    with torch.no_grad():
        expected = network(images)
        torch.testing.assert_close(
            torch.jit.trace(network, images[:1])(images), expected, atol=1e-5, rtol=1e-5
        )
        fused = fuse(network)
        assert not any(isinstance(m, nn.BatchNorm2d) for m in fused.modules())
        torch.testing.assert_close(fused(images), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_exported_and_compiled(network: nn.Module, images: torch.Tensor) -> None:
    """As one graph, for any batch size."""
    with torch.no_grad():
        expected = network(images)
        batch = torch.export.Dim("batch", min=1, max=64)
        exported = torch.export.export(network, (images[:2],), dynamic_shapes=({0: batch},)).module()
        torch.testing.assert_close(exported(images), expected, atol=1e-5, rtol=1e-5)
        compiled = torch.compile(network, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(images), expected, atol=1e-5, rtol=1e-5)


def test_another_size_is_refused(network: nn.Module) -> None:
    with pytest.raises(ModelError, match=r"takes images of \(20, 24\); received \(1, 3, 24, 20\)"):
        network(torch.zeros(1, 3, 24, 20))


# --- what operations compute -------------------------------------------------------------------------


def op(name: str, **arguments: Any) -> nn.Module:
    return build_operation("it", name, arguments).eval()


@pytest.mark.parametrize("kind", ["max_pool", "avg_pool"])
@pytest.mark.parametrize("kernel", [(2, 2), (3, 3), (4, 3), (5, 2)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (3, 1), (2, 4)])
@pytest.mark.parametrize("size", [(7, 8), (12, 9)])
def test_same_pooling(
    kind: str, kernel: tuple[int, int], stride: tuple[int, int], size: tuple[int, int]
) -> None:
    """TensorFlow's rule, window by window: padding neither wins nor counts."""
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(2))
    count = [-(-n // s) for n, s in zip(size, stride, strict=True)]
    total = [max(0, (c - 1) * s + k - n) for c, s, k, n in zip(count, stride, kernel, size, strict=True)]
    pad = [total[0] // 2, total[0] - total[0] // 2, total[1] // 2, total[1] - total[1] // 2]
    expected = torch.empty(2, 3, *count)
    for row in range(count[0]):
        for column in range(count[1]):
            top, left = row * stride[0] - pad[0], column * stride[1] - pad[2]
            window = x[:, :, max(0, top) : top + kernel[0], max(0, left) : left + kernel[1]]
            expected[:, :, row, column] = window.amax((2, 3)) if kind == "max_pool" else window.mean((2, 3))
    module = op(kind, kernel=list(kernel), stride=list(stride), pad=pad)
    torch.testing.assert_close(module(x), expected, atol=1e-6, rtol=1e-6)
    assert output_shape(module, [(3, *size)]) == tuple(expected.shape[1:])


X = torch.randn(2, 4, 6, 5, generator=torch.Generator().manual_seed(3))
FLAT = X[:, :, 0, 0]


@pytest.mark.parametrize(
    ("module", "x", "expected"),
    [
        (op("flip"), X, X[:, [3, 2, 1, 0]]),
        (op("select", channel=2), X, X[:, 2]),
        (op("permute", axes=[0, 2, 3, 1]), X, X.permute(0, 2, 3, 1)),
        (op("reshape", shape=[10, 12]), X, X.reshape(2, 10, 12)),
        (op("pad", pad=[1, 0, 2, -1]), X, F.pad(X, (2, -1, 1, 0))),
        (op("constant", op="rsub", value=[1.0]), X, 1 - X),
        (
            op("constant", op="rdiv", value=[2.0, 3.0, 4.0, 5.0]),
            X,
            torch.tensor([2.0, 3, 4, 5]).view(4, 1, 1) / X,
        ),
        (
            op("constant", op="add", value=[1.0, 2.0, 3.0, 4.0], axis=-1),
            FLAT,
            FLAT + torch.tensor([1.0, 2, 3, 4]),
        ),
        (op("complement"), FLAT[:, :1], torch.cat([1 - FLAT[:, :1], FLAT[:, :1]], 1)),
        (op("global_max", keep=True), X, X.amax((2, 3), keepdim=True)),
        (
            op("nearest", **{"from": [6, 5]}, size=[12, 15]),
            X,
            X.repeat_interleave(2, 2).repeat_interleave(3, 3),
        ),
        (op("resize", size=[3, 10]), X, F.interpolate(X, (3, 10), mode="bilinear")),
        (op("hard_sigmoid_2"), X, (0.2 * X + 0.5).clamp(0, 1)),
        (
            op("general_relu", capped=True, max=1.0, slope=0.5, threshold=0.25),
            X,
            torch.where(X >= 1, torch.tensor(1.0), torch.where(X >= 0.25, X, 0.5 * (X - 0.25))),
        ),
    ],
)
def test_operations(module: nn.Module, x: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(module(x), expected)
    assert output_shape(module, [tuple(x.shape[1:])]) == tuple(expected.shape[1:])


@pytest.mark.parametrize("factor", range(1, 13))
def test_upsampling_repeats(factor: int) -> None:
    x = torch.randn(1, 1, 13, 7)
    module = op("nearest", **{"from": [13, 7]}, size=[13 * factor, 7 * factor])
    assert torch.equal(module(x), x.repeat_interleave(factor, 2).repeat_interleave(factor, 3))


@pytest.mark.parametrize(("length", "count"), [(20, 470), (8, 164), (6, 369), (37, 15), (5, 5)])
def test_nearest_neighbours_are_tensorflows(length: int, count: int) -> None:
    """In float32, as its kernel counts; where two are equally near, torch's own rounding differs for some."""
    places = (np.arange(count, dtype=np.float32) + np.float32(0.5)) * (np.float32(length) / np.float32(count))
    expected = np.minimum(np.floor(places), length - 1).astype(np.int64)
    x = torch.arange(length).reshape(1, 1, length, 1).expand(1, 1, length, 3).float()
    module = op("nearest", **{"from": [length, 3]}, size=[count, 3])
    assert module(x)[0, 0, :, 1].long().tolist() == expected.tolist()
    turned = op("nearest", **{"from": [3, length]}, size=[3, count])
    assert turned(x.permute(0, 1, 3, 2))[0, 0, 2].long().tolist() == expected.tolist()


def test_nearest_neighbours_in_other_runtimes() -> None:
    """Traced and exported: indices are constants there."""
    x = torch.randn(2, 3, 20, 24)
    parts = {"resize": ["nearest", {"from": [20, 24], "size": [7, 30]}], "mean": ["global_mean", {}]}
    calls = [["resize", [0]], ["mean", [1]], ["dense", [2]]]
    dense = {"dense": ["linear", {"in": 3, "out": 7}]}
    made = build(7, graph(layers={**parts, **dense}, calls=calls))
    with torch.no_grad():
        assert torch.equal(torch.jit.trace(made, x[:1])(x), made(x))
        assert torch.equal(torch.fx.symbolic_trace(made)(x), made(x))


@pytest.mark.parametrize(
    "name",
    [
        n
        for n in OPERATIONS
        if n
        in {
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
        }
    ],
)
def test_activations_keep_shapes(name: str) -> None:
    assert output_shape(op(name), [(4, 6, 5)]) == tuple(op(name)(X).shape[1:])


# --- graphs that are refused ---------------------------------------------------------------------------


def layers(**changes: Any) -> dict[str, Any]:
    return graph(layers={**graph()["layers"], **changes})


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("nonsense", "expected an object"),
        ({**graph(), "extra": 1}, "expected an object"),
        (graph(version=2), "version 2"),
        (graph(input=[20]), "height, width"),
        (graph(input=[20, 10**9]), "1 to 4096"),
        (graph(calls=[]), "1 to 20000"),
        (graph(calls=[["conv", [0]]]), "never called"),
        (graph(calls=[["conv", [1]]]), "no earlier call"),
        (graph(calls=[["conv", [-1]]]), "no earlier call"),
        (graph(calls=[["nobody", [0]]]), "not \\[layer, inputs\\]"),
        (layers(conv="conv"), "not \\[operation, arguments\\]"),
        (layers(conv=["system", {"command": "ls"}]), "unknown operation 'system'"),
        (layers(conv=["conv", {"in": 3, "out": 8}]), "'kernel' is missing"),
        (
            layers(conv=["conv", {"in": 3, "out": 8, "kernel": [3, 3], "device": "cuda"}]),
            "unknown arguments 'device'",
        ),
        (layers(conv=["conv", {"in": 3, "out": 8, "kernel": [3, "3"]}]), "'kernel' is"),
        (layers(conv=["conv", {"in": True, "out": 8, "kernel": [3, 3]}]), "'in' is"),
        (layers(conv=["conv", {"in": 3, "out": 10**12, "kernel": [3, 3]}]), "'out' is"),
        (
            layers(conv=["conv", {"in": 4, "out": 8, "kernel": [3, 3]}]),
            "'conv' does not fit its input: takes 4",
        ),
        (layers(conv=["conv", {"in": 3, "out": 8, "kernel": [99, 3]}]), "window of 99 does not fit"),
        (layers(conv=["conv", {"in": 3, "out": 8, "kernel": [3, 3], "groups": 2}]), "groups"),
        (layers(norm=["batch_norm", {"size": 8, "epsilon": float("nan")}]), "'epsilon' is"),
        (layers(scale=["constant", {"op": "pow", "value": [1.0]}]), "'op' is 'pow'"),
        (layers(scale=["constant", {"op": "mul", "value": [1.0, 2.0]}]), "'scale' does not fit"),
        (layers(add=["concat", {"axis": 1}]), "does not fit its input"),
        (layers(dense=["linear", {"in": 8, "out": 6}]), r"output has shape \(6,\)"),
        (layers(dense=["linear", {"in": 8, "out": 1 << 24}]), r"output has shape"),
        (layers(mix=["conv", {"in": 1 << 14, "out": 1 << 14, "kernel": [9, 9]}]), "parameters are more"),
        (
            layers(pad=["nearest", {"from": [20, 24], "size": [16000, 16000]}]),
            "would make 768,000,000 numbers",
        ),
        (layers(pad=["nearest", {"from": [20, 20], "size": [21, 25]}]), "resizes \\(20, 20\\), not"),
        (
            graph(
                layers={"up": ["resize", {"size": [9000, 9000]}], "join": ["concat", {"axis": 2}]},
                calls=[*([["up", [0]]] * 3), ["join", [1, 2, 3]]],
            ),
            "at 'up' it would keep 486,001,440 numbers",
        ),
        (
            layers(
                pool=[
                    "max_pool",
                    {"kernel": [20_001, 20_000], "stride": [1, 1], "pad": [10_000, 10_000, 9999, 10_000]},
                ]
            ),
            "at 'pool' it would keep",
        ),
    ],
)
def test_bad_graphs(bad: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build(7, bad)


@pytest.mark.parametrize("name", ["pop", "a.b", "", "1x", "a b", "x" * 300])
def test_bad_names(name: str) -> None:
    parts = graph()
    parts["layers"][name] = parts["layers"].pop("conv")
    parts["calls"][2][0] = name
    with pytest.raises(ModelError, match="cannot name a layer"):
        build(7, parts)


@pytest.mark.parametrize(
    ("module", "shapes"),
    [
        (lambda: op("linear", **{"in": 4, "out": 2}), [(5,)]),
        (lambda: op("batch_norm", size=4, epsilon=1e-3), [(4,)]),
        (lambda: op("batch_norm", size=4, epsilon=1e-3, image=False), [(4, 5, 6)]),
        (lambda: op("layer_norm", shape=[5], epsilon=1e-3), [(4, 6, 6)]),
        (lambda: op("nearest", **{"from": [6, 5]}, size=[3, 3]), [(4, 6, 6)]),
        (lambda: op("prelu", shape=[3]), [(4, 6, 6)]),
        (lambda: op("merge", op="sub"), [(4,), (4,), (4,)]),
        (lambda: op("merge", op="add"), [(4, 5, 6), (4,)]),
        (lambda: op("merge", op="add"), [(4,), (3,)]),
        (lambda: op("stack"), [(4, 5), (5, 4)]),
        (lambda: op("reshape", shape=[7]), [(4, 2)]),
        (lambda: op("permute", axes=[1, 0]), [(4,)]),
        (lambda: op("select", channel=4), [(4, 5, 6)]),
        (lambda: op("softmax", axis=2), [(4,)]),
        (lambda: op("complement"), [(2,)]),
        (lambda: op("pad", pad=[-3, -3, 0, 0]), [(4, 6, 6)]),
        (lambda: op("max_pool", kernel=[2, 2], stride=[2, 2], pad=[2, 2, 0, 0]), [(4, 6, 6)]),
        (lambda: op("relu"), [(4,), (4,)]),
        (lambda: op("global_mean"), [(4,)]),
    ],
)
def test_shapes_that_do_not_fit(module: Callable[[], nn.Module], shapes: list[tuple[int, ...]]) -> None:
    with pytest.raises(ShapeError):
        output_shape(module(), shapes)


def test_memory_is_returned_on_the_way() -> None:
    """A value is dropped after its last use, so that depth costs no memory."""
    made = GraphNetwork(graph())
    dropped = [value for _, _, finished in made.plan for value in finished]
    assert sorted(dropped) == list(range(len(made.plan)))
    assert np.unique(dropped).size == len(dropped)
