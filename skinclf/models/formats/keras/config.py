"""The architecture that a Keras file holds, as plain data: models, layers, and the calls between them.

Reads what Keras 2 and 3 write without making any of it: a layer here is a class name and a dict. Lambda
layers and custom classes, which would need code to run, are refused by name. For calls, Keras 2 writes nested
lists (`[[["conv1", 0, 0, {}]]]`), Keras 3 `args` and `kwargs` in which tensors are objects; both become a `Call`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from skinclf.errors import ModelError, UnsafeModelError

_MAX_LAYERS = 10_000
_MAX_DEPTH = 12
_MAX_CALLS = 10_000
_MAX_ARGUMENT_DEPTH = 8
_MODELS = {"Functional": "functional", "Model": "functional", "Sequential": "sequential"}
_KERAS_ROOTS = {"keras", "tf_keras", "builtins", "tensorflow"}
#: Parts of a config that nothing is built from: training, and what Keras knows about shapes.
_IGNORED = {"compile_config", "build_config"}


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


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer; `model` is set when it is a model itself.

    Attributes:
        path: Names of the models around it and its own name last.
        kind: Keras class name.
        config: Result of the layer's `get_config`.
        calls: Calls of the layer in its model; none for an input.
        model: Content of a nested model; else None.
    """

    path: tuple[str, ...]
    kind: str
    config: Mapping[str, Any]
    calls: tuple[Call, ...]
    model: Model | None = None

    @property
    def name(self) -> str:
        """Path in words."""
        return "/".join(self.path)


@dataclass(frozen=True, slots=True)
class Model:
    """Layers, and which tensors go in and out."""

    path: tuple[str, ...]
    kind: str
    layers: tuple[Layer, ...]
    inputs: tuple[Ref, ...]
    outputs: tuple[Ref, ...]

    def every_layer(self) -> Iterator[Layer]:
        """All layers, those of nested models included."""
        for layer in self.layers:
            yield layer
            if layer.model is not None:
                yield from layer.model.every_layer()


def parse_model(data: Any) -> Model:
    """A saved config (`{"class_name": ..., "config": ...}`) as a model.

    Raises:
        UnsafeModelError: The model holds a Lambda layer or a custom class; the layer is named.
        ModelError: The config is malformed, or of a subclassed model that only its own code can build.
    """
    if not isinstance(data, Mapping) or not isinstance(data.get("class_name"), str):
        raise ModelError("The model config is no object with a 'class_name'.")
    _refuse_lambdas(data)
    if data["class_name"] not in _MODELS:
        _refuse_custom(data, str(data["class_name"]))
        raise ModelError(
            f"The model is a {data['class_name']!r}; only Functional and Sequential models can be read."
        )
    counter = [0]
    return _model(data, (), counter)


def _refuse_lambdas(data: Any) -> None:
    """Look everywhere, without recursion: wrappers, activations, and arguments included."""
    stack: list[tuple[Any, str]] = [(data, "the model")]
    while stack:
        value, owner = stack.pop()
        if isinstance(value, Mapping):
            config = value.get("config")
            if "class_name" in value and isinstance(config, Mapping) and isinstance(config.get("name"), str):
                owner = repr(config["name"][:80])
            if value.get("class_name") in {"Lambda", "__lambda__"}:
                raise UnsafeModelError(
                    f"Layer {owner} is a Lambda: Python code inside the file. skinclf never runs it. "
                    "Rebuild the model with plain layers in its place and save it again."
                )
            stack.extend((item, owner) for key, item in value.items() if key not in _IGNORED)
        elif isinstance(value, (list, tuple)):
            stack.extend((item, owner) for item in value)
        elif value == "<lambda>":
            raise UnsafeModelError(
                f"Layer {owner} uses a lambda, code that is not in the file; it cannot be run."
            )


def _refuse_custom(data: Mapping[str, Any], name: str) -> None:
    module, registered = data.get("module"), data.get("registered_name")
    foreign = isinstance(module, str) and module.split(".")[0] not in _KERAS_ROOTS
    if foreign or (isinstance(registered, str) and ">" in registered) or ">" in str(data.get("class_name")):
        raise UnsafeModelError(
            f"Layer {name!r} is of the custom class {registered or data.get('class_name')!r}"
            f"{f' from {module}' if foreign else ''}: only its own code could build it, and skinclf runs no "
            "code that a model file asks for."
        )


