"""Folders and Hub repositories in timm's format: `config.json` beside the weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skinclf._utils.files import sha256_file
from skinclf._utils.lfs import refuse_pointer
from skinclf.errors import ModelError
from skinclf.images.preprocess import IMAGENET_MEAN, IMAGENET_STD, Fit, Preprocess
from skinclf.models.architectures import restore_network
from skinclf.models.bundle import CONFIG
from skinclf.models.formats.class_names import activation_for, labels_from_names
from skinclf.models.loaded import LoadedModel, Stated
from skinclf.models.spec import ModelSpec, read_config

if TYPE_CHECKING:
    from torch import nn

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
_WRAPPER = "timm_model."  # transformers' name for a timm network inside


def import_timm_folder(
    folder: Path, stated: Stated, *, name: str, source: str, revision: str | None = None
) -> LoadedModel:
    """Load a model that timm's `save_for_hf` or `push_to_hf_hub` wrote.

    Images are prepared as timm's own evaluation transform does for the model (`resolve_model_data_config`).

    Args:
        folder: Folder with `config.json` and the weights.
        stated: Labels and preprocessing, where the configuration lacks them; what is stated wins.
        name: Name for the model.
        source: Origin for the specification: a repository id or a path.
        revision: Commit sha on the Hub; None for local files.

    Raises:
        ModelError: A file or fact is missing, does not fit, or must be stated.
    """
    weights = weights_file(folder, name)
    spec = read_timm_spec(folder, stated, name=name, source=source, revision=revision)
    spec = spec.replace(weights_sha256=sha256_file(weights))
    return LoadedModel(spec=spec, build=lambda: _build(weights, spec))


def read_timm_spec(
    folder: Path, stated: Stated, *, name: str, source: str, revision: str | None = None
) -> ModelSpec:
    """The specification alone; only `config.json` is read, and neither torch nor timm is imported.

    Raises:
        ModelError: The configuration is malformed or unsupported, or a fact must be stated.
    """
    config = read_config(folder / CONFIG)
    cfg = config.get("pretrained_cfg") or config  # older repositories have its keys at the top
    args = config.get("model_args") or {}
    if not isinstance(cfg, Mapping) or not isinstance(args, Mapping):
        raise ModelError(f"{name}: pretrained_cfg and model_args in {CONFIG} must be objects.")
    if args.get("in_chans", 3) != 3:
        raise ModelError(f"{name}: the network takes {args['in_chans']!r} channels; skinclf gives it RGB.")
    outputs = config.get("num_classes", cfg.get("num_classes"))
    if type(outputs) is not int or outputs < 1:
        raise ModelError(f"{name}: {CONFIG} has no usable num_classes (found {outputs!r}).")
    if args.get("num_classes", outputs) != outputs:
        raise ModelError(f"{name}: num_classes is {outputs}, but model_args have {args['num_classes']!r}.")
    args = {key: value for key, value in args.items() if key != "num_classes"}
    architecture = str(config["architecture"])
    if stated.architecture not in {None, architecture}:
        raise ModelError(
            f"{name}: {CONFIG} names {architecture}; leave out `architecture` {stated.architecture}.",
            parameter="architecture",
        )
    own = labels_from_names(config.get("label_names") or cfg.get("label_names"), outputs, name=name)
    labels = stated.labels or own or stated.need_labels(name)
    preprocess = stated.preprocess_at(name, _input_size(cfg)) or _preprocess(cfg, name)
    if cfg.get("fixed_input_size"):
        args = {"img_size": [preprocess.height, preprocess.width], **args}
    return ModelSpec(
        name=name,
        architecture=architecture,
        labels=labels,
        preprocess=preprocess,
        activation=activation_for(outputs, labels, name),
        model_args=args,
        license=str(cfg.get("license") or ""),
        source=source,
        revision=revision,
    )


def weights_file(folder: Path, name: str) -> Path:
    """The file with the tensors, safetensors first.

    Raises:
        ModelError: The folder holds no weights, or a Git LFS pointer in their place.
    """
    for file in WEIGHT_FILES:
        if (folder / file).is_file():
            refuse_pointer(folder / file)
            return folder / file
    raise ModelError(f"{name}: no weights in {folder}; expected {' or '.join(WEIGHT_FILES)}.")


def _build(weights: Path, spec: ModelSpec) -> nn.Module:
    from skinclf.models.formats.torch_file import read_checkpoint

    tensors = read_checkpoint(weights).tensors
    if all(key.startswith(_WRAPPER) for key in tensors):
        tensors = {key.removeprefix(_WRAPPER): value for key, value in tensors.items()}
    return restore_network(spec, tensors)


def _input_size(cfg: Mapping[str, Any]) -> tuple[int, int] | None:
    size = cfg.get("input_size")
    good = isinstance(size, (list, tuple)) and len(size) == 3 and all(type(x) is int for x in size)
    return (size[1], size[2]) if good and size else None


def _preprocess(cfg: Mapping[str, Any], name: str) -> Preprocess:
    """The evaluation transform of timm as a `Preprocess`; other transforms are refused."""
    mode = cfg.get("crop_mode") or "center"
    fits: Mapping[str, Fit] = {"center": "crop", "squash": "squash", "border": "pad"}
    try:
        if not cfg.get("input_size"):
            raise ModelError(
                f"{name}: pretrained_cfg in {CONFIG} has no input_size. State `preprocess` by its name, with "
                "`input_size`, or as a JSON file.",
                parameter="preprocess",
            )
        channels, height, width = cfg["input_size"]
        mean, std = tuple(cfg.get("mean") or IMAGENET_MEAN), tuple(cfg.get("std") or IMAGENET_STD)
        crop_pct = float(cfg.get("crop_pct") or 0.875)
        if channels != 3:
            raise ModelError(f"{name}: input_size is {cfg['input_size']}; skinclf gives the network RGB.")
        if mode not in fits or (mode != "center" and crop_pct != 1.0):
            raise ModelError(
                f"{name}: skinclf has no resize with crop_mode {mode!r} and crop_pct {crop_pct:g}. "
                "State `preprocess` as a JSON file.",
                parameter="preprocess",
            )
        fill = {round(255 * m) for m in mean}
        if mode == "border" and len(fill) > 1:
            raise ModelError(
                f"{name}: timm pads with the colour {sorted(fill)}, skinclf with grey only. "
                "State `preprocess` as a JSON file.",
                parameter="preprocess",
            )
        return Preprocess(
            height=height,
            width=width,
            fit=fits[mode],
            crop_pct=crop_pct,
            interpolation=str(cfg.get("interpolation") or "bicubic"),
            mean=mean,
            std=std,
            fill=fill.pop() if mode == "border" else 0,
        )
    except (TypeError, ValueError) as error:
        raise ModelError(f"{name}: pretrained_cfg in {CONFIG} is malformed: {error}.") from None
