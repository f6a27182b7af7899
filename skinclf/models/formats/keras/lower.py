"""Conversion of a Keras model's layers to a graph of torch operations (see `skinclf.models.architectures.graph`).

Values of rank 4 are (N, C, H, W) in the graph; here, shapes are in Keras' order and without the batch, so
that every layer can be read as Keras means it. What a layer becomes is in `keras_layers`.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from skinclf.errors import ModelError
from skinclf.models.architectures.graph.arguments import Arguments
from skinclf.models.architectures.graph.form import RESERVED
from skinclf.models.formats.keras.config import Call, Layer, Model, Ref, refs_in
from skinclf.models.formats.keras.variables import Variables

_MAX_CALLS = 20_000
#: Nested models multiply: a few lines of JSON could ask for more calls than can be waited for.
_MAX_WALK = 100_000
_Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor of the graph: its number there, and its shape in Keras' order without the batch."""

    id: int
    shape: tuple[int, ...]

    @property
    def is_image(self) -> bool:
        """Whether it is (N, C, H, W) in the graph."""
        return len(self.shape) == 3


@dataclass(frozen=True, slots=True)
class Source:
    """Source of a parameter: a variable with its shape and rearrangement, or one number."""

    layer: Layer
    variable: str | None
    shape: tuple[int, ...]
    change: Callable[[_Array], _Array]
    fill: float = 0.0

    def read(self, variables: Variables) -> _Array:
        """The parameter's numbers in torch's arrangement."""
        if self.variable is None:
            return np.full(self.shape, self.fill, np.float32)
        # One copy at most: a kernel in another order than Keras keeps it.
        return np.ascontiguousarray(self.change(variables.read(self.layer, self.variable)))


#: Builds one layer: what it becomes is emitted, its output returned.
Handler = Callable[["Lowering", Layer, Call, Sequence[Any]], Value]


