"""The module that runs a graph."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.fx import Proxy

from skinclf.errors import ModelError
from skinclf.models.architectures.graph.modules import Constant, Entries, Nearest
from skinclf.models.architectures.graph.operations import build_operation
from skinclf.models.architectures.graph.shapes import ShapeError, output_shape, working_space

VERSION = 1
_MAX_CALLS = 20_000
_MAX_PARAMETERS = 1 << 30
#: Most numbers that may be kept of one image at any time; a graph that asks for more is not a classifier.
_MAX_VALUES = 1 << 28
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,255}")


class GraphNetwork(nn.Module):
    """A network that calls named operations in a fixed order.

    Attributes:
        layers: Operations by name.
        size: Rows and columns of the input.
        width: Numbers that the second input has for each image; None where the image is the only input.
        plan: Calls in order: operation, the values it takes, and those that no later call needs.
    """

    def __init__(self, graph: Mapping[str, Any]) -> None:
        """Check a graph and build its operations on the current default device.

        Raises:
            ModelError: The graph is malformed.
        """
        super().__init__()
        self.size, layers, calls = _read(graph)
        self.layers = nn.ModuleDict()
        for name, (op, arguments) in layers.items():
            if hasattr(self.layers, name):
                raise ModelError(f"Graph: {name!r} cannot name a layer.")
            self.layers[name] = build_operation(name, op, arguments)
        beside = {name: layer.width for name, layer in self.layers.items() if isinstance(layer, Entries)}
        if len(beside) > 1:
            raise ModelError(
                f"Graph: {sorted(beside)} are {len(beside)} inputs beside the image; one is possible."
            )
        self.width: int | None = next(iter(beside.values()), None)
        self._beside = next(iter(beside), None)
        last_use = {value: step for step, (_, inputs) in enumerate(calls) for value in inputs}
        self.plan = [
            (name, inputs, tuple(value for value in dict.fromkeys(inputs) if last_use[value] == step))
            for step, (name, inputs) in enumerate(calls)
        ]

    def forward(self, x: Tensor, entries: Tensor | None = None) -> Tensor:
        """Run the graph.

        Args:
            x: Shape (N, 3, height, width).
            entries: Second input, shape (N, `width`), where the network has one.

        Returns:
            Shape (N, outputs).

        Raises:
            ModelError: The image size is not the one the graph was laid out for, or the second input is missing.
        """
        if self._beside is not None and entries is None:
            raise ModelError(
                "The network takes age, sex and site beside the image; only the image was given."
            )
        if not _is_recorded(x) and tuple(x.shape[2:]) != self.size:
            raise ModelError(f"The network takes images of {self.size}; received {tuple(x.shape)}.")
        values: list[Tensor | None] = [x]
        for name, inputs, finished in self.plan:
            given = [entries] if name == self._beside else [values[i] for i in inputs]
            values.append(self.layers[name](*given))
            for i in finished:
                values[i] = None
        result = values[-1]
        return cast("Tensor", result)  # the last value is never used up


def _is_recorded(x: object) -> bool:
    """Whether a tracer is at work, for which sizes are no plain numbers."""
    return isinstance(x, Proxy) or torch._C._get_tracing_state() is not None


def build(num_outputs: int, graph: Mapping[str, Any]) -> nn.Module:
    """The network of a graph with random weights (what `skinclf/keras-graph` names in a bundle).

    Args:
        num_outputs: Width that its output must have.
        graph: See `skinclf.models.architectures.graph`.

    Raises:
        ModelError: The graph is malformed, its shapes do not fit, or its output has another width.
    """
    network = lay_out(num_outputs, graph)
    for module in network.modules():
        if callable(reset := getattr(module, "reset_parameters", None)):
            reset()
    return network.eval()


def lay_out(num_outputs: int, graph: Mapping[str, Any]) -> GraphNetwork:
    """The network of a graph with memory for its weights, but nothing in it yet.

    It is built and checked without memory first, so that a graph that does not fit, or that would need
    absurd amounts of memory, is refused before it costs anything.
    """
    with torch.device("meta"):
        network = GraphNetwork(graph).eval()
    _check_shapes(network, num_outputs)
    for module in network.modules():
        # What `to_empty` does, without the second that it spends on importing its machinery.
        for name, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(torch.empty(parameter.shape)))
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, torch.empty(buffer.shape, dtype=buffer.dtype))
        if isinstance(module, (Constant, Nearest)):
            module.fill()
        elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.get_buffer("num_batches_tracked").zero_()
    return network


def _check_shapes(network: GraphNetwork, num_outputs: int) -> None:
    count = sum(p.numel() for p in network.parameters())
    if count > _MAX_PARAMETERS:
        raise ModelError(f"Graph: {count:,} parameters are more than skinclf builds ({_MAX_PARAMETERS:,}).")
    shapes: list[tuple[int, ...]] = [(3, *network.size)]
    kept = math.prod(shapes[0])
    for name, inputs, finished in network.plan:
        try:
            shape = output_shape(network.layers[name], [shapes[i] for i in inputs])
        except ShapeError as error:
            raise ModelError(f"Graph: {name!r} does not fit its input: {error}.") from None
        if math.prod(shape) > _MAX_VALUES:
            raise ModelError(f"Graph: {name!r} would make {math.prod(shape):,} numbers of one image.")
        shapes.append(shape)
        kept += math.prod(shape)
        most = kept + working_space(network.layers[name], shapes[inputs[0]])
        if most > _MAX_VALUES:
            raise ModelError(f"Graph: at {name!r} it would keep {most:,} numbers of one image.")
        kept -= sum(math.prod(shapes[i]) for i in finished)
    if shapes[-1] != (num_outputs,):
        raise ModelError(
            f"Graph: its output has shape {shapes[-1]} for one image; expected ({num_outputs},)."
        )


def _read(
    graph: Any,
) -> tuple[tuple[int, int], dict[str, tuple[str, Mapping[str, Any]]], list[tuple[str, tuple[int, ...]]]]:
    """Check a graph's form; what operations do with their arguments is theirs to check."""
    if not isinstance(graph, Mapping) or set(graph) != {"version", "input", "layers", "calls"}:
        raise ModelError("Graph: expected an object of 'version', 'input', 'layers' and 'calls'.")
    if graph["version"] != VERSION:
        raise ModelError(
            f"Graph: version {graph['version']!r}; this skinclf reads {VERSION}. Update skinclf."
        )
    size, layers, calls = graph["input"], graph["layers"], graph["calls"]
    if not isinstance(size, (list, tuple)) or len(size) != 2:
        raise ModelError(f"Graph: 'input' is [height, width]; received {str(size)[:80]!r}.")
    if not all(type(x) is int and 1 <= x <= 4096 for x in size):
        raise ModelError(f"Graph: sides are 1 to 4096 pixels; received {list(size)}.")
    if not isinstance(layers, Mapping) or not isinstance(calls, list) or not 1 <= len(calls) <= _MAX_CALLS:
        raise ModelError(f"Graph: 'layers' is an object and 'calls' a list of 1 to {_MAX_CALLS}.")
    operations = {}
    for name, item in layers.items():
        good = isinstance(item, (list, tuple)) and len(item) == 2
        if not good or not isinstance(item[0], str) or not isinstance(item[1], Mapping):
            raise ModelError(f"Graph: layer {str(name)[:80]!r} is not [operation, arguments].")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ModelError(f"Graph: {str(name)[:80]!r} cannot name a layer.")
        operations[name] = (item[0], item[1])
    steps = []
    for position, call in enumerate(calls):
        good = isinstance(call, (list, tuple)) and len(call) == 2 and isinstance(call[1], (list, tuple))
        if not good or not isinstance(call[0], str) or call[0] not in operations:
            raise ModelError(f"Graph: call {position} is not [layer, inputs].")
        if not 1 <= len(call[1]) <= 1000 or not all(type(i) is int and 0 <= i <= position for i in call[1]):
            raise ModelError(f"Graph: call {position} takes what no earlier call made.")
        steps.append((call[0], tuple(call[1])))
    uncalled = set(operations) - Counter(name for name, _ in steps).keys()
    if uncalled:
        raise ModelError(f"Graph: operations that are never called: {sorted(uncalled)[:5]}.")
    return (size[0], size[1]), operations, steps
