"""ONNX files as models: checked here, run by ONNX Runtime (extra `onnx`)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from skinclf._utils.files import sha256_file
from skinclf.errors import MissingExtraError, ModelError, UnsafeModelError
from skinclf.labels import LabelSet
from skinclf.models.formats.class_names import activation_for
from skinclf.models.loaded import LoadedModel, Stated
from skinclf.models.probabilities import Activation
from skinclf.models.spec import ModelSpec

#: protobuf's own limit; a larger file keeps its weights beside it.
_MAX_BYTES = 2 * 1024**3
_STANDARD = frozenset({"", "ai.onnx", "com.microsoft", "com.microsoft.nchwc", "ai.onnx.contrib"})
_PASSING = frozenset({"Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten"})


@dataclass(frozen=True, slots=True)
class _Graph:
    """Facts of a graph: size of the input and number of outputs (None: any), and the last operator.

    `beside` is the width of the second input (None: any), where `second` says that there is one.
    """

    height: int | None
    width: int | None
    outputs: int | None
    ending: str
    second: bool = False
    beside: int | None = None


def import_onnx(
    path: Path, stated: Stated, *, name: str, source: str, revision: str | None = None
) -> LoadedModel:
    """Load an ONNX file with one output per class that takes an image, and at most one vector beside it.

    The file records neither labels nor preprocessing; both must be stated. An
    output that ends in a softmax (or, for two classes, one sigmoid) is taken as probabilities, any other as
    logits.

    Args:
        path: Path of the file; external weights must lie in its folder.
        stated: Labels in output order and preprocessing.
        name: Name for the model.
        source: Origin for the specification: a repository id or a path.
        revision: Commit sha on the Hub; None for local files.

    Raises:
        MissingExtraError: onnx is not installed.
        UnsafeModelError: The file reaches outside its folder or asks for operators of its own.
        ModelError: The file is damaged, no image classifier, does not fit, or a fact must be stated.
    """
    graph, outside = _read(path, name)
    labels = stated.need_labels(name)
    preprocess = stated.need_preprocess(name, size=(graph.height, graph.width))
    encoding = stated.need_encoding(name, graph.beside) if graph.second else None
    outputs = len(labels) if graph.outputs is None else graph.outputs
    spec = ModelSpec(
        name=name,
        architecture="onnx",
        labels=labels,
        preprocess=preprocess,
        encoding=encoding,
        activation=_activation(graph.ending, outputs, labels, name),
        source=source,
        revision=revision,
        weights_sha256=_hash(path, outside),
    )
    return LoadedModel(spec=spec, artifact=path)


def _activation(ending: str, outputs: int, labels: LabelSet, name: str) -> Activation:
    logits = activation_for(outputs, labels, name)
    if ending == "Softmax" and logits == "softmax":
        return "identity"
    if ending in {"Sigmoid", "HardSigmoid"}:
        if logits == "sigmoid" and ending == "Sigmoid":
            return "identity"
        raise ModelError(
            f"{name}: the graph ends in {ending} over {len(labels)} labels, which need not add up to one; "
            "skinclf takes classes that exclude each other."
        )
    return logits


def _read(path: Path, name: str) -> tuple[_Graph, list[Path]]:
    """The facts of a graph and the files that it keeps weights in; the weights are not read."""
    try:
        import onnx
    except ImportError:
        raise MissingExtraError("onnx", f"{name}: reading an ONNX file") from None
    try:
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise ValueError(f"{size:,} bytes")  # noqa: TRY301 - reported below like any other damage
        model = onnx.load(path, format="protobuf", load_external_data=False)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}.") from None
    except Exception as error:
        raise ModelError(f"{path}: damaged or no ONNX model: {error}.") from None
    foreign = {x.domain for x in model.opset_import} - _STANDARD - {f.domain for f in model.functions}
    if foreign:
        raise UnsafeModelError(
            f"{name}: needs operators of {', '.join(sorted(foreign))}; skinclf loads no such code."
        )
    outside = sorted({_beside(path, tensor) for tensor in _external(model.graph, onnx)})
    return _facts(model.graph, onnx, name), outside


def _facts(graph: Any, onnx: Any, name: str) -> _Graph:
    constants = {x.name for x in graph.initializer}
    inputs = [x for x in graph.input if x.name not in constants]
    pictures = [x for x in inputs if len(_shape(x)) == 4] if len(inputs) == 2 else inputs
    vectors = [x for x in inputs if x not in pictures]
    if len(pictures) != 1 or len(vectors) > 1 or len(graph.output) != 1:
        raise ModelError(
            f"{name}: the graph has inputs {[x.name for x in inputs]} and outputs "
            f"{[x.name for x in graph.output]}; expected one output, and an image with at most one vector beside it."
        )
    shape, kind = _shape(pictures[0]), pictures[0].type.tensor_type.elem_type
    if kind != onnx.TensorProto.FLOAT or len(shape) != 4 or 3 not in {shape[1], shape[3]}:
        raise ModelError(
            f"{name}: the input is {onnx.TensorProto.DataType.Name(kind)} of shape {shape}; expected FLOAT "
            "of shape (N, 3, height, width) or (N, height, width, 3)."
        )
    rows, cols = (shape[2], shape[3]) if shape[1] == 3 else (shape[1], shape[2])
    result = _shape(graph.output[0])
    if len(result) > 2 and any(x != 1 for x in result[2:]):
        raise ModelError(f"{name}: the output has shape {result}; expected (N, classes).")
    outputs = result[1] if len(result) > 1 else (1 if len(result) == 1 else None)
    beside = _vector(vectors[0], onnx, name) if vectors else None
    return _Graph(rows, cols, outputs, _ending(graph), bool(vectors), beside)


def _vector(value: Any, onnx: Any, name: str) -> int | None:
    """Width of the second input."""
    shape, kind = _shape(value), value.type.tensor_type.elem_type
    if kind != onnx.TensorProto.FLOAT or len(shape) != 2:
        raise ModelError(
            f"{name}: the second input, {value.name}, is {onnx.TensorProto.DataType.Name(kind)} of shape {shape}; "
            "expected FLOAT of shape (N, numbers)."
        )
    return shape[1]


def _shape(value: Any) -> list[int | None]:
    dims = value.type.tensor_type.shape.dim
    return [d.dim_value if d.WhichOneof("value") == "dim_value" and d.dim_value > 0 else None for d in dims]


def _ending(graph: Any) -> str:
    """The operator that makes the output, looking through those that only move numbers."""
    makers = {output: node for node in graph.node for output in node.output}
    wanted = graph.output[0].name
    for _ in range(len(graph.node)):
        node = makers.get(wanted)
        if node is None:
            return ""
        if node.op_type not in _PASSING:
            return str(node.op_type)
        wanted = node.input[0]
    return ""


def _external(graph: Any, onnx: Any) -> Iterator[Any]:
    """Every tensor, in subgraphs too, whose content lies in another file."""
    tensors = [
        *graph.initializer,
        *(part for x in graph.sparse_initializer for part in (x.values, x.indices)),
    ]
    for node in graph.node:
        for attribute in node.attribute:
            tensors += [attribute.t, *attribute.tensors]
            for inner in (attribute.g, *attribute.graphs):
                if inner.node or inner.initializer:
                    yield from _external(inner, onnx)
    yield from (x for x in tensors if x.data_location == onnx.TensorProto.EXTERNAL)


def _beside(path: Path, tensor: Any) -> Path:
    """The file that holds a tensor, which must lie in the model's own folder."""
    location = next((x.value for x in tensor.external_data if x.key == "location"), "")
    pure = PurePosixPath(location)
    beside = path.parent / location
    # A Hub cache keeps both files as links into one folder of blobs.
    homes = {path.parent.resolve(), path.resolve().parent}
    strays = pure.is_absolute() or ".." in pure.parts or "\\" in location or ":" in location
    if not location or strays or not homes & set(beside.resolve().parents):
        raise UnsafeModelError(f"{path}: keeps weights in {location!r}, outside its own folder; not opened.")
    if not beside.is_file():
        raise ModelError(f"{path}: its weights {location!r} are missing; they belong beside it.")
    return beside


def _hash(path: Path, outside: list[Path]) -> str:
    """SHA-256 of the file, or of the hashes of all its parts."""
    if not outside:
        return sha256_file(path)
    parts = "".join(sha256_file(x) for x in (path, *outside))
    return hashlib.sha256(parts.encode()).hexdigest()
