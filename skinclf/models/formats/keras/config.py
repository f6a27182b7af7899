"""The architecture that a Keras file holds, as plain data: models, layers, and the calls between them.

Reads what Keras 2 and 3 write without making any of it: a layer here is a class name and a dict. Lambda
layers and custom classes, which would need code to run, are refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from skinclf.errors import ModelError, UnsafeModelError
from skinclf.models.formats.keras.calls import Call, Ref, map_refs, read_calls, read_ends

_MAX_LAYERS = 10_000
_MAX_DEPTH = 12
_MODELS = {"Functional": "functional", "Model": "functional", "Sequential": "sequential"}
_KERAS_ROOTS = {"keras", "tf_keras", "builtins", "tensorflow"}
#: Parts of a config that nothing is built from: training, and what Keras knows about shapes.
_IGNORED = {"compile_config", "build_config"}


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer; `model` is set when it is a model itself.

    Attributes:
        path: Names of the models around it and its own name last.
        kind: Keras class name.
        config: What its `get_config` returned.
        calls: Its calls in its model; none for an input.
        model: Its content, for a nested model.
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


def parse_json(text: str | bytes, what: str) -> Any:
    """JSON text as data; a string that holds JSON again (`json.dump(model.to_json())`) is opened too.

    Raises:
        ModelError: It is not JSON, or nested beyond reason.
    """
    try:
        data = json.loads(text)
        return json.loads(data) if isinstance(data, str) else data
    except (ValueError, RecursionError) as error:
        raise ModelError(
            f"{what} is not readable as JSON: {type(error).__name__}: {str(error)[:120]}."
        ) from None


def parse_model(data: Any) -> Model:
    """A saved config (`{"class_name": ..., "config": ...}`) as a model.

    Raises:
        UnsafeModelError: It holds a Lambda layer or a custom class; the layer is named.
        ModelError: It is malformed, or a subclassed model that only its own code can build.
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
        raise ModelError(f"Model {'/'.join(path) or 'at the top'} does not say its inputs and outputs.")
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
