"""Shapes through a graph, computed without running anything.

A graph from a bundle is not trusted: what does not fit, or would need absurd memory, is refused before a
single tensor exists. (Running on torch's `meta` device would do the same, but costs seconds to start.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from skinclf.models.architectures.graph import modules as ops

#: Shape of one sample, without the batch: (C, H, W), (L, F) or (F,).
Shape = tuple[int, ...]


class ShapeError(ValueError):
    """An operation does not fit its input."""


def working_space(module: nn.Module, shape: Shape) -> int:
    """Count of numbers that an operation needs for one image, beside its input and output."""
    if not isinstance(module, ops.Pool) or not module.outside:
        return 0
    top, bottom, left, right = module.pad
    return shape[0] * (shape[1] + top + bottom) * (shape[2] + left + right)


def output_shape(module: nn.Module, inputs: Sequence[Shape]) -> Shape:
    """Shape of an operation's result for one sample.

    Args:
        module: Made by `build_operation`.
        inputs: Shapes that it is given.

    Raises:
        ShapeError: The shapes do not fit the operation.
    """
    several = _SEVERAL.get(type(module))
    if several is not None:
        return several(module, inputs)
    _need(len(inputs) == 1, f"takes one input, not {len(inputs)}")
    rule = _RULES.get(type(module))
    return rule(module, inputs[0]) if rule is not None else inputs[0]


def _need(good: bool, what: str) -> None:  # noqa: FBT001
    if not good:
        raise ShapeError(what)


def _image(shape: Shape, channels: int | None = None) -> tuple[int, int, int]:
    _need(len(shape) == 3, f"takes images, not shape {shape}")
    _need(channels in {None, shape[0]}, f"takes {channels} channels, not {shape[0]}")
    return shape[0], shape[1], shape[2]


def _steps(length: int, kernel: int, stride: int, before: int, after: int, dilation: int = 1) -> int:
    count = (length + before + after - (kernel - 1) * dilation - 1) // stride + 1
    _need(count >= 1, f"a window of {kernel} does not fit into {length}")
    return count


def _conv(m: nn.Conv2d, shape: Shape) -> Shape:
    _, *size = _image(shape, m.in_channels)
    pads: Any = m.padding
    out = (
        _steps(n, k, s, p, p, d)
        for n, k, s, p, d in zip(size, m.kernel_size, m.stride, pads, m.dilation, strict=True)
    )
    return (m.out_channels, *out)


def _pool(m: ops.Pool, shape: Shape) -> Shape:
    channels, height, width = _image(shape)
    top, bottom, left, right = m.pad
    fits = all(
        0 <= b - a <= 1 and 2 * a <= k for a, b, k in ((top, bottom, m.kernel[0]), (left, right, m.kernel[1]))
    )
    _need(fits, f"cannot pad {m.pad} around a window of {m.kernel}")
    rows = _steps(height, m.kernel[0], m.stride[0], top, bottom)
    return (channels, rows, _steps(width, m.kernel[1], m.stride[1], left, right))


def _linear(m: nn.Linear, shape: Shape) -> Shape:
    _need(len(shape) < 3 and shape[-1] == m.in_features, f"takes {m.in_features} features, not shape {shape}")
    return (*shape[:-1], m.out_features)


def _batch_norm(m: nn.BatchNorm1d | nn.BatchNorm2d, shape: Shape) -> Shape:
    ranks = {3} if isinstance(m, nn.BatchNorm2d) else {1, 2}
    _need(
        len(shape) in ranks and shape[0] == m.num_features,
        f"takes {m.num_features} channels, not shape {shape}",
    )
    return shape


def _layer_norm(m: ops.LayerNorm, shape: Shape) -> Shape:
    keras = (shape[1], shape[2], shape[0]) if m.image and len(shape) == 3 else shape
    _need(
        m.image == (len(shape) == 3) and keras[-len(m.shape) :] == m.shape,
        f"normalises {m.shape}, not {keras}",
    )
    return shape


def _prelu(m: ops.PReLU, shape: Shape) -> Shape:
    own = tuple(m.weight.shape)
    _need(
        len(own) == len(shape) and all(a in {1, b} for a, b in zip(own, shape, strict=True)),
        f"{own} on {shape}",
    )
    return shape


def _pad(m: ops.Pad, shape: Shape) -> Shape:
    channels, height, width = _image(shape)
    left, right, top, bottom = m.pad
    size = (height + top + bottom, width + left + right)
    _need(min(size) >= 1 and min(height + min(top, 0), width + min(left, 0)) >= 1, f"pads {shape} to {size}")
    return (channels, *size)


def _constant(m: ops.Constant, shape: Shape) -> Shape:
    count, image = len(m.values), len(shape) == 3
    _need(
        count == 1 or (m.axis == (1 if image else -1) and count == shape[0 if image else -1]),
        f"{count} on {shape}",
    )
    _need(m.axis == -1 or image or count == 1, f"has channels, {shape} has none")
    return shape if count == 1 or not image else _image(shape)


def _global_pool(m: ops.GlobalPool, shape: Shape) -> Shape:
    channels, _, _ = _image(shape)
    return (channels, 1, 1) if m.keep else (channels,)


def _resize(m: ops.Resize, shape: Shape) -> Shape:
    return (_image(shape)[0], *m.size)


def _nearest(m: ops.Nearest, shape: Shape) -> Shape:
    channels, *size = _image(shape)
    _need(tuple(size) == m.source, f"resizes {m.source}, not {tuple(size)}")
    return (channels, *m.size)


def _view(m: ops.View, shape: Shape) -> Shape:
    if m.kind == "permute":
        _need(m.numbers[0] == 0 and sorted(m.numbers) == list(range(len(shape) + 1)), f"reorders {shape}")
        return tuple(shape[axis - 1] for axis in m.numbers[1:])
    if m.kind == "select":
        channels, height, width = _image(shape)
        _need(m.numbers[0] < channels, f"takes channel {m.numbers[0]} of {channels}")
        return (height, width)
    if m.kind == "flip":
        return _image(shape)
    _need(math.prod(shape) == math.prod(m.numbers), f"reshapes {shape} to {m.numbers}")
    return m.numbers


def _softmax(m: nn.Softmax, shape: Shape) -> Shape:
    _need(m.dim is not None and 1 <= m.dim <= len(shape), f"axis {m.dim} of {shape}")
    return shape


def _complement(_: ops.Complement, shape: Shape) -> Shape:
    _need(shape == (1,), f"takes one probability, not {shape}")
    return (2,)


def _merge(m: ops.Merge, inputs: Sequence[Shape]) -> Shape:
    two = len(inputs) == 2 or (len(inputs) > 2 and m.operator not in {"sub", "div"})
    _need(two and len({len(x) for x in inputs}) == 1, f"cannot combine {list(inputs)[:8]}")
    shape = tuple(max(sizes) for sizes in zip(*inputs, strict=True))
    _need(
        all(a in {1, b} for x in inputs for a, b in zip(x, shape, strict=True)),
        f"cannot combine {list(inputs)[:8]}",
    )
    return shape


def _concat(m: ops.Concatenate, inputs: Sequence[Shape]) -> Shape:
    at = m.axis - 1
    rests = {x[:at] + x[at + 1 :] for x in inputs}
    _need(all(at < len(x) for x in inputs) and len(rests) == 1, f"cannot join {list(inputs)[:8]}")
    return (*inputs[0][:at], sum(x[at] for x in inputs), *inputs[0][at + 1 :])


def _stack(_: ops.Stack, inputs: Sequence[Shape]) -> Shape:
    _need(len(set(inputs)) == 1 and len(inputs[0]) == 2, f"cannot stack {list(inputs)[:8]}")
    return (len(inputs), *inputs[0])


_RULES: Mapping[type, Callable[[Any, Shape], Shape]] = {
    nn.Conv2d: _conv,
    nn.Linear: _linear,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.Softmax: _softmax,
    ops.LayerNorm: _layer_norm,
    ops.PReLU: _prelu,
    ops.Pool: _pool,
    ops.Pad: _pad,
    ops.Constant: _constant,
    ops.Entries: lambda m, _: (m.width,),
    ops.GlobalPool: _global_pool,
    ops.Resize: _resize,
    ops.Nearest: _nearest,
    ops.View: _view,
    ops.Complement: _complement,
}
_SEVERAL: Mapping[type, Callable[[Any, Sequence[Shape]], Shape]] = {
    ops.Merge: _merge,
    ops.Concatenate: _concat,
    ops.Stack: _stack,
}
