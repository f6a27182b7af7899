"""Conversion of normalisation layers, and of the scaling of inputs that some models begin with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skinclf.errors import ModelError
from skinclf.models.formats.keras.config import Call, Layer
from skinclf.models.formats.keras.lower import Handler, Lowering, Value, single
from skinclf.models.formats.keras.operations import arithmetic, constants

_KERAS_EPSILON = 1e-7  # keras.config.epsilon(), used by Normalization


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
    used = {key: config.flag(key, True) for key in ("scale", "center")}
    extra = {} if value.is_image else {"image": False}
    extra |= {} if any(used.values()) else {"affine": False}
    value = lowering.emit(
        layer,
        "",
        "layer_norm",
        [value],
        value.shape,
        shape=list(shape),
        epsilon=config.number("epsilon", 1e-3),
        **extra,
    )
    if any(used.values()):
        lowering.parameter(layer, "", "weight", "gamma" if used["scale"] else None, shape, fill=1.0)
        lowering.parameter(layer, "", "bias", "beta" if used["center"] else None, shape)
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


def _layer_scale(lowering: Lowering, layer: Layer, _: Call, operands: Sequence[Any]) -> Value:
    """ConvNeXt's factor per channel."""
    value = single(layer, operands)
    size = lowering.config(layer).integer("projection_dim")
    if size != value.shape[-1] or size > 4096 or not lowering.variables.fits(layer, "gamma", (size,)):
        lowering.variables.check()
        raise ModelError(f"Layer {layer.name!r} scales {size:,} channels; it is given {value.shape[-1]:,}.")
    numbers = lowering.variables.read(layer, "gamma").ravel()
    return arithmetic(lowering, layer, "", "mul", value, numbers.tolist())


NORM_LAYERS: Mapping[str, Handler] = {
    "BatchNormalization": _batch_normalization,
    "LayerNormalization": _layer_normalization,
    "Normalization": _normalization,
    "LayerScale": _layer_scale,
    "Rescaling": _rescaling,
    "PReLU": _prelu,
}
