"""Starting weights from a Keras file, read by skinclf's own importer without running code of the file."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skinclf.errors import InvalidArgumentError, ModelError
from skinclf.models.formats.keras.archive import KerasArchive, open_keras
from skinclf.models.formats.keras.config import Layer, parse_model
from skinclf.models.formats.keras.variables import Variables, find_variables, variables
from skinclf_training.keras.framework import keras
from skinclf_training.keras.model import Built
from skinclf_training.recipes.run_folder import InitReport

log = logging.getLogger("skinclf")


@dataclass(frozen=True, slots=True)
class _Slot:
    """Layer with weights, of the model or the file: name, class, and shapes of its arrays by variable."""

    name: str
    kind: str
    shapes: dict[str, tuple[int, ...]]
    layer: Any


def start_from(built: Built, path: Path) -> InitReport:
    """Copy the weights of a file into a model; a head of another shape is skipped.

    Layers are matched by order, class and shapes, and by name unless Keras numbered the name itself: the backbone
    may be saved alone, nested, or flat under any head.

    Args:
        built: Model that receives the weights.
        path: File: `.keras`, a whole-model `.h5`, or weights of the model or of its backbone.

    Raises:
        InvalidArgumentError: The file does not exist.
        ModelError: The file is not a Keras file, or has another backbone.
    """
    if not path.is_file():
        raise InvalidArgumentError(f"model.init {str(path)!r}: no such file.")
    body = _own(built.backbone.layers)
    head = _own(built.head)
    with open_keras(path) as archive:
        found, theirs = _theirs(archive, built)
        _must_fit(path, body, theirs[: len(body)])
        rest = theirs[len(body) :]
        taken = body + (head if [x.shapes for x in head] == [x.shapes for x in rest] else [])
        loaded = []
        for own, other in zip(taken, theirs, strict=False):
            _fill(own, {name: found.read(other.layer, name) for name in own.shapes})
            loaded += [f"{own.name}/{name}" for name in own.shapes]
    skipped = [f"{x.name}: another head" for x in theirs[len(taken) :]]
    fresh = [f"{x.name}/{name}" for x in (body + head)[len(taken) :] for name in x.shapes]
    log.info("Start from %s: %d arrays loaded; fresh: %s", path.name, len(loaded), ", ".join(fresh) or "none")
    return InitReport(loaded=tuple(loaded), skipped=tuple(skipped), fresh=tuple(fresh))


def _theirs(archive: KerasArchive, built: Built) -> tuple[Variables, list[_Slot]]:
    """Layers of the file with weights, in order; a file without an architecture is read as that of `built`."""
    if archive.config is not None:
        model = parse_model(archive.config)
        _same_rescaling(built, [layer.kind for layer in model.every_layer()].count("Rescaling"))
        found = find_variables(archive.tensors, model, same_names=True)
        return found, _slots(found, model.every_layer())
    for candidate in (built.model, built.backbone):
        model = parse_model(json.loads(candidate.to_json()))
        found = find_variables(archive.tensors, model, same_names=False)
        slots = _slots(found, model.every_layer())
        if not found.missing:
            return found, slots
    return found, slots


def _slots(found: Variables, layers: Any) -> list[_Slot]:
    slots = []
    for layer in layers:
        shapes = {}
        for name in _counted(layer):
            place = found.places.get((layer.path, name))
            if place is None:
                found.missing.append(f"{layer.name}/{name}")
            else:
                shapes[name] = tuple(found.tensors.datasets[place].shape)
        if shapes:
            slots.append(_Slot(layer.path[-1], layer.kind, shapes, layer))
    return slots


def _counted(layer: Layer) -> list[str]:
    return [name for name in variables(layer) if name != "count"]


def _own(layers: list[Any]) -> list[_Slot]:
    slots = []
    for layer in layers:
        shapes = {name: tuple(v.shape) for name, v in _variables(layer) if name != "count"}
        if shapes:
            slots.append(_Slot(layer.name, type(layer).__name__, shapes, layer))
    return slots


def _variables(layer: Any) -> list[tuple[str, Any]]:
    """Variables of a layer by the names that the importer uses."""
    alias = {"kernel": "depthwise_kernel"} if isinstance(layer, keras.layers.DepthwiseConv2D) else {}
    return [(alias.get(v.name, str(v.name)), v) for v in layer.weights]


def _fill(slot: _Slot, values: dict[str, npt.NDArray[np.float32]]) -> None:
    for name, variable in _variables(slot.layer):
        if name in values:
            variable.assign(values[name])
    if isinstance(slot.layer, keras.layers.Normalization):
        slot.layer.finalize_state()


def _must_fit(path: Path, body: list[_Slot], theirs: list[_Slot]) -> None:
    wrong = [
        f"{own.name} {own.shapes}"
        for own, other in zip(body, theirs, strict=False)
        if own.shapes != other.shapes or own.kind != other.kind or not _same_name(own.name, other.name)
    ]
    wrong += [own.name for own in body[len(theirs) :]]
    if wrong:
        raise ModelError(
            f"{path}: {len(wrong)} of {len(body)} layers of the backbone are not in the file, such as "
            f"{'; '.join(wrong[:3])}. Name a file of the same architecture; only the head may differ."
        )


def _same_name(one: str, other: str) -> bool:
    """Whether two layers have the same name, or names that Keras numbered itself (`conv2d_3`)."""
    automatic = ("conv2d", "batch_normalization", "dense", "separable_conv2d", "normalization")
    return one == other or any(
        all(name == x or name.removeprefix(f"{x}_").isdigit() for name in (one, other)) for x in automatic
    )


def _same_rescaling(built: Built, theirs: int) -> None:
    """Check the number of scaling layers: Keras adds one to an EfficientNet that it fetches with its weights."""
    own = sum(isinstance(layer, keras.layers.Rescaling) for layer in built.backbone.layers)
    if own != theirs:
        raise ModelError(
            f"The file's model has {theirs} Rescaling layers, this one {own}: Keras adds one to networks that "
            "it fetches itself. Its weights would see another input here, so they are not taken."
        )
