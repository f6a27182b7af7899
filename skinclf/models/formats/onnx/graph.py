"""Intermediate form between ONNX and torch: values, nodes, and the operations collected so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from skinclf.errors import ModelError
from skinclf.models.architectures.graph.form import VERSION
from skinclf.models.architectures.graph.operations import build_operation
from skinclf.models.architectures.graph.shapes import Shape, ShapeError, output_shape
from skinclf.models.probabilities import Activation

Array = npt.NDArray[Any]
_LOGITS: Mapping[str, Activation] = {"softmax": "softmax", "sigmoid": "sigmoid"}


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor that depends on the image: its number in the graph, and its shape for one image."""

    id: int
    shape: Shape


class Node:
    """A node with its attributes as plain values; its inputs are `Value`s, arrays or None."""

    def __init__(self, node: Any, inputs: list[Value | Array | None], helper: Any, name: str) -> None:
        self.op = str(node.op_type)
        self.inputs = inputs
        self.attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        self._name = name

    def fail(self, what: str) -> ModelError:
        """An error that names the operator."""
        return ModelError(
            f"{self._name}: the ONNX operator {self.op} {what}, which skinclf cannot convert. The file "
            "itself can still be used with `runtime` onnxruntime.",
            parameter="runtime",
        )

    def value(self, index: int = 0) -> Value:
        """An input that depends on the image."""
        found = self.inputs[index] if index < len(self.inputs) else None
        if not isinstance(found, Value):
            raise self.fail(f"has a constant input {index}")
        return found

    def constant(self, index: int, default: Any = None) -> Any:
        """An input that is a constant; `default` when it is absent."""
        found = self.inputs[index] if index < len(self.inputs) else None
        if isinstance(found, Value):
            raise self.fail(f"has an input {index} that is not constant")
        return default if found is None else found

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute."""
        found = self.attributes.get(name, default)
        return found.decode() if isinstance(found, bytes) else found


class Lowering:
    """The operations and tensors of the network that is being built."""

    def __init__(self, size: tuple[int, int], name: str) -> None:
        """Start with the image alone.

        Args:
            size: (height, width) of the input.
            name: Name of the model, for messages.
        """
        self.name = name
        self.size = size
        self.layers: dict[str, tuple[str, dict[str, Any]]] = {}
        self.calls: list[tuple[str, list[int]]] = []
        self.tensors: dict[str, Array] = {}

    def emit(
        self, op: str, arguments: dict[str, Any], inputs: Sequence[Value], **tensors: Array | None
    ) -> Value:
        """Add an operation; its parameters are given by their names in the module."""
        layer = f"{op}_{len(self.layers)}"
        with torch.device("meta"):
            module = build_operation(layer, op, arguments)
        try:
            shape = output_shape(module, [x.shape for x in inputs])
        except ShapeError as error:
            raise ModelError(f"{self.name}: the ONNX graph does not fit itself at {op}: {error}.") from None
        self.layers[layer] = (op, arguments)
        self.calls.append((layer, [x.id for x in inputs]))
        for key, value in tensors.items():
            if value is not None:
                self.tensors[f"layers.{layer}.{key}"] = np.asarray(value, np.float32)
        return Value(len(self.calls), tuple(shape))

    def finish(self, output: Value, activation: Activation) -> tuple[dict[str, Any], Activation]:
        """The graph of everything that the output needs, and the activation of its outputs.

        A final softmax or sigmoid is left to `skinclf.models.probabilities`, so that the network gives logits.
        """
        op = self.layers[self.calls[output.id - 1][0]][0] if output.id else ""
        if activation == "identity" and op in _LOGITS:
            before = self.calls[output.id - 1][1][0]
            output, activation = Value(before, output.shape), _LOGITS[op]
        if len(output.shape) != 1:
            output = self.emit("reshape", {"shape": [int(np.prod(output.shape))]}, [output])
        needed, open_ends = set[int](), [output.id]
        while open_ends:
            number = open_ends.pop()
            if number and number not in needed:
                needed.add(number)
                open_ends += self.calls[number - 1][1]
        order = {0: 0, **{old: new for new, old in enumerate(sorted(needed), start=1)}}
        chosen = [self.calls[old - 1] for old in sorted(needed)]
        calls = [[name, [order[i] for i in inputs]] for name, inputs in chosen]
        layers = {name: list(self.layers[name]) for name, _ in chosen}
        return {"version": VERSION, "input": list(self.size), "layers": layers, "calls": calls}, activation


Operator = Callable[[Lowering, Node], Value]
