"""Constant folding: ONNX nodes that do not depend on the image, computed with numpy within a size limit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from skinclf.models.formats.onnx.graph import Array, Node

#: Larger constants are refused; the weights of a classifier's last layers stay far below.
_MAX_VALUES = 1 << 28


def fold(node: Node) -> Array | None:
    """The result of a node with constant inputs; None when it depends on the image or is not known here.

    Raises:
        ModelError: The result would be absurdly large, or the inputs do not fit.
    """
    rule = _RULES.get(node.op)
    given = [x for x in node.inputs if x is not None]
    if rule is None or not all(isinstance(x, np.ndarray) for x in given):
        return None
    if node.op in _ARITHMETIC:
        size = math.prod(
            max(dims) for dims in _aligned([x.shape for x in given if isinstance(x, np.ndarray)])
        )
        if size > _MAX_VALUES:
            raise node.fail(f"makes {size:,} numbers")
    try:
        return np.asarray(rule(node))
    except (ValueError, TypeError, IndexError, KeyError, ZeroDivisionError) as error:
        raise node.fail(f"has constants that do not fit ({error})") from None


def _aligned(shapes: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    rank = max(len(shape) for shape in shapes)
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return list(zip(*padded, strict=True))


def axes_of(node: Node, index: int) -> list[int]:
    """Axes, which older operator sets keep as an attribute and newer ones as an input."""
    found = node.constant(index) if index < len(node.inputs) else None
    return [int(x) for x in (node.get("axes", []) if found is None else np.atleast_1d(found))]


def _constant(node: Node) -> Array:
    from onnx import numpy_helper

    if "value" in node.attributes:
        return np.asarray(numpy_helper.to_array(node.attributes["value"]))
    kinds = {
        "value_int": np.int64,
        "value_ints": np.int64,
        "value_float": np.float32,
        "value_floats": np.float32,
    }
    key = next(key for key in node.attributes if key in kinds)
    return np.asarray(node.attributes[key], kinds[key])


def _cast(node: Node) -> Array:
    from onnx import helper

    return np.asarray(node.constant(0).astype(helper.tensor_dtype_to_np_dtype(node.get("to"))))


def _slice(node: Node) -> Array:
    data = node.constant(0)
    starts, ends = (node.constant(i, node.get(key)) for i, key in ((1, "starts"), (2, "ends")))
    axes = node.constant(3, node.get("axes", range(len(starts))))
    steps = node.constant(4, [1] * len(starts))
    index = [slice(None)] * data.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        index[int(axis)] = slice(int(start), int(end), int(step))
    return np.asarray(data[tuple(index)])


def _unsqueeze(node: Node) -> Array:
    return np.expand_dims(node.constant(0), tuple(axes_of(node, 1)))


def _squeeze(node: Node) -> Array:
    return np.asarray(np.squeeze(node.constant(0), tuple(axes_of(node, 1)) or None))


def _concat(node: Node) -> Array:
    parts = [np.atleast_1d(node.constant(i)) for i in range(len(node.inputs))]
    return np.concatenate(parts, node.get("axis"))


def _divide(a: Array, b: Array) -> Array:
    return np.asarray(a // b if a.dtype.kind in "iu" else a / b)


_ARITHMETIC: Mapping[str, Callable[[Array, Array], Array]] = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Div": _divide,
}


def _arithmetic(node: Node) -> Array:
    return np.asarray(_ARITHMETIC[node.op](node.constant(0), node.constant(1)))


_RULES: Mapping[str, Callable[[Node], Array]] = {
    "Constant": _constant,
    "Identity": lambda node: node.constant(0),
    "Cast": _cast,
    "Concat": _concat,
    "Gather": lambda node: np.take(node.constant(0), node.constant(1), axis=node.get("axis", 0)),
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Slice": _slice,
    "Transpose": lambda node: node.constant(0).transpose(node.get("perm")),
    "Reshape": lambda node: node.constant(0).reshape(node.constant(1)),
    **dict.fromkeys(_ARITHMETIC, _arithmetic),
}
