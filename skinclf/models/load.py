"""Loading models, or their specification alone, by name, repository or path."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from skinclf._utils.files import sha256_file
from skinclf.errors import InvalidArgumentError, ModelError
from skinclf.images.preprocess import SCALINGS, Preprocess, is_scaling
from skinclf.labels import parse_labels
from skinclf.models.bundle import check_weights, read_spec, read_weights
from skinclf.models.combination import load_members
from skinclf.models.formats.detect import FileKind, FolderKind, file_kind, folder_kind
from skinclf.models.loaded import LoadedModel, Stated
from skinclf.models.locate import Place, locate
from skinclf.models.metadata_encoding import read_encoding
from skinclf.models.options import HubOptions, ModelOptions
from skinclf.models.spec import ModelSpec
from skinclf.models.stated_preprocess import input_size, read_preprocess

if TYPE_CHECKING:
    from torch import nn

    from skinclf.models.registry import PublishedModel

logger = logging.getLogger("skinclf")


def load_model(
    model: str | Path | None = None,
    *,
    options: ModelOptions = ModelOptions(),
    hub: HubOptions = HubOptions(),
    runtime: str = "auto",
) -> LoadedModel:
    """Load a model.

    Args:
        model: None for the built-in model; a registered name; `user/repo`, `user/repo@revision` or
            `user/repo/file` on the Hub; a folder (a bundle, a downloaded model, timm's or transformers'
            format) or a model file. Something that exists on this machine is never looked for on the Hub,
            unless it is written `hf-hub:user/repo`.
        options: Labels, preprocessing, malignant classes and architecture, where the files lack them.
        hub: Revision, cache and token for the Hugging Face Hub.
        runtime: Runtime that is to run the model, as for `create_runtime`; `keras` also takes Keras files that
            skinclf cannot rebuild.

    Raises:
        ModelError: The model is missing, damaged, unsafe, incomplete, or contradicts `options`.
        MismatchError: A member of a recipe has changed since the recipe was made.
        InvalidArgumentError: An option has an unusable value.
    """
    place = locate(model, hub, config_only=False)
    loaded = _load(place, options, runtime)
    if loaded.spec.recipe is not None:
        return _recipe(loaded, place, hub, runtime)
    expected = place.entry.sha256 if place.entry else None
    same = expected is None or expected == loaded.spec.weights_sha256
    if not same and expected != _file_hash(place):
        raise ModelError(
            f"{place.name}: the file's SHA-256 is not {str(expected)[:12]}..., which was noted for it. "
            "It is damaged or was replaced; download it again."
        )
    return loaded


def load_spec(
    model: str | Path | None = None,
    *,
    options: ModelOptions = ModelOptions(),
    hub: HubOptions = HubOptions(),
) -> ModelSpec:
    """Load the specification of a model, without its weights where possible.

    For a bundle and for timm's and transformers' formats the configuration is enough: torch is not
    imported, and no weights are fetched. Arguments and errors are those of `load_model`.
    """
    place = locate(model, hub, config_only=True)
    read = _spec_reader(folder_kind(place.path)) if place.path.is_dir() and not place.complete else None
    if read is None:
        return _load(place, options).spec
    _no_state_key(place, options)
    spec = read(
        place.path, _stated(place, options), name=place.name, source=place.source, revision=place.revision
    )
    return _finish(spec, place, options)


class _Reader(Protocol):
    """Function that loads a file or folder of one format."""

    def __call__(
        self, path: Path, stated: Stated, /, *, name: str, source: str, revision: str | None
    ) -> LoadedModel: ...


class _SpecReader(Protocol):
    """Function that reads the contract of a folder from its configuration alone."""

    def __call__(
        self, path: Path, stated: Stated, /, *, name: str, source: str, revision: str | None
    ) -> ModelSpec: ...


def _reader(kind: FileKind | FolderKind) -> _Reader:
    # Imported when needed: some of them import torch.
    if kind == "timm":
        from skinclf.models.formats.timm import import_timm_folder

        return import_timm_folder
    if kind == "transformers":
        from skinclf.models.formats.transformers import import_transformers_folder

        return import_transformers_folder
    if kind == "torch":
        from skinclf.models.formats.torch import import_torch

        return import_torch
    if kind == "onnx":
        from skinclf.models.formats.onnx.file import import_onnx

        return import_onnx
    from skinclf.models.formats.keras.file import import_keras

    return import_keras


def _spec_reader(kind: FolderKind) -> _SpecReader | None:
    if kind == "timm":
        from skinclf.models.formats.timm import read_timm_spec

        return read_timm_spec
    if kind == "transformers":
        from skinclf.models.formats.transformers import read_transformers_spec

        return read_transformers_spec
    return None


def _load(place: Place, options: ModelOptions, runtime: str = "auto") -> LoadedModel:
    kind = folder_kind(place.path) if place.path.is_dir() else file_kind(place.path)
    if kind != "torch":
        _no_state_key(place, options)
    if kind == "bundle":
        return _bundle(place, options)
    loaded = _reader(kind)(
        place.path,
        replace(_stated(place, options), runtime=runtime),
        name=place.name,
        source=place.source,
        revision=place.revision,
    )
    return replace(loaded, spec=_finish(loaded.spec, place, options))


def _no_state_key(place: Place, options: ModelOptions) -> None:
    if options.state_key is not None:
        raise InvalidArgumentError(
            f"{place.name}: `state_key` {options.state_key} is for PyTorch checkpoints; leave it out.",
            parameter="state_key",
        )


def _file_hash(place: Place) -> str | None:
    file = place.path / place.entry.filename if place.path.is_dir() and place.entry else place.path
    return sha256_file(file) if file.is_file() else None


def _finish(spec: ModelSpec, place: Place, options: ModelOptions) -> ModelSpec:
    """Apply the malignant classes and the licence, which no foreign format records."""
    if options.metadata_encoding is not None and spec.encoding is None:
        raise InvalidArgumentError(
            f"{place.name}: the model takes the image alone; leave out `metadata_encoding`, which is for Keras and "
            "ONNX files with a second input.",
            parameter="metadata_encoding",
        )
    if options.malignant is not None:
        spec = spec.replace(labels=spec.labels.with_malignant(options.malignant))
    known = place.entry is not None and place.entry.adapter != "auto"
    if place.entry is not None and (known or not spec.license):
        spec = spec.replace(license=place.entry.license)
    return spec


def _stated(place: Place, options: ModelOptions) -> Stated:
    """Options of the caller, completed by the registry's entry."""
    entry = place.entry
    labels = parse_labels(options.labels) if isinstance(options.labels, str) else options.labels
    if labels is None and entry is not None:
        labels = entry.labels
    if options.preprocess is not None:
        preprocess: Preprocess | None = read_preprocess(options.preprocess, entry)
    else:
        preprocess = entry.preprocess() if entry is not None and entry.variants else None
    named = is_scaling(options.preprocess) and not _is_variant(options.preprocess, entry)
    if named and options.preprocess in SCALINGS:
        logger.warning(
            "%s: `preprocess` %s names no resize; Pillow's bilinear one is used. Name the one of the network's "
            "training, such as %s-opencv or %s-pillow.",
            place.name, *[options.preprocess] * 3,
        )  # fmt: skip
    size = input_size(options.input_size)
    if size is not None:
        if not named or preprocess is None:
            raise InvalidArgumentError(
                "`input_size` goes with a `preprocess` that is the name of a scaling, such as torch-pillow; any "
                "other states its own size.",
                parameter="input_size",
            )
        preprocess = replace(preprocess, height=size[0], width=size[1])
    return Stated(
        labels=labels,
        preprocess=preprocess,
        architecture=options.architecture,
        encoding=None if options.metadata_encoding is None else read_encoding(options.metadata_encoding),
        state_key=options.state_key,
        any_size=named and size is None,
    )