class Lowering:
    """Collects operations while a model is walked through.

    Attributes:
        keras: Major version of the Keras that wrote the model; some definitions changed with it.
        version: Major and minor version, (0, 0) when the file does not record it.
        layers: Operations by name: `[op, arguments]`.
        calls: `(name, inputs)` in order; call n makes value n + 1.
        values: Every value so far.
        sources: Source of each parameter of the operations, by its name in the state dict.
    """

    def __init__(
        self,
        variables: Variables,
        handlers: Mapping[str, Handler],
        *,
        keras: int,
        size: tuple[int, int],
        version: tuple[int, int] = (0, 0),
    ) -> None:
        self.variables = variables
        self.keras = keras
        self.version = version
        self.layers: dict[str, list[Any]] = {}
        self.calls: list[tuple[str, tuple[int, ...]]] = []
        self.values = [Value(0, (*size, 3))]
        self.sources: dict[str, Source] = {}
        self._handlers = handlers
        self._names: dict[tuple[str, ...], str] = {}
        self._walked = 0

    # --- walking -----------------------------------------------------------------------------

    def run(self, model: Model, inputs: Sequence[Value]) -> list[Value]:
        """Walk through a model.

        Args:
            model: The model; nested ones are walked through once per call, with the same weights.
            inputs: One value per input.

        Returns:
            One value per output.

        Raises:
            ModelError: A layer is not supported or cannot be computed; it is named.
        """
        where = "/".join(model.path) or "the model"
        if len(inputs) != len(model.inputs):
            raise ModelError(f"{where} takes {len(model.inputs)} inputs and is given {len(inputs)}.")
        made: dict[Ref, Value] = dict(zip(model.inputs, inputs, strict=True))
        waiting: dict[Ref, list[tuple[Layer, int]]] = {}
        missing: dict[tuple[tuple[str, ...], int], int] = {}
        ready: deque[tuple[Layer, int]] = deque()
        for layer in model.layers:
            for number, call in enumerate(layer.calls):
                needed = {ref for ref in call.refs() if ref not in made}
                missing[layer.path, number] = len(needed)
                for ref in needed:
                    waiting.setdefault(ref, []).append((layer, number))
                if not needed:
                    ready.append((layer, number))
        while ready:
            layer, number = ready.popleft()
            for index, value in enumerate(self._call(layer, layer.calls[number], made)):
                ref = Ref(layer.path[-1], number, index)
                made[ref] = value
                for other, position in waiting.pop(ref, ()):
                    missing[other.path, position] -= 1
                    if not missing[other.path, position]:
                        ready.append((other, position))
        lost = [ref for ref in model.outputs if ref not in made]
        if lost:
            raise ModelError(
                f"{where}: its output {lost[0].layer!r} depends on something that is never computed."
            )
        return [made[ref] for ref in model.outputs]

    def _call(self, layer: Layer, call: Call, made: Mapping[Ref, Value]) -> list[Value]:
        self._walked += 1
        if self._walked > _MAX_WALK:
            raise ModelError(f"The model calls layers more than {_MAX_WALK:,} times.")
        places = call.args or [call.kwargs.get(key) for key in ("inputs", "x")]
        given = [x for place in places for x in _flat(place)]
        operands = [made[item] if isinstance(item, Ref) else item for item in given]
        if layer.model is not None:
            return self.run(layer.model, [x for x in operands if isinstance(x, Value)])
        handler = self._handlers.get(layer.kind)
        if handler is None:
            raise ModelError(
                f"Layer {layer.name!r} is a {layer.kind!r}, which skinclf cannot rebuild; with TensorFlow "
                "installed, `runtime` keras runs the file as it is.",
                parameter="runtime",
            )
        known = {"inputs", "x", "training", "mask"}
        # In the order of names, `x1` before `x2`: the order in the file means nothing.
        extra = [ref for key in sorted(call.kwargs) if key not in known for ref in refs_in(call.kwargs[key])]
        operands += [made[ref] for ref in extra]
        return [handler(self, layer, call, operands)]

    # --- what handlers use ---------------------------------------------------------------------

    def config(self, layer: Layer) -> Arguments:
        """The layer's config, to be read with types and ranges checked."""
        data = dict(layer.config)
        if data.get("data_format", "channels_last") not in {"channels_last", None}:
            raise ModelError(f"Layer {layer.name!r} is channels_first; skinclf reads channels_last models.")
        policy = data.get("dtype")
        if data.get("quantization_config") or (
            isinstance(policy, Mapping) and "Quant" in str(policy.get("class_name"))
        ):
            raise ModelError(f"Layer {layer.name!r} is quantised; save the model in floating point.")
        return Arguments(f"Layer {layer.name!r}", data)

    def emit(
        self,
        layer: Layer,
        part: str,
        op: str,
        inputs: Sequence[Value],
        shape: Sequence[int],
        /,
        **arguments: Any,
    ) -> Value:
        """Call an operation.

        Args:
            layer: Layer that it comes from.
            part: Name of a part of the layer; empty for the layer itself.
            op: Operation of the graph.
            inputs: Values that the operation takes.
            shape: Shape of the result, in Keras' order without the batch.
            **arguments: The operation's arguments.

        Returns:
            The result.
        """
        if len(self.calls) >= _MAX_CALLS:
            raise ModelError(f"The model makes more than {_MAX_CALLS:,} calls.")
        if not all(1 <= x < 1 << 24 for x in shape) or math.prod(shape) >= 1 << 28:
            raise ModelError(
                f"Layer {layer.name!r} would make a tensor of shape {tuple(shape)} from one image."
            )
        name = self._name(layer, part, [op, arguments])
        self.calls.append((name, tuple(x.id for x in inputs)))
        self.values.append(Value(len(self.calls), tuple(shape)))
        return self.values[-1]

    def parameter(
        self,
        layer: Layer,
        part: str,
        name: str,
        variable: str | None,
        shape: Sequence[int],
        change: Callable[[_Array], _Array] = lambda x: x,
        *,
        fill: float = 0.0,
    ) -> None:
        """Record the source of a parameter of the operation emitted last.

        Args:
            layer: Layer whose variable it is.
            part: Name of the part that was given to `emit`.
            name: Parameter of the torch module.
            variable: Variable of the layer; None means that every element is `fill`.
            shape: Shape that the variable must have.
            change: From Keras' arrangement to torch's.
            fill: See `variable`.
        """
        if variable is None or self.variables.fits(layer, variable, shape):
            key = (*layer.path, part)
            owner = self._names[key]
            self.sources[f"layers.{owner}.{name}"] = Source(layer, variable, tuple(shape), change, fill)

    def _name(self, layer: Layer, part: str, item: list[Any]) -> str:
        key = (*layer.path, part)
        if key in self._names and self.layers[self._names[key]] == item:
            return self._names[key]  # a shared layer: same operation, same weights
        name = "__".join(re.sub(r"\W", "_", x, flags=re.ASCII) for x in key if x)[:200]
        # torch keeps the names with an underscore and a letter, and those reserved, for itself.
        name = f"_{name}" if name[0].isdigit() else f"layer{name}" if name[0] == "_" else name
        base, number = name, 1
        while name in self.layers or name in RESERVED:
            number += 1
            name = f"{base}_{number}"
        self._names[key] = name
        self.layers[name] = item
        return name


def _flat(value: Any) -> list[Any]:
    """Tensors and constants of a call in order; lists that hold no tensor stay one constant."""
    if isinstance(value, (list, tuple)) and any(refs_in(value)):
        return [x for item in value for x in _flat(item)]
    if isinstance(value, (list, tuple)) and not value:
        return []
    return [] if value is None else [value]


def single(layer: Layer, operands: Sequence[Any]) -> Value:
    """The one tensor that a layer takes."""
    if len(operands) != 1 or not isinstance(operands[0], Value):
        raise ModelError(
            f"Layer {layer.name!r} ({layer.kind}) takes one tensor; it is given {len(operands)} things."
        )
    return operands[0]


def image(layer: Layer, operands: Sequence[Any]) -> tuple[Value, int, int, int]:
    """The one tensor of rank 4 that a layer takes, with its height, width and channels."""
    value = single(layer, operands)
    if not value.is_image:
        raise ModelError(
            f"Layer {layer.name!r} ({layer.kind}) takes images; it is given shape {value.shape}."
        )
    return (value, *value.shape)  # type: ignore[return-value]  # three of them, as just checked
