"""Conversion of activations and arithmetic: as layers, inside other layers, and as recorded operations.

Operations that a model was built with directly (`x * 2.0`, `tf.nn.relu6(x)`) are read by their exact
names, the ones that keras.applications and its `preprocess_input` leave behind; any other is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from skinclf.errors import ModelError, UnsafeModelError
from skinclf.models.formats.keras.config import Call, Layer
from skinclf.models.formats.keras.lower import Handler, Lowering, Value, single

_Activation = tuple[str, Mapping[str, Any]]

#: Activation names, with the operation and its arguments.
_ACTIVATIONS: Mapping[str, _Activation] = {
    "relu": ("relu", {}),
    "relu6": ("relu6", {}),
    "leaky_relu": ("leaky_relu", {"slope": 0.2}),
    "elu": ("elu", {"alpha": 1.0}),
    "selu": ("selu", {}),
    "sigmoid": ("sigmoid", {}),
    "silu": ("silu", {}),
    "swish": ("silu", {}),
    "gelu": ("gelu", {"approximate": "none"}),
    "tanh": ("tanh", {}),
    "softplus": ("softplus", {}),
    "softsign": ("softsign", {}),
    "exponential": ("exponential", {}),
    "mish": ("mish", {}),
    "hard_sigmoid": ("hard_sigmoid", {}),
    "hard_silu": ("hard_silu", {}),
    "hard_swish": ("hard_silu", {}),
}
#: Every activation of Keras by its name, also those that are not rebuilt.
ACTIVATION_NAMES = frozenset(_ACTIVATIONS) | frozenset(
    [
        "linear",
        "softmax",
        "celu",
        "glu",
        "hard_shrink",
        "hard_tanh",
        "log_sigmoid",
        "log_softmax",
        "soft_shrink",
        "sparse_plus",
        "sparse_sigmoid",
        "sparsemax",
        "squareplus",
        "tanh_shrink",
        "threshold",
    ]
)
_KERAS_2: Mapping[str, _Activation] = {"hard_sigmoid": ("hard_sigmoid_2", {})}


def activation(lowering: Lowering, layer: Layer, value: Value, what: Any) -> Value:
    """Apply an activation as configs name it: a word, a serialised function, or a whole layer.

    Raises:
        UnsafeModelError: The activation is a function that only code outside the file defines.
        ModelError: The activation is unknown.
    """
    if isinstance(what, Mapping) and isinstance(what.get("config"), Mapping):
        kind = what.get("class_name")
        if kind in ACTIVATION_LAYERS:
            inner = Layer((*layer.path, "activation"), str(kind), what["config"], ())
            return ACTIVATION_LAYERS[str(kind)](lowering, inner, Call((), {}), [value])
    elif isinstance(what, Mapping) and what.get("class_name") == "function":
        what = what.get("config")
    if what is None or what == "linear":
        return value
    if what == "softmax":
        return _softmax(lowering, layer, value, -1, "softmax")
    found = (
        (_KERAS_2.get(what) if lowering.keras == 2 else None) or _ACTIVATIONS.get(what)
        if isinstance(what, str)
        else None
    )
    if found is None:
        raise UnsafeModelError(
            f"Layer {layer.name!r} uses the activation {str(what)[:80]!r}, which is none of Keras' own that "
            "skinclf knows; a function from elsewhere would be code, and skinclf runs none for a model file."
        )
    part = "" if layer.kind in {"Activation", *OPERATORS} else str(what)
    return lowering.emit(layer, part, found[0], [value], value.shape, **found[1])


def _softmax(lowering: Lowering, layer: Layer, value: Value, axis: Any, part: str) -> Value:
    rank = len(value.shape) + 1
    if type(axis) is not int or not -rank < axis < rank or axis % rank == 0:
        raise ModelError(
            f"Layer {layer.name!r}: cannot take a softmax over axis {str(axis)[:80]} of rank {rank}."
        )
    own = {1: 2, 2: 3, 3: 1}[axis % rank] if value.is_image else axis % rank
    return lowering.emit(layer, part, "softmax", [value], value.shape, axis=own)


def constants(layer: Layer, value: Any, shape: Sequence[int]) -> list[float]:
    """A number, or a list of one number per channel however deeply wrapped in lists of one.

    Raises:
        ModelError: The value is neither a number nor such a list.
    """
    if isinstance(value, Mapping) and isinstance(value.get("config"), Mapping):
        value = value["config"].get("value")
    for _ in range(len(shape) + 2):
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
    numbers = value if isinstance(value, list) else [value]
    good = len(numbers) in {1, shape[-1]} and len(numbers) <= 4096
    if not good or not all(type(x) in {int, float} and math.isfinite(x) for x in numbers):
        raise ModelError(
            f"Layer {layer.name!r}: expected a number or {shape[-1]} of them; found {str(value)[:80]}."
        )
    return [float(x) for x in numbers]


_NEUTRAL = {"add": 0.0, "sub": 0.0, "mul": 1.0, "div": 1.0}


def arithmetic(
    lowering: Lowering, layer: Layer, part: str, op: str, value: Value, numbers: list[float]
) -> Value:
    """One operation with constants; nothing when it changes nothing."""
    if all(x == _NEUTRAL.get(op) for x in numbers):
        return value
    extra = {} if value.is_image else {"axis": -1}  # a vector has no axes behind its channels
    return lowering.emit(layer, part, "constant", [value], value.shape, op=op, value=numbers, **extra)


def merge(lowering: Lowering, layer: Layer, op: str, operands: Sequence[Any]) -> Value:
    """Element-wise arithmetic of tensors, or of one tensor and constants."""
    values = [x for x in operands if isinstance(x, Value)]
    if len(values) == len(operands) >= 2 and (op in {"add", "mul", "mean", "max", "min"} or len(values) == 2):
        if len({len(x.shape) for x in values}) != 1:
            raise ModelError(f"Layer {layer.name!r} ({layer.kind}) mixes ranks: {[x.shape for x in values]}.")
        shape = []
        for sizes in zip(*(x.shape for x in values), strict=True):
            if len(set(sizes) - {1}) > 1:
                raise ModelError(
                    f"Layer {layer.name!r} ({layer.kind}) mixes shapes: {[x.shape for x in values]}."
                )
            shape.append(max(sizes))
        return lowering.emit(layer, "", "merge", values, shape, op=op)
    if len(operands) != 2 or len(values) != 1 or op == "mean":
        raise ModelError(f"Layer {layer.name!r} ({layer.kind}): cannot combine {len(operands)} operands.")
    if isinstance(operands[0], Value):
        return arithmetic(lowering, layer, "", op, values[0], constants(layer, operands[1], values[0].shape))
    swapped = {"sub": "rsub", "div": "rdiv"}.get(op, op)
    return arithmetic(lowering, layer, "", swapped, values[0], constants(layer, operands[0], values[0].shape))


def _merging(op: str) -> Handler:
    def handler(lowering: Lowering, layer: Layer, _: Call, operands: Sequence[Any]) -> Value:
        return merge(lowering, layer, op, operands)

    return handler


def _average(lowering: Lowering, layer: Layer, _: Call, operands: Sequence[Any]) -> Value:
    if "axis" in layer.config:
        raise ModelError(
            f"Layer {layer.name!r} averages along an axis, by weights; skinclf averages tensors."
        )
    return merge(lowering, layer, "mean", operands)


def _activating(name: str) -> Handler:
    def handler(lowering: Lowering, layer: Layer, _: Call, operands: Sequence[Any]) -> Value:
        return activation(lowering, layer, single(layer, operands), name)

    return handler


def _activation_layer(lowering: Lowering, layer: Layer, _: Call, operands: Sequence[Any]) -> Value:
    return activation(lowering, layer, single(layer, operands), layer.config.get("activation"))


def _softmax_layer(lowering: Lowering, layer: Layer, call: Call, operands: Sequence[Any]) -> Value:
    axis = layer.config.get("axis", call.kwargs.get("axis", -1))
    return _softmax(lowering, layer, single(layer, operands), -1 if axis is None else axis, "")


def _relu(lowering: Lowering, layer: Layer, _: Call, operands: Sequence[Any]) -> Value:
    config, value = lowering.config(layer), single(layer, operands)
    highest = layer.config.get("max_value")
    highest = None if highest is None else config.number("max_value")
    slope = config.number("negative_slope", 0.0) if layer.config.get("negative_slope") is not None else 0.0
    threshold = config.number("threshold", 0.0) if layer.config.get("threshold") is not None else 0.0
    if slope == threshold == 0 and highest in {None, 6.0}:
        return lowering.emit(layer, "", "relu" if highest is None else "relu6", [value], value.shape)
    extra = {} if highest is None else {"capped": True, "max": highest}
    return lowering.emit(
        layer, "", "general_relu", [value], value.shape, slope=slope, threshold=threshold, **extra
    )


def _leaky_relu(lowering: Lowering, layer: Layer, _: Call, operands: Sequence[Any]) -> Value:
    config, value = lowering.config(layer), single(layer, operands)
    key = "negative_slope" if "negative_slope" in layer.config else "alpha"
    return lowering.emit(layer, "", "leaky_relu", [value], value.shape, slope=config.number(key, 0.3))


def _elu(lowering: Lowering, layer: Layer, _: Call, operands: Sequence[Any]) -> Value:
    config, value = lowering.config(layer), single(layer, operands)
    return lowering.emit(layer, "", "elu", [value], value.shape, alpha=config.number("alpha", 1.0))


def _gelu(lowering: Lowering, layer: Layer, call: Call, operands: Sequence[Any]) -> Value:
    value = single(layer, operands)
    rough = layer.config.get("approximate", call.kwargs.get("approximate", False))
    if type(rough) is not bool:
        raise ModelError(f"Layer {layer.name!r}: 'approximate' is {str(rough)[:80]}; expected true or false.")
    return lowering.emit(layer, "", "gelu", [value], value.shape, approximate="tanh" if rough else "none")


def _cast(_: Lowering, layer: Layer, call: Call, operands: Sequence[Any]) -> Value:
    """A change of the number type: none between floating-point types, since the network runs in float32."""
    recorded = [call.kwargs.get("dtype"), layer.config.get("dtype"), *operands[1:]]
    wanted = next((x for x in recorded if isinstance(x, str)), None)
    if wanted not in {"float16", "bfloat16", "float32", "float64"}:
        raise ModelError(
            f"Layer {layer.name!r} casts to {str(wanted)[:40]!r}; skinclf computes in floating point only."
        )
    return single(layer, operands[:1])


ACTIVATION_LAYERS: Mapping[str, Handler] = {
    "Activation": _activation_layer,
    "Softmax": _softmax_layer,
    "ReLU": _relu,
    "LeakyReLU": _leaky_relu,
    "ELU": _elu,
}


def _tf_function(lowering: Lowering, layer: Layer, call: Call, operands: Sequence[Any]) -> Value:
    """Keras 2's TFOpLambda: a TensorFlow function, called by its recorded name."""
    function = layer.config.get("function")
    kwargs = {key: item for key, item in call.kwargs.items() if key not in {"name", "data_format"}}
    if function == "nn.gelu":
        return _gelu(lowering, layer, call, operands)
    if function == "cast":
        return _cast(lowering, layer, call, operands)
    if function == "nn.softmax" and not kwargs.keys() - {"logits", "axis"}:
        return _softmax_layer(lowering, layer, call, operands)
    if function in _TF_ACTIVATIONS and not kwargs.keys() - {"x", "features"}:
        return activation(lowering, layer, single(layer, operands), _TF_ACTIVATIONS[function])
    if function in _TF_ARITHMETIC and not kwargs.keys() - {"x", "y", "bias"}:
        given = [kwargs[key] for key in ("y", "bias") if key in kwargs]
        operands = [*operands, *given] if len(operands) == 1 else operands
        return merge(lowering, layer, _TF_ARITHMETIC[function], operands)
    raise ModelError(
        f"Layer {layer.name!r} calls TensorFlow's {str(function)[:80]!r}, which skinclf does not rebuild; "
        "with TensorFlow installed, `runtime` keras runs the file as it is.",
        parameter="runtime",
    )


