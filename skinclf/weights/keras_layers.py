"""What each Keras layer becomes: convolutions, dense layers, normalisation, padding and pooling.

Padding is always emitted as its own operation first; `keras_finish` folds it into the convolution or
pooling that follows wherever that gives exactly the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skinclf.architectures.keras_graph.arguments import Arguments
from skinclf.errors import ModelError
from skinclf.weights.keras_config import Call, Layer
from skinclf.weights.keras_lower import Handler, Lowering, Value
from skinclf.weights.keras_operations import ACTIVATION_LAYERS, OPERATORS, activation, arithmetic, constants
from skinclf.weights.keras_shapes import SHAPE_LAYERS, to_channels_last

_KERAS_EPSILON = 1e-7  # keras.config.epsilon(), used by Normalization
_FUSED_EPSILON = 1.001e-5  # TensorFlow's fused batch norm raises smaller ones to this (Keras 2 uses it)

#: Layers that do nothing when a model predicts.
_IDENTITY = (
    "ActivityRegularization", "AlphaDropout", "AugMix", "AutoContrast", "CutMix", "Dropout", "Equalization",
    "GaussianDropout", "GaussianNoise", "Identity", "MixUp", "RandAugment", "RandomBrightness",
    "RandomColorDegeneration", "RandomColorJitter", "RandomContrast", "RandomElasticTransform", "RandomErasing",
    "RandomFlip", "RandomGaussianBlur", "RandomGrayscale", "RandomHeight", "RandomHue", "RandomInvert",
    "RandomPerspective", "RandomPosterization", "RandomRotation", "RandomSaturation", "RandomSharpness",
    "RandomShear", "RandomTranslation", "RandomWidth", "RandomZoom", "Solarization", "SpatialDropout2D",
)  # fmt: skip


def single(layer: Layer, operands: Sequence[Any]) -> Value:
    """The one tensor that a layer takes."""
    if len(operands) != 1 or not isinstance(operands[0], Value):
        raise ModelError(f"Layer {layer.name!r} ({layer.kind}) takes one tensor; it is given {len(operands)} things.")
    return operands[0]


def image(layer: Layer, operands: Sequence[Any]) -> tuple[Value, int, int, int]:
    """The one tensor of rank 4 that a layer takes, with its height, width and channels."""
    value = single(layer, operands)
    if not value.is_image:
        raise ModelError(f"Layer {layer.name!r} ({layer.kind}) takes images; it is given shape {value.shape}.")
    return (value, *value.shape)  # type: ignore[return-value]  # three of them, as just checked


def pair(arguments: Arguments, layer: Layer, key: str, default: Any = None) -> tuple[int, int]:
    """A size that Keras writes as one number or two."""
    value = layer.config.get(key, default)
    if type(value) is int:
        arguments = Arguments(arguments.owner, {key: [value, value]})
    elif key not in layer.config and default is not None:
        arguments = Arguments(arguments.owner, {key: default})
    first, second = arguments.integers(key, 2)
    return first, second


def windows(
    lowering: Lowering, layer: Layer, size: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int],
    dilation: tuple[int, int] = (1, 1),
) -> tuple[tuple[int, int], tuple[int, int, int, int]]:  # fmt: skip
    """Output size and padding (top, bottom, left, right) of a sliding window, as TensorFlow computes them."""
    padding = lowering.config(layer).choice("padding", {"same", "valid", "SAME", "VALID"}, "valid").lower()
    out, pad = [], []
    for length, k, step, gap in zip(size, kernel, stride, dilation, strict=True):
        reach = (k - 1) * gap + 1
        if padding == "valid":
            count, total = (length - reach) // step + 1, 0
        else:
            count = -(-length // step)
            total = max(0, (count - 1) * step + reach - length)
        if count < 1:
            raise ModelError(f"Layer {layer.name!r}: a window of {reach} does not fit into {length} pixels.")
        out.append(count)
        pad += [total // 2, total - total // 2]
    return (out[0], out[1]), (pad[0], pad[1], pad[2], pad[3])


def _padded(lowering: Lowering, layer: Layer, value: Value, pad: Sequence[int]) -> Value:
    if not any(pad):
        return value
    height, width, channels = value.shape
    shape = (height + pad[0] + pad[1], width + pad[2] + pad[3], channels)
    return lowering.emit(layer, "pad", "pad", [value], shape, pad=list(pad))


def _conv(
    lowering: Lowering, layer: Layer, part: str, value: Value, filters: int, *, kernel: tuple[int, int],
    stride: tuple[int, int] = (1, 1), dilation: tuple[int, int] = (1, 1), groups: int = 1, bias: bool,
) -> Value:  # fmt: skip
    """A convolution without padding of its own."""
    height, width, channels = value.shape
    if channels % groups or filters % groups:
        raise ModelError(f"Layer {layer.name!r}: {channels} to {filters} channels cannot be {groups} groups.")
    size = [(n - (k - 1) * d - 1) // s + 1 for n, k, s, d in zip((height, width), kernel, stride, dilation, strict=True)]
    if min(size) < 1:
        raise ModelError(f"Layer {layer.name!r}: a kernel of {kernel} does not fit into {height} x {width} pixels.")
    arguments: dict[str, Any] = {"in": channels, "out": filters, "kernel": list(kernel)}
    arguments |= {"stride": list(stride)} if stride != (1, 1) else {}
    arguments |= {"dilation": list(dilation)} if dilation != (1, 1) else {}
    arguments |= {"groups": groups} if groups != 1 else {}
    arguments |= {} if bias else {"bias": False}
    return lowering.emit(layer, part, "conv", [value], (*size, filters), **arguments)


def _bias(lowering: Lowering, layer: Layer, part: str, filters: int, *, used: bool) -> None:
    if used:
        lowering.parameter(layer, part, "bias", "bias", (filters,))


def _conv2d(lowering: Lowering, layer: Layer, _: Call, operands: Sequence[Any]) -> Value:
    config = lowering.config(layer)
    value, height, width, channels = image(layer, operands)
    kernel, stride = pair(config, layer, "kernel_size"), pair(config, layer, "strides", [1, 1])
    dilation, groups = pair(config, layer, "dilation_rate", [1, 1]), config.integer("groups", 1)
    filters, bias = config.integer("filters"), config.flag("use_bias", True)
    _, pad = windows(lowering, layer, (height, width), kernel, stride, dilation)
    value = _padded(lowering, layer, value, pad)
    value = _conv(
        lowering, layer, "", value, filters, kernel=kernel, stride=stride, dilation=dilation, groups=groups, bias=bias
    )
    shape = (*kernel, channels // groups, filters)
    lowering.parameter(layer, "", "weight", "kernel", shape, lambda k: k.transpose(3, 2, 0, 1))
    _bias(lowering, layer, "", filters, used=bias)
    return activation(lowering, layer, value, layer.config.get("activation"))


def _depthwise(lowering: Lowering, layer: Layer, operands: Sequence[Any], part: str, *, bias: bool) -> Value:
    config = lowering.config(layer)
    value, height, width, channels = image(layer, operands)
    kernel, stride = pair(config, layer, "kernel_size"), pair(config, layer, "strides", [1, 1])
    dilation, multiplier = pair(config, layer, "dilation_rate", [1, 1]), config.integer("depth_multiplier", 1)
    _, pad = windows(lowering, layer, (height, width), kernel, stride, dilation)
    value = _padded(lowering, layer, value, pad)
    filters = channels * multiplier
    value = _conv(
        lowering, layer, part, value, filters, kernel=kernel, stride=stride, dilation=dilation, groups=channels,
        bias=bias,
    )  # fmt: skip
    lowering.parameter(
        layer, part, "weight", "depthwise_kernel", (*kernel, channels, multiplier),
        lambda k: k.transpose(2, 3, 0, 1).reshape(filters, 1, *kernel),
    )  # fmt: skip
    _bias(lowering, layer, part, filters, used=bias)
    return value


def _depthwise_conv2d(lowering: Lowering, layer: Layer, _: Call, operands: Sequence[Any]) -> Value:
    bias = lowering.config(layer).flag("use_bias", True)
    value = _depthwise(lowering, layer, operands, "", bias=bias)
    return activation(lowering, layer, value, layer.config.get("activation"))


def _separable_conv2d(lowering: Lowering, layer: Layer, _: Call, operands: Sequence[Any]) -> Value:
    config = lowering.config(layer)
    filters, bias = config.integer("filters"), config.flag("use_bias", True)
    if config.integer("groups", 1) != 1:
        raise ModelError(f"Layer {layer.name!r}: a grouped SeparableConv2D is not supported.")
    value = _depthwise(lowering, layer, operands, "depthwise", bias=False)
    channels = value.shape[2]
    value = _conv(lowering, layer, "pointwise", value, filters, kernel=(1, 1), bias=bias)
    shape = (1, 1, channels, filters)
    lowering.parameter(
        layer, "pointwise", "weight", "pointwise_kernel", shape, lambda k: k.transpose(3, 2, 0, 1)
    )
    _bias(lowering, layer, "pointwise", filters, used=bias)
    return activation(lowering, layer, value, layer.config.get("activation"))


def _dense(lowering: Lowering, layer: Layer, _: Call, operands: Sequence[Any]) -> Value:
    config, value = lowering.config(layer), single(layer, operands)
    units, bias, width = config.integer("units"), config.flag("use_bias", True), value.shape[-1]
    if value.is_image:  # over the channels of every pixel: a 1 x 1 convolution
        value = _conv(lowering, layer, "", value, units, kernel=(1, 1), bias=bias)
        lowering.parameter(layer, "", "weight", "kernel", (width, units), lambda k: k.T[:, :, None, None])
    else:
        shape, plain = (*value.shape[:-1], units), {} if bias else {"bias": False}
        value = lowering.emit(layer, "", "linear", [value], shape, **{"in": width, "out": units}, **plain)
        lowering.parameter(layer, "", "weight", "kernel", (width, units), lambda k: k.T)
    _bias(lowering, layer, "", units, used=bias)
    return activation(lowering, layer, value, layer.config.get("activation"))


def _axes(layer: Layer, rank: int) -> list[int]:
    """`axis` of a normalisation as positive numbers; the batch is axis 0."""
    axis = layer.config.get("axis", -1)
    axes = [axis] if type(axis) is int else axis
    if not isinstance(axes, list) or not all(type(x) is int and -rank < x < rank and x for x in axes):
        raise ModelError(f"Layer {layer.name!r}: cannot normalise over axis {str(axis)[:80]} of rank {rank}.")
    return sorted(x % rank for x in axes)


def _batch_normalization(lowering: Lowering, layer: Layer, _: Call, operands: Sequence[Any]) -> Value:
    config, value = lowering.config(layer), single(layer, operands)
    rank, size = len(value.shape) + 1, value.shape[-1]
    if _axes(layer, rank) != [rank - 1] or rank not in {2, 3, 4}:
        raise ModelError(f"Layer {layer.name!r}: batch normalisation is read over the last axis only.")
    epsilon = config.number("epsilon", 1e-3)
    if lowering.keras == 2 and rank == 4:
        epsilon = max(epsilon, _FUSED_EPSILON)
    shape = value.shape
    if rank == 3:  # torch wants (N, C, L)
        value = lowering.emit(layer, "in", "permute", [value], (shape[1], shape[0]), axes=[0, 2, 1])
    extra = {} if rank == 4 else {"image": False}
    value = lowering.emit(layer, "", "batch_norm", [value], value.shape, size=size, epsilon=epsilon, **extra)
    for name, variable, flag, fill in (("weight", "gamma", "scale", 1.0), ("bias", "beta", "center", 0.0)):
        used = config.flag(flag, True)
        lowering.parameter(layer, "", name, variable if used else None, (size,), fill=fill)
    lowering.parameter(layer, "", "running_mean", "moving_mean", (size,))
    lowering.parameter(layer, "", "running_var", "moving_variance", (size,))
    if rank == 3:
        value = lowering.emit(layer, "out", "permute", [value], shape, axes=[0, 2, 1])
    return value


def _layer_normalization(lowering: Lowering, layer: Layer, _: Call, operands: Sequence[Any]) -> Value:
    config, value = lowering.config(layer), single(layer, operands)
    rank = len(value.shape) + 1
    axes = _axes(layer, rank)
    if axes != list(range(axes[0], rank)) or config.flag("rms_scaling", False):
        raise ModelError(f"Layer {layer.name!r}: layer normalisation is read over the last axes only.")
    shape = value.shape[axes[0] - 1 :]
    extra = {} if value.is_image else {"image": False}
    value = lowering.emit(
        layer, "", "layer_norm", [value], value.shape, shape=list(shape), epsilon=config.number("epsilon", 1e-3), **extra
    )
    for name, variable, flag, fill in (("weight", "gamma", "scale", 1.0), ("bias", "beta", "center", 0.0)):
        used = config.flag(flag, True)
        lowering.parameter(layer, "", name, variable if used else None, shape, fill=fill)
    return value


def _normalization(lowering: Lowering, layer: Layer, _: Call, operands: Sequence[Any]) -> Value:
    """`(x - mean) / max(sqrt(variance), 1e-7)`; mean and variance become constants of the graph."""
    value = single(layer, operands)
    axis, rank = layer.config.get("axis", -1), len(value.shape) + 1
    if layer.config.get("invert", False) or (axis not in (None, []) and _axes(layer, rank) != [rank - 1]):
        raise ModelError(f"Layer {layer.name!r}: Normalization is read over the last axis, and not inverted.")
    size = 1 if axis in (None, []) else value.shape[-1]
    numbers = {}
    for name in ("mean", "variance"):
        if layer.config.get("mean") is not None:
            numbers[name] = np.asarray(constants(layer, layer.config.get(name), value.shape), np.float32)
        elif size <= 4096 and lowering.variables.fits(layer, name, (size,) if axis not in (None, []) else ()):
            numbers[name] = lowering.variables.read(layer, name).ravel()
        else:
            lowering.variables.check()
            raise ModelError(f"Layer {layer.name!r}: a Normalization of {size:,} channels is not supported.")
    deviation = np.maximum(np.sqrt(numbers["variance"]), np.float32(_KERAS_EPSILON))
    value = arithmetic(lowering, layer, "mean", "sub", value, numbers["mean"].tolist())
    return arithmetic(lowering, layer, "std", "div", value, deviation.tolist())


def _rescaling(lowering: Lowering, layer: Layer, _: Call, operands: Sequence[Any]) -> Value:
    value = single(layer, operands)
    scale = constants(layer, layer.config.get("scale"), value.shape)
    offset = constants(layer, layer.config.get("offset", 0.0), value.shape)
    value = arithmetic(lowering, layer, "scale", "mul", value, scale)
    return arithmetic(lowering, layer, "offset", "add", value, offset)


def _pooling(op: str) -> Handler:
    def handler(lowering: Lowering, layer: Layer, _: Call, operands: Sequence[Any]) -> Value:
        config = lowering.config(layer)
        value, height, width, channels = image(layer, operands)
        kernel = pair(config, layer, "pool_size", [2, 2])
        stride = kernel if layer.config.get("strides") is None else pair(config, layer, "strides")
        size, pad = windows(lowering, layer, (height, width), kernel, stride)
        extra = {"pad": list(pad)} if any(pad) else {}
        if any(b - a and s == 1 for (a, b), s in zip((pad[:2], pad[2:]), stride, strict=True)):
            # An even window moved by one: ceil_mode cannot reach the extra row, so a maximum is padded by hand.
            raise ModelError(f"Layer {layer.name!r}: 'same' pooling of an even window with stride 1 is not supported.")
        return lowering.emit(
            layer, "", op, [value], (*size, channels), kernel=list(kernel), stride=list(stride), **extra
        )

    return handler


def _global_pooling(op: str) -> Handler:
    def handler(lowering: Lowering, layer: Layer, _: Call, operands: Sequence[Any]) -> Value:
        value, _, _, channels = image(layer, operands)
        keep = lowering.config(layer).flag("keepdims", False)
        shape, extra = ((1, 1, channels), {"keep": True}) if keep else ((channels,), {})
        return lowering.emit(layer, "", op, [value], shape, **extra)

    return handler


def _prelu(lowering: Lowering, layer: Layer, _: Call, operands: Sequence[Any]) -> Value:
    value = single(layer, operands)
    shared = layer.config.get("shared_axes") or []
    if not isinstance(shared, list) or not all(type(x) is int for x in shared):
        raise ModelError(f"Layer {layer.name!r}: shared_axes is {str(shared)[:80]}; expected a list of axes.")
    shape = tuple(1 if axis in shared else size for axis, size in enumerate(value.shape, start=1))
    own = (shape[2], *shape[:2]) if value.is_image else shape
    result = lowering.emit(layer, "", "prelu", [value], value.shape, shape=list(own))
    lowering.parameter(
        layer, "", "weight", "alpha", shape, lambda a: a.transpose(2, 0, 1) if value.is_image else a
    )
    return result


def _identity(_: Lowering, layer: Layer, __: Call, operands: Sequence[Any]) -> Value:
    return single(layer, operands)


def _zero_padding2d(lowering: Lowering, layer: Layer, _: Call, operands: Sequence[Any]) -> Value:
    value, *_rest = image(layer, operands)
    return _padded(lowering, layer, value, _sides(layer, "padding"))


def _cropping2d(lowering: Lowering, layer: Layer, _: Call, operands: Sequence[Any]) -> Value:
    value, *_rest = image(layer, operands)
    return _padded(lowering, layer, value, [-x for x in _sides(layer, "cropping")])


def _sides(layer: Layer, key: str) -> list[int]:
    """`[[top, bottom], [left, right]]`, also as one number or two."""
    value = layer.config.get(key, 1)
    rows = [value, value] if type(value) is int else value
    sides = [[x, x] if type(x) is int else x for x in rows] if isinstance(rows, list) else []
    if len(sides) != 2 or not all(isinstance(x, list) and len(x) == 2 for x in sides):
        raise ModelError(f"Layer {layer.name!r}: {key} is {str(value)[:80]}; expected [[top, bottom], [left, right]].")
    numbers = [n for side in sides for n in side]
    return list(Arguments(f"Layer {layer.name!r}", {key: numbers}).integers(key, 4, low=0, high=1 << 16))


HANDLERS: Mapping[str, Handler] = {
    "Conv2D": _conv2d,
    "DepthwiseConv2D": _depthwise_conv2d,
    "SeparableConv2D": _separable_conv2d,
    "Dense": _dense,
    "BatchNormalization": _batch_normalization,
    "LayerNormalization": _layer_normalization,
    "Normalization": _normalization,
    "Rescaling": _rescaling,
    "MaxPooling2D": _pooling("max_pool"),
    "AveragePooling2D": _pooling("avg_pool"),
    "GlobalMaxPooling2D": _global_pooling("global_max"),
    "GlobalAveragePooling2D": _global_pooling("global_mean"),
    "PReLU": _prelu,
    "ZeroPadding2D": _zero_padding2d,
    "Cropping2D": _cropping2d,
    **dict.fromkeys(_IDENTITY, _identity),
    **ACTIVATION_LAYERS,
    **SHAPE_LAYERS,
    **OPERATORS,
}
