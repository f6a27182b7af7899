"""The calls between layers, as Keras files record them: which tensors, made where, go into which layer.

Keras 2 writes nested lists (`[[["conv1", 0, 0, {}]]]`), Keras 3 `args` and `kwargs` in which tensors are
objects; both become the same `Call` here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from skinclf.errors import ModelError

_MAX_CALLS = 10_000
_MAX_ARGUMENT_DEPTH = 8


@dataclass(frozen=True, slots=True)
class Ref:
    """A tensor: output number `tensor` of call number `call` of a layer."""

    layer: str
    call: int
    tensor: int


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a layer; a `Ref` stands wherever a tensor was given."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def refs(self) -> list[Ref]:
        """Every tensor of the call, in order."""
        return list(refs_in([self.args, self.kwargs]))


def read_ends(value: Any) -> tuple[Ref, ...]:
    """`input_layers` or `output_layers`: one triple, a list of triples, or triples by name (in their order)."""
    if isinstance(value, Mapping):
        value = [value[key] for key in sorted(value)]
    one = _triple(value)
    if one is not None:
        return (one,)
    refs = [_triple(item) for item in value] if isinstance(value, list) else []
    if any(ref is None for ref in refs):
        raise ModelError("The model's inputs or outputs are named in a form that skinclf does not know.")
    return tuple(ref for ref in refs if ref is not None)


def _triple(value: Any) -> Ref | None:
    if isinstance(value, (list, tuple)) and len(value) in {3, 4} and isinstance(value[0], str):
        numbers = value[1:3]
        if all(type(x) is int and 0 <= x < _MAX_CALLS for x in numbers):
            return Ref(value[0], *numbers)
    return None


def read_calls(name: str, nodes: Any) -> tuple[Call, ...]:
    """The calls of a layer, its `inbound_nodes`, in either form."""
    if not isinstance(nodes, list) or len(nodes) > _MAX_CALLS:
        raise ModelError(f"Layer {name!r}: 'inbound_nodes' is no list.")
    return tuple(_modern(node) if isinstance(node, Mapping) else _legacy(name, node) for node in nodes)


def _modern(node: Mapping[str, Any]) -> Call:
    args, kwargs = _decode(node.get("args", []), 0), _decode(node.get("kwargs", {}), 0)
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise ModelError("A node of the model config has no 'args' and 'kwargs'.")
    return Call(tuple(args), kwargs)


def _legacy(name: str, node: Any) -> Call:
    """Keras 2: `[[layer, call, tensor, kwargs], ...]`, or one such element alone."""
    if not isinstance(node, list):
        raise ModelError(f"Layer {name!r}: a call in a form that skinclf does not know.")
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for element in [node] if node and isinstance(node[0], str) else node:
        if isinstance(element, list) and len(element) >= 3 and element[0] == "_CONSTANT_VALUE":
            args.append(_decode(element[2], 0))
        elif (ref := _triple(element)) is not None:
            args.append(ref)
        else:
            raise ModelError(f"Layer {name!r}: a call in a form that skinclf does not know.")
        if len(element) == 4 and isinstance(element[3], Mapping):
            kwargs.update(_decode(element[3], 0, legacy=True))
    return Call(tuple(args), kwargs)


def _decode(value: Any, depth: int, *, legacy: bool = False) -> Any:
    """Arguments with tensors, constants and slices made recognisable."""
    if depth > _MAX_ARGUMENT_DEPTH:
        raise ModelError("A call in the model config has arguments nested beyond reason.")
    if isinstance(value, list):
        ref = _triple(value) if legacy and len(value) == 3 else None
        return ref or [_decode(item, depth + 1, legacy=legacy) for item in value]
    if not isinstance(value, Mapping):
        return value
    kind, config = value.get("class_name"), value.get("config")
    if kind == "__keras_tensor__":
        ref = _triple(config.get("keras_history")) if isinstance(config, Mapping) else None
        if ref is None:
            raise ModelError("A tensor in the model config does not say where it comes from.")
        return ref
    if kind in {"__tensor__", "__numpy__"} and isinstance(config, Mapping):
        return _decode(config.get("value"), depth + 1)
    if kind == "__ellipsis__":
        return Ellipsis
    if kind == "__slice__" and isinstance(config, Mapping):
        value = config
    if set(value) == {"start", "stop", "step"}:
        return slice(value["start"], value["stop"], value["step"])
    return {str(key): _decode(item, depth + 1, legacy=legacy) for key, item in value.items()}


def refs_in(value: Any) -> Iterator[Ref]:
    """Every tensor in arguments, in order."""
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from refs_in(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from refs_in(item)


def map_refs(value: Any, change: Callable[[Ref], Ref]) -> Any:
    """Arguments with every tensor changed."""
    if isinstance(value, Ref):
        return change(value)
    if isinstance(value, Mapping):
        return {key: map_refs(item, change) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map_refs(item, change) for item in value)
    return value
