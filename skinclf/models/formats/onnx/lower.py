"""An ONNX graph as a torch network, for conversion to a bundle: the operators of convolutional classifiers.

Each node becomes an operation of `skinclf.models.architectures.graph`; what depends on shapes alone is
computed away. An operator without a counterpart is refused by name; the file can still be run as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from skinclf.errors import ModelError
from skinclf.models.architectures import restore_network
from skinclf.models.architectures.graph.network import VERSION
from skinclf.models.architectures.graph.operations import build_operation
from skinclf.models.architectures.graph.shapes import ShapeError, output_shape
from skinclf.models.formats.onnx.folding import fold
from skinclf.models.loaded import LoadedModel
from skinclf.models.probabilities import Activation

Array = npt.NDArray[Any]
Shape = tuple[int, ...]
ARCHITECTURE = "skinclf/onnx-graph"
_LOGITS: Mapping[str, Activation] = {"softmax": "softmax", "sigmoid": "sigmoid"}


def onnx_network(loaded: LoadedModel) -> LoadedModel:
    """The same model with a torch network instead of its ONNX file.

    Args:
        loaded: What `skinclf.models.formats.onnx.file.import_onnx` gave.

    Raises:
        ModelError: An operator has no counterpart, or the graph is no plain classifier.
    """
    import onnx

    spec = loaded.spec
    try:
        model = onnx.load(str(loaded.artifact), format="protobuf", load_external_data=True)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{spec.name}: the weights of the ONNX file cannot be read: {reason}") from None
    lowering = Lowering(model.graph, (spec.preprocess.height, spec.preprocess.width), spec.name)
    graph, activation = lowering.finish(spec.activation)
    spec = spec.replace(architecture=ARCHITECTURE, model_args={"graph": graph}, activation=activation)
    kept = {key: value for key, value in lowering.tensors.items() if key.split(".")[1] in graph["layers"]}
    tensors = {key: torch.from_numpy(np.array(value, np.float32)) for key, value in kept.items()}
    return replace(loaded, spec=spec, network=restore_network(spec, tensors), artifact=None)


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
            "itself can still be used with --runtime onnxruntime."
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
    """Collects operations while it walks through a graph."""

    def __init__(self, graph: Any, size: tuple[int, int], name: str) -> None:
        from onnx import helper, numpy_helper

        from skinclf.models.formats.onnx.operators import OPERATORS

        self.name = name
        self.size = size
        self.layers: dict[str, tuple[str, dict[str, Any]]] = {}
        self.calls: list[tuple[str, list[int]]] = []
        self.tensors: dict[str, Array] = {}
        self._known: dict[str, Value | Array] = {x.name: numpy_helper.to_array(x) for x in graph.initializer}
        source = next(x for x in graph.input if x.name not in self._known)
        dims = source.type.tensor_type.shape.dim
        image = Value(0, (3, *size))
        first = image if dims[1].dim_value == 3 else self.emit("permute", {"axes": [0, 2, 3, 1]}, [image])
        self._known[source.name] = first
        for item in graph.node:
            inputs = [self._known[x] if x else None for x in item.input]
            node = Node(item, inputs, helper, name)
            result: Value | Array | None = self._shape_of(node) if node.op == "Shape" else fold(node)
            if result is None:
                if node.op not in OPERATORS:
                    raise node.fail("has no counterpart here")
                result = OPERATORS[node.op](self, node)
            self._known[item.output[0]] = result
        output = self._known[graph.output[0].name]
        if not isinstance(output, Value):
            raise ModelError(f"{name}: the output of the graph does not depend on the image.")
        self.output = output

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

    def finish(self, activation: Activation) -> tuple[dict[str, Any], Activation]:
        """The graph of everything that the output needs, and what its outputs are.

        A final softmax or sigmoid is left to `skinclf.models.probabilities`, so that the network gives logits.
        """
        output = self.output
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

    def _shape_of(self, node: Node) -> Array:
        """A shape; the batch, which is not known, stands as 0 (in a Reshape: as it is)."""
        found = node.inputs[0]
        dims = (0, *found.shape) if isinstance(found, Value) else node.constant(0).shape
        start, end = node.get("start", 0), node.get("end")
        return np.asarray(dims[start:end], np.int64)


Operator = Callable[[Lowering, Node], Value]