def _model(data: Mapping[str, Any], path: tuple[str, ...], counter: list[int]) -> Model:
    if len(path) > _MAX_DEPTH:
        raise ModelError(f"Models are nested more than {_MAX_DEPTH} deep.")
    kind, config = _MODELS[data["class_name"]], data.get("config")
    if kind == "sequential" and isinstance(config, list):  # before Keras 2.2.3
        config = {"layers": config}
    if not isinstance(config, Mapping) or not isinstance(config.get("layers"), list):
        raise ModelError(f"Model {'/'.join(path) or 'at the top'} has no list of layers.")
    counter[0] += len(config["layers"])
    if counter[0] > _MAX_LAYERS or not config["layers"]:
        raise ModelError(f"The model has no layers, or more than {_MAX_LAYERS:,}.")
    entries = [_entry(item) for item in config["layers"]]
    if len({name for name, _ in entries}) != len(entries):
        raise ModelError(f"Model {'/'.join(path) or 'at the top'} has two layers of one name.")
    make = _sequential if kind == "sequential" else _functional
    return make(path, entries, config, counter)


def _entry(item: Any) -> tuple[str, Mapping[str, Any]]:
    """Name and data of one element of `layers`."""
    if not isinstance(item, Mapping) or not isinstance(item.get("class_name"), str):
        raise ModelError("A layer in the model config has no 'class_name'.")
    config = item.get("config")
    name = item.get("name") or (config.get("name") if isinstance(config, Mapping) else None)
    if not isinstance(name, str) or not 0 < len(name) <= 512:
        raise ModelError(f"A {item['class_name'][:80]!r} layer in the model config has no usable name.")
    _refuse_custom(item, name)
    return name, item


def _layer(
    path: tuple[str, ...], name: str, item: Mapping[str, Any], calls: tuple[Call, ...], counter: list[int]
) -> Layer:
    kind, config = item["class_name"], item.get("config")
    inner = (*path, name)
    if kind in _MODELS:
        return Layer(inner, kind, {}, calls, _model(item, inner, counter))
    if not isinstance(config, Mapping):
        raise ModelError(f"Layer {'/'.join(inner)!r} has no config.")
    return Layer(inner, kind, config, calls)


def _sequential(
    path: tuple[str, ...],
    entries: list[tuple[str, Mapping[str, Any]]],
    config: Mapping[str, Any],
    counter: list[int],
) -> Model:
    layers: list[Layer] = []
    if entries[0][1]["class_name"] != "InputLayer":
        first = entries[0][1].get("config")
        shape = (
            first.get("batch_input_shape", first.get("batch_shape")) if isinstance(first, Mapping) else None
        )
        shape = shape or config.get("build_input_shape")
        layers.append(Layer((*path, "<input>"), "InputLayer", {"batch_shape": shape}, ()))
    for name, item in entries:
        calls = (Call((Ref(layers[-1].path[-1], 0, 0),), {}),) if layers else ()
        layers.append(_layer(path, name, item, calls, counter))
    ends = (Ref(layers[0].path[-1], 0, 0),), (Ref(layers[-1].path[-1], 0, 0),)
    return Model(path, "sequential", tuple(layers), *ends)


def _functional(
    path: tuple[str, ...],
    entries: list[tuple[str, Mapping[str, Any]]],
    config: Mapping[str, Any],
    counter: list[int],
) -> Model:
    calls = {name: read_calls("/".join((*path, name)), item.get("inbound_nodes")) for name, item in entries}
    inputs, outputs = read_ends(config.get("input_layers")), read_ends(config.get("output_layers"))
    if not inputs or not outputs:
        raise ModelError(f"Model {'/'.join(path) or 'at the top'} does not record its inputs and outputs.")
    used: dict[str, set[int]] = {}
    for ref in [*outputs, *(ref for group in calls.values() for call in group for ref in call.refs())]:
        used.setdefault(ref.layer, set()).add(ref.call)
    first: dict[str, int] = {}
    kinds = {name: item["class_name"] for name, item in entries}
    for name, numbers in used.items():
        if name not in calls:
            raise ModelError(
                f"Model {'/'.join(path) or 'at the top'} refers to {name[:80]!r}, which is no layer."
            )
        # Keras 2 counts a nested model's own construction as call 0; its calls outside start at 1.
        first[name] = min(numbers) if kinds[name] in _MODELS else 0
        count = max(1, len(calls[name]))
        if first[name] not in {0, 1} or not all(first[name] <= n < first[name] + count for n in numbers):
            raise ModelError(
                f"Layer {'/'.join((*path, name))!r}: calls {sorted(numbers)} are used, {count} recorded."
            )

    def moved(ref: Ref) -> Ref:
        return Ref(ref.layer, ref.call - first[ref.layer], ref.tensor)

    layers = tuple(
        _layer(
            path,
            name,
            item,
            tuple(Call(map_refs(c.args, moved), map_refs(c.kwargs, moved)) for c in calls[name]),
            counter,
        )
        for name, item in entries
    )
    return Model(path, "functional", layers, inputs, tuple(moved(ref) for ref in outputs))


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
            raise ModelError("A tensor in the model config does not record its source.")
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
