"""Conversion of an ONNX graph to a torch network: the operators of convolutional classifiers.

Each node becomes an operation of `skinclf.models.architectures.graph`; what depends on shapes alone is
computed away. An operator without a counterpart is refused by name; the file can still be run as it is.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from skinclf.errors import ModelError
from skinclf.models.architectures import restore_network
from skinclf.models.formats.onnx.folding import fold
from skinclf.models.formats.onnx.graph import Array, Lowering, Node, Value
from skinclf.models.formats.onnx.operators import OPERATORS
from skinclf.models.loaded import LoadedModel
from skinclf.models.metadata_encoding import MetadataEncoding

ARCHITECTURE = "skinclf/onnx-graph"


def onnx_network(loaded: LoadedModel) -> LoadedModel:
    """The same model with a torch network instead of its ONNX file.

    Args:
        loaded: Result of `skinclf.models.formats.onnx.file.import_onnx`.

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
    lowering = Lowering((spec.preprocess.height, spec.preprocess.width), spec.name)
    graph, activation = lowering.finish(_lower(model.graph, lowering, spec.encoding), spec.activation)
    spec = spec.replace(architecture=ARCHITECTURE, model_args={"graph": graph}, activation=activation)
    kept = {key: value for key, value in lowering.tensors.items() if key.split(".")[1] in graph["layers"]}
    tensors = {key: torch.from_numpy(np.array(value, np.float32)) for key, value in kept.items()}
    return replace(loaded, spec=spec, network=restore_network(spec, tensors), artifact=None)


def _lower(graph: Any, lowering: Lowering, encoding: MetadataEncoding | None) -> Value:
    """Walk through a graph, node by node, and collect its operations; gives the output."""
    from onnx import helper, numpy_helper

    known: dict[str, Value | Array] = {x.name: numpy_helper.to_array(x) for x in graph.initializer}
    sources = [x for x in graph.input if x.name not in known]
    source = next(x for x in sources if len(x.type.tensor_type.shape.dim) == 4)
    dims = source.type.tensor_type.shape.dim
    image = Value(0, (3, *lowering.size))
    first = image if dims[1].dim_value == 3 else lowering.emit("permute", {"axes": [0, 2, 3, 1]}, [image])
    known[source.name] = first
    for other in sources:
        if other is not source and encoding is not None:
            known[other.name] = lowering.emit("entries", {"width": encoding.width}, [image])
    for item in graph.node:
        inputs = [known[x] if x else None for x in item.input]
        node = Node(item, inputs, helper, lowering.name)
        result: Value | Array | None = _shape_of(node) if node.op == "Shape" else fold(node)
        if result is None:
            if node.op not in OPERATORS:
                raise node.fail("has no counterpart here")
            result = OPERATORS[node.op](lowering, node)
        known[item.output[0]] = result
    output = known[graph.output[0].name]
    if not isinstance(output, Value):
        raise ModelError(f"{lowering.name}: the output of the graph does not depend on the image.")
    return output


def _shape_of(node: Node) -> Array:
    """A shape; the batch, which is not known, stands as 0 (in a Reshape: as it is)."""
    found = node.inputs[0]
    dims = (0, *found.shape) if isinstance(found, Value) else node.constant(0).shape
    start, end = node.get("start", 0), node.get("end")
    return np.asarray(dims[start:end], np.int64)
