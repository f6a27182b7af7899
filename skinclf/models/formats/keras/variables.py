"""Assignment of a Keras file's datasets to variables of layers: by name, never by position in a list.

Two layouts exist. Legacy HDF5 files (`model_weights`, or weights-only files of Keras 2) keep a group per
top-level layer and name every variable; the order of their lists means nothing (trainable ones come first).
`.weights.h5` files, also inside `.keras`, keep `layers/<class>_<n>/vars/<i>`: the n-th layer of that class
in its model, and the i-th variable of that layer in an order that is fixed per class.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from skinclf.errors import ModelError
from skinclf.models.formats.keras.config import Layer, Model
from skinclf.models.formats.keras.hdf5 import Hdf5

#: Variables in the order of `.weights.h5`, each with the config flag that it depends on; and the class's
#: name there. Keras 2 and 3 differ in the name of a depthwise kernel.
_VARIABLES: Mapping[str, tuple[str, tuple[tuple[str, str | None], ...]]] = {
    "Conv2D": ("conv2d", (("kernel", None), ("bias", "use_bias"))),
    "Dense": ("dense", (("kernel", None), ("bias", "use_bias"))),
    "DepthwiseConv2D": ("depthwise_conv2d", (("depthwise_kernel", None), ("bias", "use_bias"))),
    "SeparableConv2D": (
        "separable_conv2d",
        (("depthwise_kernel", None), ("pointwise_kernel", None), ("bias", "use_bias")),
    ),
    "BatchNormalization": (
        "batch_normalization",
        (("gamma", "scale"), ("beta", "center"), ("moving_mean", None), ("moving_variance", None)),
    ),
    "LayerNormalization": ("layer_normalization", (("gamma", "scale"), ("beta", "center"))),
    "Normalization": ("normalization", (("mean", None), ("variance", None), ("count", None))),
    "LayerScale": ("layer_scale", (("gamma", None),)),
    "PReLU": ("p_re_lu", (("alpha", None),)),
}
_ALIASES = {
    ("DepthwiseConv2D", "kernel"): "depthwise_kernel",
    ("LayerScale", "Variable"): "gamma",
    ("LayerScale", "variable"): "gamma",
}
#: Kept by Keras, but not needed to predict.
_UNUSED = {"count", "seed_generator_state"}


def variables(layer: Layer) -> list[str]:
    """Names of a layer's variables, in the order of `.weights.h5` files."""
    if layer.kind not in _VARIABLES:
        return []
    if layer.kind == "Normalization" and layer.config.get("mean") is not None:
        return []
    return [name for name, flag in _VARIABLES[layer.kind][1] if flag is None or layer.config.get(flag, True)]


@dataclass(slots=True)
class Variables:
    """The variables of a model in an open file.

    Attributes:
        places: Dataset path by layer path and variable name.
        missing: Variables that the model has and the file has not.
        unexpected: Datasets that belong to no layer of the model.
        wrong: Variables of another shape than the model defines.
    """

    tensors: Hdf5
    places: dict[tuple[tuple[str, ...], str], str]
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def fits(self, layer: Layer, name: str, shape: Sequence[int]) -> bool:
        """Whether a variable exists in the shape that the model defines; recorded for `check` when not."""
        place = self.places.get((layer.path, name))
        label = f"{layer.name}/{name}"
        if place is None:
            if label not in self.missing:
                self.missing.append(label)
            return False
        found = self.tensors.datasets[place].shape
        if found != tuple(shape) and label not in self.wrong:
            self.wrong.append(f"{label} {found} instead of {tuple(shape)}")
        return found == tuple(shape)

    def read(self, layer: Layer, name: str) -> npt.NDArray[np.float32]:
        """The numbers of a variable, as float32."""
        return self.tensors.read(self.places[layer.path, name])

    def check(self) -> None:
        """Raise `ModelError` with every name when something was missing, unexpected or of another shape."""
        if self.missing or self.unexpected or self.wrong:
            raise ModelError(
                f"the weights do not fit the architecture. Missing: {_some(self.missing)}. "
                f"Unexpected: {_some(self.unexpected)}. Wrong shape: {_some(self.wrong)}."
            )


def find_variables(tensors: Hdf5, model: Model, *, same_names: bool) -> Variables:
    """Match a file's datasets with a model's layers.

    Args:
        tensors: The file.
        model: The architecture.
        same_names: Whether both come from one saved model, so that recorded layer names must agree.

    Raises:
        ModelError: The file has neither of the known layouts.
    """
    if "model_weights" in tensors.groups:
        return _legacy(tensors, model, "model_weights")
    if tensors.has("layer_names"):
        return _legacy(tensors, model, "")
    container = next((x for x in ("layers", "_layer_checkpoint_dependencies") if x in tensors.groups), None)
    if container is None:
        raise ModelError(
            "the HDF5 file holds no Keras weights: neither 'model_weights', 'layer_names' nor 'layers'."
        )
    return _indexed(tensors, model, container, same_names=same_names)


