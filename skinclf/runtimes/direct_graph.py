"""OpenVINO graphs of imported Keras files, built operation by operation: neither torch nor a conversion, nor a cache.

The importer has a Keras file as a graph and arrays (`skinclf.models.architectures.graph`); building the same in
OpenVINO takes less time than reading a converted network back and comparing its hash.
"""

from __future__ import annotations

from typing import Any

from skinclf.errors import ModelError
from skinclf.models.architectures.graph.arguments import Arguments
from skinclf.models.architectures.graph.form import check_output, read_graph
from skinclf.models.loaded import LoadedModel
from skinclf.runtimes.direct_operations import OPERATIONS, Step


def has_direct_graph(model: LoadedModel) -> bool:
    """Whether a model brings its graph and arrays, and every operation of the graph is known here."""
    if model.tensors is None:
        return False
    _, layers, _ = read_graph(model.spec.model_args.get("graph"))
    return all(op in OPERATIONS for op, _ in layers.values())


def direct_graph(model: LoadedModel) -> Any:
    """The network of a model for which `has_direct_graph` is true.

    Returns:
        An `openvino.Model`: input (N, 3, H, W) float32, raw outputs. Its constants share memory with `model.tensors`.

    Raises:
        ModelError: The graph and the arrays do not fit each other.
    """
    import openvino as ov
    from openvino import opset13 as ops

    if model.tensors is None:
        raise ModelError(f"{model.spec.name}: only an imported graph is built without conversion.")
    tensors = model.tensors()
    size, layers, calls = read_graph(model.spec.model_args["graph"])
    image = ops.parameter([-1, 3, *size], ov.Type.f32, name="image")
    values = [image.output(0)]
    for name, inputs in calls:
        op, given = layers[name]
        arguments = Arguments(f"{name} ({op})", given)
        step = Step(ops, name, arguments, [values[i] for i in inputs], tensors)
        try:
            made = OPERATIONS[op](step, step.inputs[0])
        except RuntimeError as error:
            reason = " ".join(str(error).split())[-200:]
            raise ModelError(f"Graph: {name!r} does not fit its input: {reason}") from None
        arguments.done()
        values.append(made.output(0))
    graph = ov.Model([ops.result(values[-1])], [image], model.spec.name)
    check_output(
        [int(x.get_length()) for x in list(graph.output().partial_shape)[1:]], model.spec.num_outputs
    )
    return graph
