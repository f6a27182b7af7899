"""An ONNX graph as a TensorFlow function: the operators that torch's exporter writes for image classifiers.

Convolutions and what surrounds them stay in TensorFlow's order of axes, (N, H, W, C): a value is turned only where an
operator needs ONNX's order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from skinclf.errors import ModelError

_UNARY: Mapping[str, Callable[[Any, Any], Any]] = {
    "Relu": lambda tf, x: tf.nn.relu(x),
    "Sigmoid": lambda tf, x: tf.sigmoid(x),
    "Tanh": lambda tf, x: tf.tanh(x),
    "Erf": lambda tf, x: tf.math.erf(x),
    "Exp": lambda tf, x: tf.exp(x),
    "Log": lambda tf, x: tf.math.log(x),
    "Sqrt": lambda tf, x: tf.sqrt(x),
    "Neg": lambda _, x: -x,
    "Abs": lambda tf, x: tf.abs(x),
    "Reciprocal": lambda _, x: 1.0 / x,
    "Softplus": lambda tf, x: tf.nn.softplus(x),
    "HardSwish": lambda tf, x: x * tf.nn.relu6(x + 3.0) * (1 / 6),
    "Identity": lambda _, x: x,
}
_BINARY: Mapping[str, Callable[[Any, Any, Any], Any]] = {
    "Add": lambda _, x, y: x + y,
    "Sub": lambda _, x, y: x - y,
    "Mul": lambda _, x, y: x * y,
    "Div": lambda tf, x, y: x // y if x.dtype.is_integer else tf.divide(x, y),
    "Pow": lambda tf, x, y: tf.pow(x, tf.cast(y, x.dtype)),
    "Max": lambda tf, x, y: tf.maximum(x, y),
    "Min": lambda tf, x, y: tf.minimum(x, y),
    "Mod": lambda tf, x, y: tf.math.floormod(x, y),
    "Equal": lambda tf, x, y: tf.equal(x, y),
}


@dataclass(frozen=True, slots=True)
class _Value:
    """A tensor, and whether an image (N, C, H, W) of ONNX is stored as (N, H, W, C)."""

    tensor: Any
    last: bool = False


def graph_module(tf: Any, graph: Any, name: str) -> Any:
    """A `tf.Module` whose function `run` computes an ONNX graph; the output is called `probabilities`.

    Args:
        tf: The package `tensorflow`.
        graph: An `onnx.GraphProto` with one input and one output.
        name: Name of the model, for messages.

    Raises:
        ModelError: An operator has no counterpart here; when the function is traced.
    """
    from onnx import numpy_helper

    constants = {x.name: numpy_helper.to_array(x) for x in graph.initializer}
    module = tf.Module()
    # Large arrays are variables, so that they are stored once.
    kept = {key: tf.Variable(value, trainable=False) for key, value in constants.items() if value.size > 1024}
    module.kept = list(kept.values())

    def run(pixels: Any) -> dict[str, Any]:
        values = {key: _Value(tf.constant(value)) for key, value in constants.items() if key not in kept}
        steps = _Steps(tf, name, values, {**constants}, kept)
        values[graph.input[0].name] = _Value(pixels)
        for node in graph.node:
            steps.take(node)
        return {"probabilities": steps.whole(graph.output[0].name)}

    module.run = tf.function(run, autograph=False)
    return module


class _Steps:
    """The operators of one graph, in order."""

    def __init__(
        self,
        tf: Any,
        name: str,
        values: dict[str, _Value],
        constants: dict[str, Any],
        kept: Mapping[str, Any],
    ) -> None:
        self.tf, self.name, self.values, self.constants, self.kept = tf, name, values, constants, kept

    def take(self, node: Any) -> None:
        """Compute one node."""
        from onnx import helper

        a = {x.name: helper.get_attribute_value(x) for x in node.attribute}
        op, names = node.op_type, list(node.input)
        if op in _UNARY:
            x = self.value(names[0])
            results: Any = _Value(_UNARY[op](self.tf, x.tensor), x.last)
        elif op in _BINARY:
            results = self._binary(op, names)
        elif (method := getattr(self, f"_{op.lower()}", None)) is not None:
            results = method(names, a)
        else:
            raise ModelError(
                f"{self.name}: the operator {op} has no counterpart in TensorFlow here; export the model to another "
                "format, such as onnx."
            )
        results = results if isinstance(results, list) else [results]
        for output, result in zip(node.output, results, strict=False):
            self.values[output] = result if isinstance(result, _Value) else _Value(result)

    def value(self, name: str) -> _Value:
        """A value in either order."""
        return self.values[name] if name in self.values else _Value(self.kept[name])

    def whole(self, name: str) -> Any:
        """A tensor in ONNX's order of axes."""
        value = self.value(name)
        return self.tf.transpose(value.tensor, [0, 3, 1, 2]) if value.last else value.tensor

    def image(self, name: str) -> Any:
        """A tensor (N, H, W, C)."""
        value = self.value(name)
        return value.tensor if value.last else self.tf.transpose(value.tensor, [0, 2, 3, 1])

    def fixed(self, name: str) -> Any:
        """A value that is known without an image, as NumPy's."""
        if name in self.constants:
            return self.constants[name]
        found = self.tf.get_static_value(self.whole(name))
        if found is None:
            raise ModelError(f"{self.name}: a size inside the network depends on the image.")
        return found

    def _axes(self, names: list[str], a: Mapping[str, Any]) -> list[int] | None:
        if len(names) > 1 and names[1]:
            return [int(x) for x in np.atleast_1d(self.fixed(names[1]))]
        return [int(x) for x in a["axes"]] if "axes" in a else None

    def _binary(self, op: str, names: list[str]) -> _Value:
        left, right = self.value(names[0]), self.value(names[1])
        if (left.last or right.last) and all(x.last or len(x.tensor.shape) in {0, 4} for x in (left, right)):
            parts = [
                x.tensor if x.last or not len(x.tensor.shape) else self.tf.transpose(x.tensor, [0, 2, 3, 1])
                for x in (left, right)
            ]
            return _Value(_BINARY[op](self.tf, *parts), last=True)
        return _Value(_BINARY[op](self.tf, self.whole(names[0]), self.whole(names[1])))

    def _conv(self, names: list[str], a: Mapping[str, Any]) -> _Value:
        tf, x = self.tf, self.image(names[0])
        kernel = self.constants[names[1]]
        groups, strides = int(a.get("group", 1)), [int(s) for s in a.get("strides", [1, 1])]
        top, left, bottom, right = [int(p) for p in a.get("pads", [0] * 4)]
        dilations = [int(d) for d in a.get("dilations", [1, 1])]
        x = tf.pad(x, [[0, 0], [top, bottom], [left, right], [0, 0]])
        if groups == kernel.shape[0] and kernel.shape[1] == 1 and strides[0] == strides[1]:
            weights = tf.constant(np.ascontiguousarray(kernel.transpose(2, 3, 0, 1)))
            y = tf.nn.depthwise_conv2d(x, weights, [1, *strides, 1], "VALID", dilations=dilations)
        else:
            parts = []
            for piece, own in zip(tf.split(x, groups, axis=3), np.split(kernel, groups), strict=True):
                weights = tf.constant(np.ascontiguousarray(own.transpose(2, 3, 1, 0)))
                parts.append(tf.nn.conv2d(piece, weights, strides, "VALID", dilations=dilations))
            y = parts[0] if groups == 1 else tf.concat(parts, 3)
        return _Value(y if len(names) < 3 else y + self.whole(names[2]), last=True)

    def _batchnormalization(self, names: list[str], a: Mapping[str, Any]) -> _Value:
        scale, bias, mean, variance = [self.constants[x] for x in names[1:5]]
        factor = scale / np.sqrt(variance + a.get("epsilon", 1e-5))
        return _Value(self.image(names[0]) * factor + (bias - mean * factor), last=True)

    def _maxpool(self, names: list[str], a: Mapping[str, Any]) -> _Value:
        return self._pool(names, a, "MAX", -np.inf)

    def _averagepool(self, names: list[str], a: Mapping[str, Any]) -> _Value:
        if any(a.get("pads", [0])) and not a.get("count_include_pad"):
            raise ModelError(f"{self.name}: an average that leaves out its padding cannot be exported here.")
        return self._pool(names, a, "AVG", 0.0)

    def _pool(self, names: list[str], a: Mapping[str, Any], kind: str, outside: float) -> _Value:
        top, left, bottom, right = [int(p) for p in a.get("pads", [0] * 4)]
        x = self.tf.pad(
            self.image(names[0]), [[0, 0], [top, bottom], [left, right], [0, 0]], constant_values=outside
        )
        pool = self.tf.nn.max_pool2d if kind == "MAX" else self.tf.nn.avg_pool2d
        window, strides = [int(k) for k in a["kernel_shape"]], [int(s) for s in a.get("strides", [1, 1])]
        rests = [(size - k) % s for size, k, s in zip(x.shape[1:3], window, strides, strict=True)]
        if a.get("ceil_mode") and any(rests):
            raise ModelError(f"{self.name}: windows beyond the edge (ceil_mode) cannot be exported here.")
        return _Value(pool(x, window, strides, "VALID"), last=True)

    def _globalaveragepool(self, names: list[str], _a: Mapping[str, Any]) -> _Value:
        return _Value(self.tf.reduce_mean(self.image(names[0]), [1, 2], keepdims=True), last=True)

    def _reducemean(self, names: list[str], a: Mapping[str, Any]) -> _Value:
        keep, axes = bool(a.get("keepdims", 1)), self._axes(names, a)
        if self.value(names[0]).last and axes is not None and sorted(x % 4 for x in axes) == [2, 3]:
            return _Value(self.tf.reduce_mean(self.image(names[0]), [1, 2], keepdims=keep), last=keep)
        return _Value(self.tf.reduce_mean(self.whole(names[0]), axes, keepdims=keep))

    def _clip(self, names: list[str], _a: Mapping[str, Any]) -> _Value:
        x = self.value(names[0])
        result = x.tensor
        if len(names) > 1 and names[1]:
            result = self.tf.maximum(result, self.whole(names[1]))
        if len(names) > 2 and names[2]:
            result = self.tf.minimum(result, self.whole(names[2]))
        return _Value(result, x.last)

    def _hardsigmoid(self, names: list[str], a: Mapping[str, Any]) -> _Value:
        x = self.value(names[0])
        y = x.tensor * a.get("alpha", 0.2) + a.get("beta", 0.5)
        return _Value(self.tf.clip_by_value(y, 0.0, 1.0), x.last)

    def _leakyrelu(self, names: list[str], a: Mapping[str, Any]) -> _Value:
        x = self.value(names[0])
        return _Value(self.tf.nn.leaky_relu(x.tensor, a.get("alpha", 0.01)), x.last)

    def _concat(self, names: list[str], a: Mapping[str, Any]) -> _Value:
        if all(self.value(x).last for x in names):
            axis = {0: 0, 1: 3, 2: 1, 3: 2}[int(a["axis"]) % 4]
            return _Value(self.tf.concat([self.value(x).tensor for x in names], axis), last=True)
        return _Value(self.tf.concat([self.whole(x) for x in names], int(a["axis"])))

    def _gemm(self, names: list[str], a: Mapping[str, Any]) -> Any:
        x, y = self.whole(names[0]), self.whole(names[1])
        product = self.tf.matmul(x, y, bool(a.get("transA")), bool(a.get("transB"))) * a.get("alpha", 1.0)
        return product if len(names) < 3 else product + self.whole(names[2]) * a.get("beta", 1.0)

    def _matmul(self, names: list[str], _a: Mapping[str, Any]) -> Any:
        return self.tf.matmul(self.whole(names[0]), self.whole(names[1]))

    def _softmax(self, names: list[str], a: Mapping[str, Any]) -> Any:
        return self.tf.nn.softmax(self.whole(names[0]), int(a.get("axis", -1)))

    def _logsoftmax(self, names: list[str], a: Mapping[str, Any]) -> Any:
        return self.tf.nn.log_softmax(self.whole(names[0]), int(a.get("axis", -1)))

    def _layernormalization(self, names: list[str], a: Mapping[str, Any]) -> Any:
        x = self.whole(names[0])
        axes = list(range(int(a.get("axis", -1)) % len(x.shape), len(x.shape)))
        centred = x - self.tf.reduce_mean(x, axes, keepdims=True)
        variance = self.tf.reduce_mean(centred * centred, axes, keepdims=True)
        y = centred * self.tf.math.rsqrt(variance + a.get("epsilon", 1e-5)) * self.whole(names[1])
        return y if len(names) < 3 else y + self.whole(names[2])

    def _transpose(self, names: list[str], a: Mapping[str, Any]) -> _Value:
        order = [int(x) for x in a["perm"]]
        value = self.value(names[0])
        if value.last and order == [0, 2, 3, 1]:
            return _Value(value.tensor)
        if not value.last and order == [0, 3, 1, 2]:
            return _Value(value.tensor, last=True)
        return _Value(self.tf.transpose(self.whole(names[0]), order))

    def _flatten(self, names: list[str], _a: Mapping[str, Any]) -> Any:
        x = self.whole(names[0])
        return self.tf.reshape(x, [-1, int(np.prod(x.shape[1:]))])

    def _reshape(self, names: list[str], _a: Mapping[str, Any]) -> Any:
        x, shape = self.whole(names[0]), self.whole(names[1])
        known = self.tf.get_static_value(shape)
        if known is None:
            return self.tf.reshape(x, shape)
        sizes = self.tf.shape(x)
        return self.tf.reshape(x, [sizes[i] if size == 0 else int(size) for i, size in enumerate(known)])

    def _squeeze(self, names: list[str], a: Mapping[str, Any]) -> Any:
        return self.tf.squeeze(self.whole(names[0]), self._axes(names, a))

    def _unsqueeze(self, names: list[str], a: Mapping[str, Any]) -> Any:
        x = self.whole(names[0])
        for axis in sorted(self._axes(names, a) or []):
            x = self.tf.expand_dims(x, axis)
        return x

    def _shape(self, names: list[str], a: Mapping[str, Any]) -> Any:
        return self.tf.shape(self.whole(names[0]), self.tf.int64)[a.get("start", 0) : a.get("end")]

    def _gather(self, names: list[str], a: Mapping[str, Any]) -> Any:
        index, axis = self.whole(names[1]), int(a.get("axis", 0))
        x = self.whole(names[0])
        size = self.tf.shape(x, index.dtype)[axis]
        return self.tf.gather(x, self.tf.where(index < 0, index + size, index), axis=axis)

    def _split(self, names: list[str], a: Mapping[str, Any]) -> Any:
        parts = [int(x) for x in self.fixed(names[1])] if len(names) > 1 else int(a["num_outputs"])
        return [_Value(x) for x in self.tf.split(self.whole(names[0]), parts, int(a.get("axis", 0)))]

    def _cast(self, names: list[str], a: Mapping[str, Any]) -> Any:
        from onnx import helper

        return self.tf.cast(self.whole(names[0]), helper.tensor_dtype_to_np_dtype(int(a["to"])))

    def _constant(self, _names: list[str], a: Mapping[str, Any]) -> Any:
        from onnx import numpy_helper

        return self.tf.constant(numpy_helper.to_array(a["value"]))

    def _constantofshape(self, names: list[str], a: Mapping[str, Any]) -> Any:
        from onnx import numpy_helper

        value = numpy_helper.to_array(a["value"]) if "value" in a else np.zeros(1, np.float32)
        return self.tf.fill(self.whole(names[0]), self.tf.constant(value[0]))

    def _expand(self, names: list[str], _a: Mapping[str, Any]) -> Any:
        x, shape = self.whole(names[0]), self.whole(names[1])
        return self.tf.broadcast_to(x, self.tf.broadcast_dynamic_shape(self.tf.shape(x, shape.dtype), shape))

    def _where(self, names: list[str], _a: Mapping[str, Any]) -> Any:
        return self.tf.where(*[self.whole(x) for x in names])
