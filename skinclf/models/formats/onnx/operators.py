"""Conversion of each ONNX operator; numbers and layouts follow the ONNX specification, opset 9 and later."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from skinclf.models.formats.onnx.folding import axes_of
from skinclf.models.formats.onnx.graph import Array, Lowering, Node, Operator, Value


def _conv(lowering: Lowering, node: Node) -> Value:
    x, weight, bias = node.value(), node.constant(1), node.constant(2)
    if weight.ndim != 4:
        raise node.fail(f"has a kernel of {weight.ndim - 2} dimensions")
    groups = int(node.get("group", 1))
    stride, dilation = list(node.get("strides", [1, 1])), list(node.get("dilations", [1, 1]))
    extent = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilation, strict=True)]
    pad, x = _own_padding(lowering, node, x, extent, stride)
    arguments = {
        "in": weight.shape[1] * groups,
        "out": weight.shape[0],
        "kernel": list(weight.shape[2:]),
        "stride": stride,
        "pad": pad,
        "dilation": dilation,
        "groups": groups,
        "bias": bias is not None,
    }
    return lowering.emit("conv", arguments, [x], weight=weight, bias=bias)


def _pads(node: Node, shape: tuple[int, ...], extent: list[int], stride: list[int]) -> list[int]:
    """Top, bottom, left, right."""
    mode = node.get("auto_pad", "NOTSET")
    if mode in {"NOTSET", ""}:
        top, left, bottom, right = node.get("pads", [0, 0, 0, 0])
        return [top, bottom, left, right]
    if mode == "VALID":
        return [0, 0, 0, 0]
    found = []
    for size, window, step in zip(shape[1:], extent, stride, strict=True):
        total = max(0, (math.ceil(size / step) - 1) * step + window - size)
        small, large = total // 2, total - total // 2
        found += [small, large] if mode == "SAME_UPPER" else [large, small]
    return found


def _own_padding(
    lowering: Lowering, node: Node, x: Value, extent: list[int], stride: list[int]
) -> tuple[list[int], Value]:
    """Padding that a convolution does itself, when both ends are equal; else a padded input."""
    top, bottom, left, right = pads = _pads(node, x.shape, extent, stride)
    if top == bottom and left == right:
        return [top, left], x
    return [0, 0], lowering.emit("pad", {"pad": pads}, [x])


def _pool(kind: str) -> Operator:
    def run(lowering: Lowering, node: Node) -> Value:
        x = node.value()
        kernel, stride = list(node.get("kernel_shape")), list(node.get("strides", [1, 1]))
        if node.get("ceil_mode", 0) or any(d != 1 for d in node.get("dilations", [1, 1])):
            raise node.fail("has ceil_mode or dilations")
        pads = _pads(node, x.shape, kernel, stride)
        if kind == "avg_pool" and any(pads) and node.get("count_include_pad", 0):
            x, pads = lowering.emit("pad", {"pad": pads}, [x]), [0, 0, 0, 0]
        return lowering.emit(kind, {"kernel": kernel, "stride": stride, "pad": pads}, [x])

    return run


def _batch_norm(lowering: Lowering, node: Node) -> Value:
    x = node.value()
    weight, bias, mean, variance = (node.constant(i) for i in range(1, 5))
    arguments = {"size": len(weight), "epsilon": float(node.get("epsilon", 1e-5)), "image": len(x.shape) == 3}
    return lowering.emit(
        "batch_norm", arguments, [x], weight=weight, bias=bias, running_mean=mean, running_var=variance
    )


def _gemm(lowering: Lowering, node: Node) -> Value:
    weight, bias = node.constant(1), node.constant(2)
    if node.get("transA", 0) or weight.ndim != 2:
        raise node.fail("is not a plain linear layer")
    weight = weight * np.float32(node.get("alpha", 1.0))
    weight = weight if node.get("transB", 0) else weight.T
    if bias is not None:
        bias = np.broadcast_to(np.ravel(bias) * np.float32(node.get("beta", 1.0)), weight.shape[:1])
    return _linear(lowering, node.value(), weight, bias)


def _matmul(lowering: Lowering, node: Node) -> Value:
    weight = node.constant(1)
    if weight.ndim != 2:
        raise node.fail("is not a plain linear layer")
    return _linear(lowering, node.value(), weight.T, None)


def _linear(lowering: Lowering, x: Value, weight: Array, bias: Array | None) -> Value:
    arguments = {"in": weight.shape[1], "out": weight.shape[0], "bias": bias is not None}
    return lowering.emit("linear", arguments, [x], weight=weight, bias=bias)


def _arithmetic(operator: str, reverse: str) -> Operator:
    def run(lowering: Lowering, node: Node) -> Value:
        a, b = node.inputs[:2]
        if isinstance(a, Value) and isinstance(b, Value):
            return lowering.emit("merge", {"op": operator}, [a, b])
        x = node.value(0 if isinstance(a, Value) else 1)
        number = node.constant(1 if isinstance(a, Value) else 0)
        return _with_constant(lowering, node, operator if isinstance(a, Value) else reverse, x, number)

    return run


def _with_constant(lowering: Lowering, node: Node, operator: str, x: Value, number: Array) -> Value:
    """One number, or one per channel of (N, C, H, W), or one along the last axis."""
    rank = len(x.shape) + 1
    shape = (1,) * (rank - number.ndim) + number.shape
    wide = [axis for axis, size in enumerate(shape) if size != 1]
    if len(shape) > rank or wide not in ([], [rank - 1], [1] if rank == 4 else []):
        raise node.fail(f"takes a constant of shape {number.shape}")
    if rank == 4 and wide == [3]:  # (N, H, W, C)
        first = lowering.emit("permute", {"axes": [0, 3, 1, 2]}, [x])
        result = _with_constant(lowering, node, operator, first, number.reshape(-1, 1, 1))
        return lowering.emit("permute", {"axes": [0, 2, 3, 1]}, [result])
    axis = 1 if wide == [1] and rank == 4 else -1
    values = [float(v) for v in np.ravel(number)]
    return lowering.emit("constant", {"op": operator, "value": values, "axis": axis}, [x])


def _clip(lowering: Lowering, node: Node) -> Value:
    low, high = (node.constant(i, node.get(key)) for i, key in ((1, "min"), (2, "max")))
    bounds = (None if low is None else float(low), None if high is None else float(high))
    if bounds == (0.0, 6.0):
        return lowering.emit("relu6", {}, [node.value()])
    x = node.value()
    for operator, bound in (("max", bounds[0]), ("min", bounds[1])):
        if bound is not None and abs(bound) < 3e38:
            x = lowering.emit("constant", {"op": operator, "value": [bound], "axis": -1}, [x])
    return x


def _hard_sigmoid(lowering: Lowering, node: Node) -> Value:
    alpha, beta = round(float(node.get("alpha", 0.2)), 6), float(node.get("beta", 0.5))
    names = {(round(1 / 6, 6), 0.5): "hard_sigmoid", (0.2, 0.5): "hard_sigmoid_2"}
    if (alpha, beta) not in names:
        raise node.fail(f"has alpha {alpha} and beta {beta}")
    return lowering.emit(names[alpha, beta], {}, [node.value()])


def _simple(op: str, **arguments: Any) -> Operator:
    return lambda lowering, node: lowering.emit(op, arguments, [node.value()])


def _softmax(lowering: Lowering, node: Node) -> Value:
    x = node.value()
    if node.get("axis", -1) not in {-1, len(x.shape)}:
        raise node.fail("does not work on the last axis")
    return lowering.emit("softmax", {"axis": len(x.shape)}, [x])


def _prelu(lowering: Lowering, node: Node) -> Value:
    x, slope = node.value(), node.constant(1)
    slope = slope.reshape((1,) * (len(x.shape) - slope.ndim) + slope.shape)
    return lowering.emit("prelu", {"shape": list(slope.shape)}, [x], weight=slope)


def _mean(lowering: Lowering, node: Node) -> Value:
    x = node.value()
    rank = len(x.shape) + 1
    axes = sorted(a % rank for a in axes_of(node, 1))
    keep = bool(node.get("keepdims", 1))
    if rank == 4 and axes == [2, 3]:
        return lowering.emit("global_mean", {"keep": keep}, [x])
    if rank == 4 and axes == [1, 2]:
        first = lowering.emit("permute", {"axes": [0, 3, 1, 2]}, [x])
        result = lowering.emit("global_mean", {"keep": keep}, [first])
        return lowering.emit("permute", {"axes": [0, 2, 3, 1]}, [result]) if keep else result
    raise node.fail(f"takes the mean over axes {axes}")


def _reshaped(lowering: Lowering, node: Node, shape: tuple[int, ...]) -> Value:
    x = node.value()
    if math.prod(shape) != math.prod(x.shape) or not shape:
        raise node.fail(f"makes {shape} of {x.shape}")
    return x if shape == x.shape else lowering.emit("reshape", {"shape": list(shape)}, [x])


def _reshape(lowering: Lowering, node: Node) -> Value:
    x = node.value()
    batch, *wanted = (int(v) for v in node.constant(1))
    shape = [x.shape[i] if v == 0 and i < len(x.shape) else v for i, v in enumerate(wanted)]
    if batch not in {0, 1, -1} or shape.count(-1) > 1:
        raise node.fail(f"makes {[batch, *wanted]} of {x.shape}")
    rest = math.prod(v for v in shape if v != -1)
    known = [v if v != -1 else math.prod(x.shape) // max(1, rest) for v in shape]
    return _reshaped(lowering, node, tuple(known))


def _flatten(lowering: Lowering, node: Node) -> Value:
    if node.get("axis", 1) != 1:
        raise node.fail(f"begins at axis {node.get('axis')}")
    return _reshaped(lowering, node, (math.prod(node.value().shape),))


def _squeeze(lowering: Lowering, node: Node) -> Value:
    x = node.value()
    axes = {a % (len(x.shape) + 1) for a in axes_of(node, 1)}
    return _reshaped(lowering, node, tuple(v for i, v in enumerate(x.shape, 1) if i not in axes))


def _unsqueeze(lowering: Lowering, node: Node) -> Value:
    x = node.value()
    axes = axes_of(node, 1)
    shape = list(x.shape)
    for axis in sorted(a % (len(x.shape) + 1 + len(axes)) for a in axes):
        shape.insert(axis - 1, 1)
    return _reshaped(lowering, node, tuple(shape))


def _transpose(lowering: Lowering, node: Node) -> Value:
    axes = list(node.get("perm", []))
    if not axes or axes[0] != 0:
        raise node.fail(f"moves the batch ({axes})")
    return lowering.emit("permute", {"axes": axes}, [node.value()])


def _concat(lowering: Lowering, node: Node) -> Value:
    parts = [node.value(i) for i in range(len(node.inputs))]
    return lowering.emit("concat", {"axis": node.get("axis") % (len(parts[0].shape) + 1)}, parts)


def _pad(lowering: Lowering, node: Node) -> Value:
    x = node.value()
    pads = [int(v) for v in node.constant(1, node.get("pads"))]
    value = float(node.constant(2, node.get("value", 0.0)))
    if (
        len(pads) != 8
        or any(pads[i] for i in (0, 1, 4, 5))
        or value
        or node.get("mode", "constant") != "constant"
    ):
        raise node.fail("pads with something other than zeros around height and width")
    return lowering.emit("pad", {"pad": [pads[2], pads[6], pads[3], pads[7]]}, [x])


def _pass(_: Lowering, node: Node) -> Value:
    if node.op == "Cast" and node.get("to") != 1:
        raise node.fail("changes to another type than float32")
    return node.value()


OPERATORS: Mapping[str, Operator] = {
    "Conv": _conv,
    "BatchNormalization": _batch_norm,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "MaxPool": _pool("max_pool"),
    "AveragePool": _pool("avg_pool"),
    "GlobalAveragePool": _simple("global_mean", keep=True),
    "GlobalMaxPool": _simple("global_max", keep=True),
    "ReduceMean": _mean,
    "Add": _arithmetic("add", "add"),
    "Sub": _arithmetic("sub", "rsub"),
    "Mul": _arithmetic("mul", "mul"),
    "Div": _arithmetic("div", "rdiv"),
    "Max": _arithmetic("max", "max"),
    "Min": _arithmetic("min", "min"),
    "Relu": _simple("relu"),
    "Sigmoid": _simple("sigmoid"),
    "Tanh": _simple("tanh"),
    "Exp": _simple("exponential"),
    "Softplus": _simple("softplus"),
    "Softsign": _simple("softsign"),
    "Selu": _simple("selu"),
    "Mish": _simple("mish"),
    "HardSwish": _simple("hard_silu"),
    "HardSigmoid": _hard_sigmoid,
    "LeakyRelu": lambda c, n: c.emit("leaky_relu", {"slope": float(n.get("alpha", 0.01))}, [n.value()]),
    "Elu": lambda c, n: c.emit("elu", {"alpha": float(n.get("alpha", 1.0))}, [n.value()]),
    "Gelu": lambda c, n: c.emit("gelu", {"approximate": n.get("approximate", "none")}, [n.value()]),
    "PRelu": _prelu,
    "Clip": _clip,
    "Softmax": _softmax,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "Concat": _concat,
    "Pad": _pad,
    "Identity": _pass,
    "Dropout": _pass,
    "Cast": _pass,
}