_TF_ACTIVATIONS = {
    "nn.relu": "relu",
    "nn.relu6": "relu6",
    "nn.silu": "silu",
    "nn.swish": "silu",
    "nn.sigmoid": "sigmoid",
    "math.sigmoid": "sigmoid",
    "nn.tanh": "tanh",
    "math.tanh": "tanh",
}
_TF_ARITHMETIC = {
    "__operators__.add": "add",
    "math.add": "add",
    "nn.bias_add": "add",
    "math.subtract": "sub",
    "math.multiply": "mul",
    "math.divide": "div",
    "math.truediv": "div",
    "math.maximum": "max",
    "math.minimum": "min",
}

#: Arithmetic: layers, Keras 3 operations of the same name, and Keras 2's TensorFlow calls.
OPERATORS: Mapping[str, Handler] = {
    "Add": _merging("add"),
    "Subtract": _merging("sub"),
    "Multiply": _merging("mul"),
    "Average": _average,
    "Maximum": _merging("max"),
    "Minimum": _merging("min"),
    "Divide": _merging("div"),
    "TrueDivide": _merging("div"),
    "Relu": _activating("relu"),
    "Relu6": _activating("relu6"),
    "Sigmoid": _activating("sigmoid"),
    "Silu": _activating("silu"),
    "Tanh": _activating("tanh"),
    "HardSigmoid": _activating("hard_sigmoid"),
    "HardSilu": _activating("hard_silu"),
    "Gelu": _gelu,
    "Cast": _cast,
    "TFOpLambda": _tf_function,
}