def _is_variant(given: object, entry: PublishedModel | None) -> bool:
    return entry is not None and given in entry.variants


def _bundle(place: Place, options: ModelOptions) -> LoadedModel:
    """Load a bundle, which records everything; options may only agree with it."""
    spec = read_spec(place.path, source=place.source, revision=place.revision)
    if options.labels is not None:
        labels = parse_labels(options.labels) if isinstance(options.labels, str) else options.labels
        _must_agree(place, "labels", ",".join(labels.codes), ",".join(spec.labels.codes))
    if options.architecture is not None:
        _must_agree(place, "architecture", options.architecture, spec.architecture)
    if options.preprocess is not None:
        preprocess = read_preprocess(options.preprocess, None)
        if is_scaling(options.preprocess):
            keys = ["color", "scale", "mean", "std"]
            if options.preprocess not in SCALINGS:
                keys += ["library", "interpolation"]
            preprocess = replace(spec.preprocess, **{key: getattr(preprocess, key) for key in keys})
        _must_agree(
            place, "preprocess", json.dumps(preprocess.to_dict()), json.dumps(spec.preprocess.to_dict())
        )
    size = input_size(options.input_size)
    if size is not None:
        recorded = f"{spec.preprocess.height}x{spec.preprocess.width}"
        _must_agree(place, "input_size", "{}x{}".format(*size), recorded)
    if options.malignant is not None:
        labels = spec.labels.with_malignant(options.malignant)
        if spec.labels.malignant_indices is not None:
            own = ",".join(x.code for x in spec.labels if x.malignant)
            _must_agree(place, "malignant", ",".join(x.code for x in labels if x.malignant), own)
        spec = spec.replace(labels=labels)
    if options.metadata_encoding is not None:
        given = read_encoding(options.metadata_encoding).to_dict()
        own_encoding = None if spec.encoding is None else spec.encoding.to_dict()
        _must_agree(place, "metadata_encoding", json.dumps(given), json.dumps(own_encoding))
    return LoadedModel(
        spec=spec,
        build=partial(_network, place.path, spec),
        check=partial(check_weights, place.path, spec),
        folder=place.path,
    )


def _recipe(loaded: LoadedModel, place: Place, hub: HubOptions, runtime: str) -> LoadedModel:
    """The recipe with its members, which are found from its folder."""
    spec = loaded.spec
    assert spec.recipe is not None
    outside = [m.path for m in spec.recipe.members if m.path is not None and ".." in m.path.split("/")]
    if place.revision is not None and outside:
        raise ModelError(
            f"{place.name}: a recipe from the Hub names its members by repository or built-in name; received the path "
            f"{outside[0]}, outside its folder."
        )

    def load(where: str | Path, revision: str | None) -> LoadedModel:
        return load_model(where, hub=replace(hub, revision=revision), runtime=runtime)

    members = load_members(spec.recipe, place.name, place.path, load)
    return replace(loaded, build=None, check=None, members=members)


def _network(folder: Path, spec: ModelSpec) -> nn.Module:
    from skinclf.models.architectures import restore_network

    return restore_network(spec, read_weights(folder, spec))


def _must_agree(place: Place, parameter: str, given: str, own: str) -> None:
    if given != own:
        raise ModelError(
            f"{place.name} records {own}; `{parameter}` {given} contradicts it. Leave `{parameter}` out.",
            parameter=parameter,
        )
