"""Conversion of layers that only move numbers: flattening, reshaping, joining, selecting, resizing.

Keras orders an image height, width, channels, torch channels first; where the order of numbers matters,
the image is put into Keras' order first, which costs nothing when it is channels_last in memory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from skinclf.errors import ModelError
from skinclf.models.architectures.graph.form import MAX_SIDE
from skinclf.models.formats.keras.config import Call, Layer
from skinclf.models.formats.keras.lower import Handler, Lowering, Value, image, single
from skinclf.models.formats.keras.windows import pair


def _reshaped(lowering: Lowering, layer: Layer, value: Value, shape: Sequence[int]) -> Value:
    """The same numbers in Keras' order, in another shape."""
    if tuple(shape) == value.shape:
        return value
    if value.is_image and value.shape[:2] != (1, 1):
        # Rank 4 in Keras' order is never kept, so its recorded shape may stay as it is.
        value = lowering.emit(layer, "nhwc", "permute", [value], value.shape, axes=[0, 2, 3, 1])
    if len(shape) != 3:
        return lowering.emit(layer, "", "reshape", [value], shape, shape=list(shape))
    height, width, channels = shape
    if (height, width) == (1, 1):
        return lowering.emit(layer, "", "reshape", [value], shape, shape=[channels, 1, 1])
    value = lowering.emit(layer, "", "reshape", [value], shape, shape=list(shape))
    return lowering.emit(layer, "nchw", "permute", [value], shape, axes=[0, 3, 1, 2])


def _flatten(lowering: Lowering, layer: Layer, _: Call, operands: Sequence[Any]) -> Value:
    lowering.config(layer)
    value = single(layer, operands)
    return _reshaped(lowering, layer, value, (math.prod(value.shape),))


def _reshape(lowering: Lowering, layer: Layer, _: Call, operands: Sequence[Any]) -> Value:
    value = single(layer, operands)
    shape = list(lowering.config(layer).integers("target_shape", None, low=-1))
    total = math.prod(value.shape)
    if shape.count(-1) == 1:
        rest = math.prod(x for x in shape if x != -1)
        shape[shape.index(-1)] = total // rest if rest else 0
    if math.prod(shape) != total or min(shape) < 1 or len(shape) > 4:
        raise ModelError(
            f"Layer {layer.name!r} cannot reshape {value.shape} to {layer.config['target_shape']}."
        )
    return _reshaped(lowering, layer, value, shape)


def _permute(lowering: Lowering, layer: Layer, _: Call, operands: Sequence[Any]) -> Value:
    value = single(layer, operands)
    rank = len(value.shape)
    axes = lowering.config(layer).integers("dims", rank, high=rank)
    if sorted(axes) != list(range(1, rank + 1)):
        raise ModelError(f"Layer {layer.name!r}: {list(axes)} is no order of {rank} axes.")
    shape = [value.shape[a - 1] for a in axes]
    own = [0, *axes]
    if value.is_image:
        torch_axis = {1: 2, 2: 3, 3: 1}  # of Keras' axes
        own = [0, torch_axis[axes[2]], torch_axis[axes[0]], torch_axis[axes[1]]]
    if own == list(range(rank + 1)):
        return value
    return lowering.emit(layer, "", "permute", [value], shape, axes=own)


def _concatenate(lowering: Lowering, layer: Layer, call: Call, operands: Sequence[Any]) -> Value:
    values = [x for x in operands if isinstance(x, Value)]
    axis = layer.config.get("axis", call.kwargs.get("axis", -1))
    rank = len(values[0].shape) + 1 if values else 0
    good = type(axis) is int and -rank < axis < rank and axis % rank
    if len(values) != len(operands) or not good or any(len(x.shape) + 1 != rank for x in values):
        raise ModelError(
            f"Layer {layer.name!r} cannot join {len(operands)} operands along axis {str(axis)[:80]}."
        )
    axis %= rank
    rest = {tuple(n for i, n in enumerate(x.shape, start=1) if i != axis) for x in values}
    if len(rest) != 1:
        raise ModelError(f"Layer {layer.name!r} cannot join shapes {[x.shape for x in values][:8]}.")
    if len(values) == 1:
        return values[0]
    shape = list(values[0].shape)
    shape[axis - 1] = sum(x.shape[axis - 1] for x in values)
    own = {1: 2, 2: 3, 3: 1}[axis] if rank == 4 else axis
    return lowering.emit(layer, "", "concat", values, shape, axis=own)


def _resized(lowering: Lowering, layer: Layer, value: Value, size: list[int], mode: str) -> Value:
    """An image in another size, by `nearest` or `bilinear` interpolation."""
    height, width, channels = value.shape
    if size == [height, width]:
        return value
    if mode == "bilinear":
        made = lowering.emit(layer, "", "resize", [value], (*size, channels), size=size)
    else:
        origin = {"from": [height, width]}
        made = lowering.emit(layer, "", "nearest", [value], (*size, channels), size=size, **origin)
    if max(height, width, *size) > MAX_SIDE:
        raise ModelError(
            f"Layer {layer.name!r} resizes {[height, width]} to a size of {size}; sides are at most {MAX_SIDE:,}."
        )
    return made


