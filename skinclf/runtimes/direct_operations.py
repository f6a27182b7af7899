"""The operations of a graph (`skinclf.models.architectures.graph`) as OpenVINO's, each with the meaning it has there.

Values of rank 4 are (N, C, H, W). A test holds every operation against its torch module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from skinclf._utils.arrays import Float32
from skinclf.errors import ModelError
from skinclf.models.architectures.graph.arguments import Arguments

#: Module `openvino.opset13`, and an output of a node that it made.
Opset: TypeAlias = Any
Node: TypeAlias = Any

_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805


@dataclass(frozen=True, slots=True)
class Step:
    """One call of an operation.

    Attributes:
        ops: Module `openvino.opset13`.
        name: Layer that is called.
        arguments: Arguments of its operation.
        inputs: Values that it takes.
        tensors: Every parameter of the network by its name in the state dict.
    """

    ops: Opset
    name: str
    arguments: Arguments
    inputs: Sequence[Node]
    tensors: Mapping[str, Float32]

    def numbers(self, parameter: str, shape: Sequence[int]) -> Float32:
        """A parameter of the layer.

        Raises:
            ModelError: There is none, or it has another shape.
        """
        key = f"layers.{self.name}.{parameter}"
        found = self.tensors.get(key)
        if found is None or found.shape != tuple(shape):
            have = "missing" if found is None else f"of shape {found.shape}"
            raise ModelError(f"Graph: {key} is {have}; expected {tuple(shape)}.")
        return found

    def constant(self, values: npt.NDArray[Any]) -> Node:
        """A constant that shares the memory of an array."""
        from openvino.op import Constant

        return Constant(np.ascontiguousarray(values), shared_memory=True)


Builder: TypeAlias = Callable[[Step, Node], Node]


def _conv(step: Step, x: Node) -> Node:
    a = step.arguments
    wide, filters, kernel = a.integer("in"), a.integer("out"), a.pair("kernel")
    stride, pad = a.pair("stride", (1, 1)), a.pair("pad", (0, 0), low=0)
    dilation, groups, bias = a.pair("dilation", (1, 1)), a.integer("groups", 1), a.flag("bias", True)
    weight = step.numbers("weight", (filters, wide // groups, *kernel))
    how = (list(stride), list(pad), list(pad), list(dilation))
    if groups == 1:
        y = step.ops.convolution(x, step.constant(weight), *how)
    else:
        grouped = weight.reshape(groups, filters // groups, wide // groups, *kernel)
        y = step.ops.group_convolution(x, step.constant(grouped), *how)
    return (
        step.ops.add(y, step.constant(step.numbers("bias", (filters,)).reshape(1, -1, 1, 1))) if bias else y
    )


def _linear(step: Step, x: Node) -> Node:
    a = step.arguments
    wide, units, bias = a.integer("in"), a.integer("out"), a.flag("bias", True)
    y = step.ops.matmul(x, step.constant(step.numbers("weight", (units, wide))), False, True)
    return step.ops.add(y, step.constant(step.numbers("bias", (units,)))) if bias else y


def _batch_norm(step: Step, x: Node) -> Node:
    """As one factor and one summand per channel, in float64 until they are known."""
    a = step.arguments
    image, size, epsilon = a.flag("image", True), a.integer("size"), a.number("epsilon")
    names = ("weight", "bias", "running_mean", "running_var")
    weight, bias, mean, variance = (step.numbers(name, (size,)).astype(np.float64) for name in names)
    factor = weight / np.sqrt(variance + epsilon)
    shape = (1, size, *(1,) * (2 if image else _rank(x) - 2))
    y = step.ops.multiply(x, step.constant(factor.astype(np.float32).reshape(shape)))
    return step.ops.add(y, step.constant((bias - mean * factor).astype(np.float32).reshape(shape)))


def _layer_norm(step: Step, x: Node) -> Node:
    a, ops = step.arguments, step.ops
    shape, epsilon = a.integers("shape", None), a.number("epsilon")
    image, affine = a.flag("image", True), a.flag("affine", True)
    y = ops.transpose(x, [0, 2, 3, 1]) if image else x
    y = ops.mvn(y, list(range(-len(shape), 0)), True, epsilon, "inside_sqrt")
    if affine:
        y = ops.multiply(y, step.constant(step.numbers("weight", shape)))
        y = ops.add(y, step.constant(step.numbers("bias", shape)))
    return ops.transpose(y, [0, 3, 1, 2]) if image else y


def _prelu(step: Step, x: Node) -> Node:
    ops, zero = step.ops, np.float32(0)
    weight = step.constant(step.numbers("weight", step.arguments.integers("shape", None))[None])
    return ops.add(ops.maximum(x, zero), ops.multiply(weight, ops.minimum(x, zero)))


def _pool(kind: str) -> Builder:
    def build(step: Step, x: Node) -> Node:
        a = step.arguments
        kernel, stride = list(a.integers("kernel", 2)), list(a.integers("stride", 2))
        top, bottom, left, right = a.integers("pad", 4, (0,) * 4, low=0)
        begin, end = [top, left], [bottom, right]
        if kind == "max":
            return step.ops.max_pool(x, stride, [1, 1], begin, end, kernel)
        return step.ops.avg_pool(x, stride, begin, end, kernel, True)

    return build


def _global_pool(name: str) -> Builder:
    def build(step: Step, x: Node) -> Node:
        return getattr(step.ops, name)(x, [2, 3], step.arguments.flag("keep", False))

    return build


def _pad(step: Step, x: Node) -> Node:
    """What is negative is cut first."""
    amounts = step.arguments.integers("pad", 4, low=-(1 << 16), high=1 << 16)
    sides = [amounts[:2], amounts[2:]]
    for axis, (before, after) in enumerate(sides, start=2):
        if before < 0 or after < 0:
            stop = after if after < 0 else np.iinfo(np.int64).max
            x = step.ops.slice(x, [max(0, -before)], [stop], [1], [axis])
    begin, end = ([0, 0, *(max(0, side[i]) for side in sides)] for i in (0, 1))
    return step.ops.pad(x, begin, end, "constant", np.float32(0)) if any(begin + end) else x


_ARITHMETIC: Mapping[str, tuple[str, bool]] = {
    "add": ("add", False),
    "sub": ("subtract", False),
    "rsub": ("subtract", True),
    "mul": ("multiply", False),
    "div": ("divide", False),
    "rdiv": ("divide", True),
    "max": ("maximum", False),
    "min": ("minimum", False),
}


def _combined(step: Step, operator: str, x: Node, y: Node) -> Node:
    name, swapped = _ARITHMETIC[operator]
    return getattr(step.ops, name)(*((y, x) if swapped else (x, y)))


def _constant(step: Step, x: Node) -> Node:
    a = step.arguments
    operator, values = a.choice("op", _ARITHMETIC), np.array(a.numbers("value", most=4096), np.float32)
    image = a.integer("axis", 1, low=-1, high=1) == 1
    return _combined(step, operator, x, step.constant(values.reshape(-1, 1, 1) if image else values))


def _merge(step: Step, x: Node) -> Node:
    operator = step.arguments.choice("op", {"add", "sub", "mul", "div", "max", "min", "mean"})
    for other in step.inputs[1:]:
        x = _combined(step, "add" if operator == "mean" else operator, x, other)
    return step.ops.divide(x, np.float32(len(step.inputs))) if operator == "mean" else x


def _stack(step: Step, _: Node) -> Node:
    return step.ops.concat([step.ops.unsqueeze(plane, [1]) for plane in step.inputs], 1)


def _reshape(step: Step, x: Node) -> Node:
    # 0 keeps the size of the batch.
    return step.ops.reshape(x, [0, *step.arguments.integers("shape", None)], True)


def _flip(step: Step, x: Node) -> Node:
    channels = x.partial_shape[1].get_length()
    return step.ops.gather(x, np.arange(channels)[::-1].copy(), np.int64(1))


def _resize(step: Step, x: Node) -> Node:
    size = np.array(step.arguments.integers("size", 2), np.int64)
    how = {"mode": "linear_onnx", "shape_calculation_mode": "sizes"}
    return step.ops.interpolate(
        x, size, axes=np.array([2, 3]), coordinate_transformation_mode="half_pixel", **how
    )


def _nearest(step: Step, x: Node) -> Node:
    a = step.arguments
    for axis, (length, count) in enumerate(zip(a.pair("from"), a.pair("size"), strict=True), start=2):
        x = step.ops.gather(x, nearest_rows(length, count), np.int64(axis))
    return x


def nearest_rows(length: int, count: int) -> npt.NDArray[np.int64]:
    """Index of the nearest of `length` rows for each of `count`, as TensorFlow rounds in float32."""
    step = np.float32(length) / np.float32(count)
    nearest = np.floor((np.arange(count, dtype=np.float32) + np.float32(0.5)) * step)
    index: npt.NDArray[np.int64] = np.minimum(nearest.astype(np.int64), length - 1)
    return index


def _complement(step: Step, x: Node) -> Node:
    return step.ops.concat([step.ops.subtract(np.float32(1), x), x], 1)


def _general_relu(step: Step, x: Node) -> Node:
    a, ops = step.arguments, step.ops
    maximum = np.float32(a.number("max")) if a.flag("capped", False) else None
    slope, threshold = np.float32(a.number("slope", 0.0)), np.float32(a.number("threshold", 0.0))
    below = ops.multiply(ops.subtract(x, threshold), slope)
    y = ops.select(ops.greater_equal(x, threshold), x, below)
    return y if maximum is None else ops.minimum(y, maximum)


def _plain(name: str, *values: Any) -> Builder:
    return lambda step, x: getattr(step.ops, name)(x, *values)


def _rank(x: Node) -> int:
    return len(x.partial_shape)


#: Operations of a graph by name, each with the function that adds it to an OpenVINO graph.
OPERATIONS: Mapping[str, Builder] = {
    "conv": _conv,
    "linear": _linear,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "prelu": _prelu,
    "max_pool": _pool("max"),
    "avg_pool": _pool("mean"),
    "global_mean": _global_pool("reduce_mean"),
    "global_max": _global_pool("reduce_max"),
    "pad": _pad,
    "constant": _constant,
    "merge": _merge,
    "concat": lambda step, _: step.ops.concat(list(step.inputs), step.arguments.integer("axis", 1, high=8)),
    "stack": _stack,
    "permute": lambda step, x: step.ops.transpose(
        x, list(step.arguments.integers("axes", None, low=0, high=8))
    ),
    "reshape": _reshape,
    "select": lambda step, x: step.ops.gather(
        x, np.int64(step.arguments.integer("channel", low=0)), np.int64(1)
    ),
    "flip": _flip,
    "resize": _resize,
    "nearest": _nearest,
    "complement": _complement,
    "relu": _plain("relu"),
    "relu6": _plain("clamp", 0.0, 6.0),
    "general_relu": _general_relu,
    "leaky_relu": lambda step, x: step.ops.prelu(x, np.array([step.arguments.number("slope")], np.float32)),
    "elu": lambda step, x: step.ops.elu(x, step.arguments.number("alpha")),
    "selu": _plain("selu", np.float32(_SELU_ALPHA), np.float32(_SELU_SCALE)),
    "sigmoid": _plain("sigmoid"),
    "hard_sigmoid": _plain("hsigmoid"),
    "hard_sigmoid_2": _plain("hard_sigmoid", np.float32(0.2), np.float32(0.5)),
    "silu": _plain("swish"),
    "hard_silu": _plain("hswish"),
    "gelu": lambda step, x: step.ops.gelu(
        x, "erf" if step.arguments.choice("approximate", {"none", "tanh"}) == "none" else "tanh"
    ),
    "tanh": _plain("tanh"),
    "softplus": _plain("softplus"),
    "softsign": _plain("softsign"),
    "exponential": _plain("exp"),
    "mish": _plain("mish"),
    "softmax": lambda step, x: step.ops.softmax(x, step.arguments.integer("axis", low=1, high=8)),
}
