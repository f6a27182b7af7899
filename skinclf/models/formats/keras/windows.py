"""Conversion of layers that slide a window: convolutions, pooling, and the padding around them.

Padding is always emitted as its own operation first; `keras_finish` folds it into the convolution or
pooling that follows wherever that gives exactly the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from skinclf.errors import ModelError
from skinclf.models.architectures.graph.arguments import Arguments
from skinclf.models.formats.keras.config import Call, Layer
from skinclf.models.formats.keras.lower import Handler, Lowering, Value, image
from skinclf.models.formats.keras.operations import activation


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
    lowering: Lowering,
    layer: Layer,
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int] = (1, 1),
) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
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


def conv(
    lowering: Lowering,
    layer: Layer,
    part: str,
    value: Value,
    filters: int,
    *,
    kernel: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
    bias: bool,
) -> Value:
    """A convolution without padding of its own."""
    height, width, channels = value.shape
    if channels % groups or filters % groups:
        raise ModelError(f"Layer {layer.name!r}: {channels} to {filters} channels cannot be {groups} groups.")
    size = [
        (n - (k - 1) * d - 1) // s + 1
        for n, k, s, d in zip((height, width), kernel, stride, dilation, strict=True)
    ]
    if min(size) < 1:
        raise ModelError(
            f"Layer {layer.name!r}: a kernel of {kernel} does not fit into {height} x {width} pixels."
        )
    arguments: dict[str, Any] = {"in": channels, "out": filters, "kernel": list(kernel)}
    arguments |= {"stride": list(stride)} if stride != (1, 1) else {}
    arguments |= {"dilation": list(dilation)} if dilation != (1, 1) else {}
    arguments |= {"groups": groups} if groups != 1 else {}
    arguments |= {} if bias else {"bias": False}
    return lowering.emit(layer, part, "conv", [value], (*size, filters), **arguments)


def bias_of(lowering: Lowering, layer: Layer, part: str, filters: int, *, used: bool) -> None:
    """The bias of the convolution or dense layer emitted last, when it has one."""
    if used:
        lowering.parameter(layer, part, "bias", "bias", (filters,))


def _conv2d(lowering: Lowering, layer: Layer, _: Call, operands: Sequence[Any]) -> Value:
    config = lowering.config(layer)
    value, height, width, channels = image(layer, operands)
    kernel, stride = pair(config, layer, "kernel_size"), pair(config, layer, "strides", [1, 1])
    dilation, groups = pair(config, layer, "dilation_rate", [1, 1]), config.integer("groups", 1)
    filters, bias = config.integer("filters"), config.flag("use_bias", True)
    pad = windows(lowering, layer, (height, width), kernel, stride, dilation)[1]
    value = _padded(lowering, layer, value, pad)
    value = conv(
        lowering,
        layer,
        "",
        value,
        filters,
        kernel=kernel,
        stride=stride,
        dilation=dilation,
        groups=groups,
        bias=bias,
    )
    shape = (*kernel, channels // groups, filters)
    lowering.parameter(layer, "", "weight", "kernel", shape, lambda k: k.transpose(3, 2, 0, 1))
    bias_of(lowering, layer, "", filters, used=bias)
    return activation(lowering, layer, value, layer.config.get("activation"))


def _depthwise(lowering: Lowering, layer: Layer, operands: Sequence[Any], part: str, *, bias: bool) -> Value:
    config = lowering.config(layer)
    value, height, width, channels = image(layer, operands)
    kernel, stride = pair(config, layer, "kernel_size"), pair(config, layer, "strides", [1, 1])
    dilation, multiplier = pair(config, layer, "dilation_rate", [1, 1]), config.integer("depth_multiplier", 1)
    pad = windows(lowering, layer, (height, width), kernel, stride, dilation)[1]
    value = _padded(lowering, layer, value, pad)
    filters = channels * multiplier
    value = conv(
        lowering,
        layer,
        part,
        value,
        filters,
        kernel=kernel,
        stride=stride,
        dilation=dilation,
        groups=channels,
        bias=bias,
    )
    lowering.parameter(
        layer,
        part,
        "weight",
        "depthwise_kernel",
        (*kernel, channels, multiplier),
        lambda k: k.transpose(2, 3, 0, 1).reshape(filters, 1, *kernel),
    )
    bias_of(lowering, layer, part, filters, used=bias)
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
    value = conv(lowering, layer, "pointwise", value, filters, kernel=(1, 1), bias=bias)
    shape = (1, 1, channels, filters)
    lowering.parameter(
        layer, "pointwise", "weight", "pointwise_kernel", shape, lambda k: k.transpose(3, 2, 0, 1)
    )
    bias_of(lowering, layer, "pointwise", filters, used=bias)
    return activation(lowering, layer, value, layer.config.get("activation"))


def _pooling(op: str) -> Handler:
    def handler(lowering: Lowering, layer: Layer, _: Call, operands: Sequence[Any]) -> Value:
        config = lowering.config(layer)
        value, height, width, channels = image(layer, operands)
        kernel = pair(config, layer, "pool_size", [2, 2])
        stride = kernel if layer.config.get("strides") is None else pair(config, layer, "strides")
        size, pad = windows(lowering, layer, (height, width), kernel, stride)
        extra = {"pad": list(pad)} if any(pad) else {}
        return lowering.emit(
            layer, "", op, [value], (*size, channels), kernel=list(kernel), stride=list(stride), **extra
        )

    return handler


def _global_pooling(op: str) -> Handler:
    def handler(lowering: Lowering, layer: Layer, _: Call, operands: Sequence[Any]) -> Value:
        value, *_size, channels = image(layer, operands)
        keep = lowering.config(layer).flag("keepdims", False)
        shape, extra = ((1, 1, channels), {"keep": True}) if keep else ((channels,), {})
        return lowering.emit(layer, "", op, [value], shape, **extra)

    return handler


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
        raise ModelError(
            f"Layer {layer.name!r}: {key} is {str(value)[:80]}; expected [[top, bottom], [left, right]]."
        )
    numbers = [n for side in sides for n in side]
    return list(Arguments(f"Layer {layer.name!r}", {key: numbers}).integers(key, 4, low=0, high=1 << 16))


WINDOW_LAYERS: Mapping[str, Handler] = {
    "Conv2D": _conv2d,
    "DepthwiseConv2D": _depthwise_conv2d,
    "SeparableConv2D": _separable_conv2d,
    "MaxPooling2D": _pooling("max_pool"),
    "AveragePooling2D": _pooling("avg_pool"),
    "GlobalMaxPooling2D": _global_pooling("global_max"),
    "GlobalAveragePooling2D": _global_pooling("global_mean"),
    "ZeroPadding2D": _zero_padding2d,
    "Cropping2D": _cropping2d,
}