def _upsampling2d(lowering: Lowering, layer: Layer, _: Call, operands: Sequence[Any]) -> Value:
    config = lowering.config(layer)
    value, height, width, _channels = image(layer, operands)
    rows, columns = pair(config, layer, "size", [2, 2])
    mode = config.choice("interpolation", {"nearest", "bilinear"}, "nearest")
    return _resized(lowering, layer, value, [height * rows, width * columns], mode)


def _resizing(lowering: Lowering, layer: Layer, _: Call, operands: Sequence[Any]) -> Value:
    config = lowering.config(layer)
    value, height, width, _channels = image(layer, operands)
    size = [config.integer("height"), config.integer("width")]
    if size == [height, width]:
        return value
    mode = layer.config.get("interpolation", "bilinear")
    special = [k for k in ("crop_to_aspect_ratio", "pad_to_aspect_ratio", "antialias") if layer.config.get(k)]
    if mode not in {"nearest", "bilinear"} or special:
        method = " with ".join([repr(str(mode)[:40]), *special])
        raise ModelError(
            f"Layer {layer.name!r} resizes by {method}; skinclf rebuilds plain nearest and bilinear resizing. "
            "Prepare images at the size that the next layer takes."
        )
    return _resized(lowering, layer, value, size, mode)


def _cropped(lowering: Lowering, layer: Layer, value: Value, size: tuple[int, int]) -> Value:
    """The centre of an image; an odd rest is cut at the bottom and the right."""
    height, width, channels = value.shape
    if size == (height, width):
        return value
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    pad = [-top, top + size[0] - height, -left, left + size[1] - width]
    return lowering.emit(layer, "crop", "pad", [value], (*size, channels), pad=pad)


def _center_crop(lowering: Lowering, layer: Layer, _: Call, operands: Sequence[Any]) -> Value:
    config = lowering.config(layer)
    value, height, width, _channels = image(layer, operands)
    size = (config.integer("height"), config.integer("width"))
    if size[0] > height or size[1] > width:
        raise ModelError(
            f"Layer {layer.name!r} crops {height} x {width} to {size[0]} x {size[1]}, for which Keras enlarges the "
            "image; skinclf rebuilds crops of larger images."
        )
    return _cropped(lowering, layer, value, size)


def _random_crop(lowering: Lowering, layer: Layer, _: Call, operands: Sequence[Any]) -> Value:
    """What Keras does when it predicts, which depends on its version.

    Keras 2 cuts the largest centre of the target's aspect ratio and resizes it; Keras 3.7 and later leave the image.
    """
    config = lowering.config(layer)
    value, height, width, _channels = image(layer, operands)
    new_h, new_w = config.integer("height"), config.integer("width")
    if (new_h, new_w) == (height, width) or lowering.version >= (3, 7):
        return value
    if lowering.keras != 2:
        raise ModelError(
            f"Layer {layer.name!r}: what a RandomCrop does when it predicts changed within Keras 3, and the file's "
            "version is not one whose rule skinclf has."
        )
    cut = (
        max(1, min(height, int(width * new_h / new_w))),
        max(1, min(width, int(height * new_w / new_h))),
    )
    return _resized(lowering, layer, _cropped(lowering, layer, value, cut), [new_h, new_w], "bilinear")


def _get_item(lowering: Lowering, layer: Layer, call: Call, operands: Sequence[Any]) -> Value:
    """One channel, `x[..., 0]`, or all of them reversed, `x[..., ::-1]`: what RGB to BGR leaves behind."""
    key = call.kwargs.get("slice_spec", operands[1] if len(operands) == 2 else None)
    value, height, width, channels = image(layer, operands[:1])
    if isinstance(key, list) and len(key) == 2 and key[0] is Ellipsis:
        index = key[1]
        if type(index) is int and -channels <= index < channels:
            return lowering.emit(layer, "", "select", [value], (height, width), channel=index % channels)
        if isinstance(index, slice) and (index.start, index.stop, index.step) == (None, None, -1):
            return lowering.emit(layer, "", "flip", [value], value.shape)
    raise ModelError(f"Layer {layer.name!r} cuts a tensor in a way that skinclf does not rebuild.")


def _stack(lowering: Lowering, layer: Layer, _: Call, operands: Sequence[Any]) -> Value:
    planes = [x for x in operands if isinstance(x, Value) and len(x.shape) == 2]
    if (
        len(planes) != len(operands)
        or len({x.shape for x in planes}) != 1
        or layer.config.get("axis") not in {-1, 3}
    ):
        raise ModelError(f"Layer {layer.name!r}: only planes are stacked, as channels.")
    return lowering.emit(layer, "", "stack", planes, (*planes[0].shape, len(planes)))


SHAPE_LAYERS: Mapping[str, Handler] = {
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Permute": _permute,
    "Concatenate": _concatenate,
    "UpSampling2D": _upsampling2d,
    "Resizing": _resizing,
    "CenterCrop": _center_crop,
    "RandomCrop": _random_crop,
    "GetItem": _get_item,
    "SlicingOpLambda": _get_item,
    "Stack": _stack,
}