def _legacy(tensors: Hdf5, model: Model, root: str) -> Variables:
    """One group per top-level layer, which holds its variables: `conv1_conv/kernel:0`."""
    prefix = f"{root}/" if root else ""
    owners: dict[str, list[Layer]] = {layer.path[-1]: [] for layer in model.layers}
    for layer in model.every_layer():
        owners[layer.path[0]].append(layer)
    result = Variables(tensors, {})
    groups: dict[str, dict[str, dict[str, str]]] = {}
    for place in tensors.datasets:
        if not place.startswith(prefix):
            continue
        *parts, variable = place.removeprefix(prefix).split("/")
        # Names of layers may hold slashes, too: the longest that is one.
        depth = next((n for n in range(len(parts), 0, -1) if "/".join(parts[:n]) in owners), 1)
        top, folder = "/".join(parts[:depth]), "/".join(parts[depth:])
        groups.setdefault(top, {}).setdefault(folder, {})[variable.partition(":")[0]] = place
    for top, folders in groups.items():
        taken = _assign(owners.get(top, []), folders, result)
        result.unexpected += [
            place.removeprefix(prefix).partition(":")[0]
            for content in folders.values()
            for name, place in content.items()
            if place not in taken and name not in _UNUSED
        ]
    return result


def _assign(layers: list[Layer], folders: Mapping[str, Mapping[str, str]], result: Variables) -> set[str]:
    """Give the variables of one top-level group to its layers; returns the places that were given."""
    taken: set[str] = set()
    # How much of a nested layer's path Keras notes depends on its version. Layers with the shortest paths
    # choose first: what could be theirs in full could be a deeper layer's only in part.
    for layer in sorted(layers, key=lambda x: len(x.path)):
        options = ["/".join(layer.path[i:]) for i in range(len(layer.path))]
        if len(layers) == 1:  # a plain layer's own group: whatever scope Keras noted, it is this layer
            options += [folder for folder in folders if folder not in options]
        _take(layer, [folders.get(folder, {}) for folder in options], result, taken)
    # A layer that another model made first is noted under that model's name; its own name must be the only one.
    lost = [x for x in layers if variables(x) and not any((x.path, v) in result.places for v in variables(x))]
    names = Counter(layer.path[-1] for layer in lost)
    for layer in lost:
        found = [
            content for folder, content in folders.items() if f"/{folder}".endswith(f"/{layer.path[-1]}")
        ]
        if names[layer.path[-1]] == len(found) == 1:
            _take(layer, found, result, taken)
    return taken


def _take(layer: Layer, contents: Sequence[Mapping[str, str]], result: Variables, taken: set[str]) -> None:
    """Give a layer the first free place of each of its variables."""
    for name in variables(layer):
        aliases = [
            name,
            *(old for (kind, old), new in _ALIASES.items() if (kind, new) == (layer.kind, name)),
        ]
        if layer.kind == "LayerScale":  # made without a name, which Keras 3 replaces by a count
            aliases += [x for content in contents for x in content if re.fullmatch(r"variable_\d+", x)]
        places = (content.get(alias) for content in contents for alias in aliases)
        place = next((x for x in places if x is not None and x not in taken), None)
        if place is not None:
            taken.add(place)
            result.places[layer.path, name] = place


def _indexed(tensors: Hdf5, model: Model, container: str, *, same_names: bool) -> Variables:
    """`layers/<class>_<n>/vars/<i>`, nested models likewise inside their own group."""
    result = Variables(tensors, {})
    stack = [(model, container)]
    while stack:
        current, prefix = stack.pop()
        seen: Counter[str] = Counter()
        for layer in current.layers:
            if layer.model is not None:
                base = layer.model.kind
            elif layer.kind in _VARIABLES:
                base = _VARIABLES[layer.kind][0]
            else:
                continue
            group = f"{prefix}/{base}" if not seen[base] else f"{prefix}/{base}_{seen[base]}"
            seen[base] += 1
            if layer.model is not None:
                stack.append((layer.model, f"{group}/{container}"))
                continue
            names = variables(layer)
            if same_names and names and f"{group}/vars" in tensors.groups:
                recorded = tensors.text("name", group=f"{group}/vars")
                if recorded is not None and recorded != layer.path[-1]:
                    raise ModelError(
                        f"{group!r} holds {recorded!r}; the architecture expects {layer.name!r} there."
                    )
            for index, name in enumerate(names):
                if (place := f"{group}/vars/{index}") in tensors.datasets:
                    result.places[layer.path, name] = place
    used = set(result.places.values())
    for place in tensors.datasets:
        ignored = "/seed_generator/" in place or not place.startswith(f"{container}/")
        if place not in used and not ignored:
            result.unexpected.append(place)
    return result


def _some(names: list[str], limit: int = 5) -> str:
    if not names:
        return "none"
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
