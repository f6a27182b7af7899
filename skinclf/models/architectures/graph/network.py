"""The module that runs a graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.fx import Proxy

from skinclf.errors import ModelError
from skinclf.models.architectures.graph.form import Kept, check_output, plan, read_graph
from skinclf.models.architectures.graph.modules import Constant, Entries, Nearest
from skinclf.models.architectures.graph.operations import build_operation
from skinclf.models.architectures.graph.shapes import ShapeError, output_shape, working_space

_MAX_PARAMETERS = 1 << 30


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
        self.size, layers, calls = read_graph(graph)
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
        self.plan = plan(calls)

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
    kept = Kept(shapes[0])
    for name, inputs, finished in network.plan:
        try:
            shape = output_shape(network.layers[name], [shapes[i] for i in inputs])
        except ShapeError as error:
            raise ModelError(f"Graph: {name!r} does not fit its input: {error}.") from None
        shapes.append(shape)
        kept.add(name, shape, beside=working_space(network.layers[name], shapes[inputs[0]]))
        kept.drop(shapes[i] for i in finished)
    check_output(shapes[-1], num_outputs)
