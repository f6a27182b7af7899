"""PyTorch checkpoints, recognised by the names and shapes of their tensors.

Three published training projects are known with their labels and preprocessing; plain timm and
torchvision networks load when labels and preprocessing are stated.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from skinclf._utils.files import sha256_file
from skinclf.errors import ModelError
from skinclf.images.enhance import Step
from skinclf.images.preprocess import Preprocess, scaling
from skinclf.labels import HAM10000, ISIC2019, MELANOMA, LabelSet
from skinclf.models.architectures import restore_network
from skinclf.models.architectures.efficientnet import VARIANTS, recognise
from skinclf.models.architectures.native_size import native_size
from skinclf.models.architectures.published import DESIGNS
from skinclf.models.architectures.torchvision import classifier
from skinclf.models.architectures.torchvision_names import TorchvisionLayout, named_layout, torchvision_layout
from skinclf.models.formats.class_names import activation_for
from skinclf.models.formats.state_dicts import without_common_prefix
from skinclf.models.formats.timm_names import current_name, timm_outputs, with_single_linear, with_timm_head
from skinclf.models.formats.torch_file import Checkpoint, read_checkpoint
from skinclf.models.loaded import LoadedModel, Stated
from skinclf.models.spec import ModelSpec

logger = logging.getLogger("skinclf")

#: Blocks per stage, and whether blocks are bottlenecks, of the ResNets that timm and torchvision share.
_RESNETS = {
    ((2, 2, 2, 2), False): "resnet18",
    ((3, 4, 6, 3), False): "resnet34",
    ((3, 4, 6, 3), True): "resnet50",
    ((3, 4, 23, 3), True): "resnet101",
    ((3, 8, 36, 3), True): "resnet152",
}

#: Prefix of `architecture` for the networks of torchvision.
_TORCHVISION = "torchvision/"


class _Network(NamedTuple):
    """Network of a checkpoint; labels and preprocessing when its project documents them."""

    architecture: str
    args: Mapping[str, Any]
    outputs: int
    labels: LabelSet | None = None
    preprocess: Preprocess | None = None


def import_torch(
    path: Path, stated: Stated, *, name: str, source: str, revision: str | None = None
) -> LoadedModel:
    """Load a `.pth`, `.pt`, `.bin` or `.safetensors` file of tensors.

    Args:
        path: Path of the file.
        stated: Labels, preprocessing and architecture, where the file does not imply them; what is stated
            wins over what a known project documents.
        name: Name for the model.
        source: Origin for the specification: a repository id or a path.
        revision: Commit sha on the Hub; None for local files.

    Raises:
        UnsafeModelError: The file asks for more than tensors and plain values.
        ModelError: The file is damaged, was not recognised, does not fit, or lacks something that must be stated.
    """
    checkpoint, known = _known(read_checkpoint(path, stated.state_key), stated, name)
    labels = stated.labels or known.labels or _no_labels(known, stated, name)
    spec = ModelSpec(
        name=name,
        architecture=known.architecture,
        labels=labels,
        preprocess=_prepared(known, stated, name),
        activation=activation_for(known.outputs, labels, name),
        model_args=known.args,
        training=_provenance(checkpoint),
        source=source,
        revision=revision,
        weights_sha256=sha256_file(path),
    )
    return LoadedModel(spec=spec, network=restore_network(spec, checkpoint.tensors))


def _prepared(known: _Network, stated: Stated, name: str) -> Preprocess:
    """What is stated, else what the project documents; the name of a scaling takes the network's published size."""
    if stated.preprocess is None:
        return known.preprocess or stated.need_preprocess(name)
    if not stated.any_size:
        return stated.preprocess
    own = known.preprocess
    size = (own.height, own.width) if own else native_size(known.architecture, known.args)
    return stated.preprocess_at(name, size) or stated.need_preprocess(name)


def _no_labels(known: _Network, stated: Stated, name: str) -> LabelSet:
    design = known.args.get("design")
    if design == "skin-condition-assistant" and known.outputs == len(ISIC2019) + 1:
        raise ModelError(
            f"{name}: nine outputs, that is ISIC 2019 with its empty class UNK. State all nine to use it, "
            f"for example as `labels` {','.join(ISIC2019.codes)},unk.",
            parameter="labels",
        )
    return stated.need_labels(name)


def _known(checkpoint: Checkpoint, stated: Stated, name: str) -> tuple[Checkpoint, _Network]:
    """The network of a checkpoint, and the checkpoint with its tensors named as that network has them."""
    if (stated.architecture or "").startswith(_TORCHVISION):
        network = str(stated.architecture).removeprefix(_TORCHVISION)
        return _torchvision(checkpoint, named_layout(network) or _built_layout(network), name)
    if recognise(checkpoint.shapes) and "classifier.1.weight" not in checkpoint.tensors:
        named = with_single_linear(checkpoint.tensors, "classifier.1", under="classifier")
        checkpoint = Checkpoint(named or checkpoint.tensors, checkpoint.extra)
    if stated.architecture is None and (found := torchvision_layout(checkpoint.shapes)) is not None:
        return _torchvision(checkpoint, found, name)
    inner = without_common_prefix(checkpoint.tensors)
    try:
        known = _recognise(checkpoint, stated, name)
    except ModelError as first:
        if inner is None:
            raise
        try:
            return _known(Checkpoint(inner, checkpoint.extra), stated, name)
        except ModelError as second:
            # A project's own layout has its own explanation.
            own = any(
                key.startswith(f"{plan.attribute}.")
                for key in checkpoint.tensors
                for plan in DESIGNS.values()
            )
            raise (first if own else second) from None
    if not known.architecture.startswith("skinclf/"):
        tensors = with_timm_head(checkpoint.tensors, known.architecture, name)
        checkpoint = Checkpoint(tensors, checkpoint.extra)
    return checkpoint, known


def _built_layout(network: str) -> TorchvisionLayout:
    """Where a network that is not in the table, such as a ResNet, keeps its classifier."""
    head = classifier(network)
    return TorchvisionLayout(network, head, head)


def _torchvision(checkpoint: Checkpoint, layout: TorchvisionLayout, name: str) -> tuple[Checkpoint, _Network]:
    """A network of torchvision that was named by the user or recognised."""
    network, head, root = layout
    tensors = checkpoint.tensors
    while f"{head}.weight" not in tensors:
        inner = with_single_linear(tensors, head, under=root) or without_common_prefix(tensors)
        if inner is None:
            layers = [key for key, value in tensors.items() if key.startswith(f"{root}.") and value.ndim > 1]
            raise ModelError(
                f"{name}: its classifier {root!r} has several layers ({', '.join(layers[:6])}), and the file does not "
                "record the activations between them. Export the whole network to ONNX and use that file."
                if len(layers) > 1
                else f"{name}: no classifier {head!r} among the tensors, as torchvision's {network} has one."
            )
        tensors = inner
    known = _Network("skinclf/torchvision", {"name": network}, tensors[f"{head}.weight"].shape[0])
    return Checkpoint(tensors, checkpoint.extra), known


def _recognise(checkpoint: Checkpoint, stated: Stated, name: str) -> _Network:
    shapes = checkpoint.shapes
    for design, plan in DESIGNS.items():
        prefix = f"{plan.attribute}."
        inner = {k.removeprefix(prefix): v for k, v in shapes.items() if k.startswith(prefix)}
        if not any(k.startswith("features.") for k in inner) or plan.output not in shapes:
            continue
        variant = recognise(inner)
        _check_dermalyze(checkpoint, variant, name)
        if variant is None:
            raise ModelError(
                f"{name}: laid out like {design}, but the network inside is none of {', '.join(VARIANTS)}."
            )
        _agree(stated, {variant, variant.replace("_v2", "v2")}, name)
        outputs = shapes[plan.output][0]
        labels, preprocess = _documented(design, outputs, checkpoint, name)
        args = {"design": design, "variant": variant}
        return _Network("skinclf/published-efficientnet", args, outputs, labels, preprocess)
    return _plain(checkpoint, stated, name)


def _documented(
    design: str, outputs: int, checkpoint: Checkpoint, name: str
) -> tuple[LabelSet | None, Preprocess]:
    """Labels (when the head has their number) and preprocessing of a project, as its own code has them."""
    if design == "skin-condition-assistant":
        labels, preprocess = ISIC2019, scaling("torch", steps=_STORED_512)
    elif design == "melanoma-analyzer":
        labels, preprocess = MELANOMA, scaling("torch", height=380, width=380)
    else:
        size = _model_config(checkpoint).get("image_size", 224)
        if type(size) is not int:
            raise ModelError(f"{name}: config.model.image_size is {size!r}; expected a whole number.")
        labels, preprocess = HAM10000, scaling("torch", height=size, width=size)
    return (labels if outputs == len(labels) else None), preprocess


# The project stored its pictures twice as JPEG files: resized, then enhanced.
_STORED_512 = (
    Step("resize", {"height": 512, "width": 512}),
    Step("jpeg", {"quality": 90}),
    Step("clahe", {"clip_limit": 2.0, "tile": 8}),
    Step("hair_removal", {"kernel": 17, "threshold": 10, "dilate": 3, "radius": 3}),
    Step("jpeg", {"quality": 90}),
)


def _model_config(checkpoint: Checkpoint) -> Mapping[str, Any]:
    config = checkpoint.extra.get("config")
    model = config.get("model") if isinstance(config, Mapping) else None
    return model if isinstance(model, Mapping) else {}


def _check_dermalyze(checkpoint: Checkpoint, variant: str | None, name: str) -> None:
    """Later revisions of that project keep the names but add backbones, averaged weights and patient data."""
    if checkpoint.extra.get("metadata_encoder_state"):
        raise ModelError(
            f"{name}: this network also reads patient data (metadata_encoder_state); not supported."
        )
    backbone = _model_config(checkpoint).get("backbone")
    if variant is None and backbone is not None:
        raise ModelError(
            f"{name}: its backbone {backbone!r} is not supported; skinclf reads this layout with "
            f"{', '.join(VARIANTS)}."
        )
    if checkpoint.extra.get("ema_state_dict"):
        logger.warning(
            "%s: the file also holds averaged weights (ema_state_dict); the plain ones are used.", name
        )


def _plain(checkpoint: Checkpoint, stated: Stated, name: str) -> _Network:
    """A timm or torchvision network without anything around it."""
    shapes = checkpoint.shapes
    variant = recognise(shapes)
    if variant is not None and (head := shapes.get("classifier.1.weight")) is not None:
        _agree(stated, {variant, variant.replace("_v2", "v2"), "skinclf/torchvision-efficientnet"}, name)
        return _Network("skinclf/torchvision-efficientnet", {"variant": variant}, head[0])
    resnet = _resnet(shapes)
    architecture = stated.architecture or resnet
    if architecture is None:
        raise ModelError(
            f"{name}: tensors such as {', '.join(list(shapes)[:3])} belong to no network that skinclf "
            "recognises. If it is a timm network, name it as `architecture`.",
            parameter="architecture",
        )
    architecture = current_name(architecture, name)
    return _Network(architecture, {}, timm_outputs(checkpoint.tensors, architecture, name))


def _resnet(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    if shapes.get("conv1.weight") != (64, 3, 7, 7) or shapes.get("layer1.0.conv2.weight") != (64, 64, 3, 3):
        return None
    blocks = [{m[1] for k in shapes if (m := re.match(rf"layer{i}\.(\d+)\.", k))} for i in range(1, 5)]
    depths = (len(blocks[0]), len(blocks[1]), len(blocks[2]), len(blocks[3]))
    return _RESNETS.get((depths, "layer1.0.conv3.weight" in shapes))


def _agree(stated: Stated, names: set[str], name: str) -> None:
    if stated.architecture is not None and stated.architecture not in names:
        raise ModelError(
            f"{name}: the file holds {min(names)}, but `architecture` is {stated.architecture}. Leave it out.",
            parameter="architecture",
        )


def _provenance(checkpoint: Checkpoint) -> dict[str, Any]:
    """The training facts beside the weights that are plain finite numbers."""
    facts = {"epoch": checkpoint.extra.get("epoch"), "val_acc": checkpoint.extra.get("val_acc")}
    metrics = checkpoint.extra.get("metrics")
    if isinstance(metrics, Mapping):
        facts.update(metrics)
    return {str(k): v for k, v in facts.items() if isinstance(v, (int, float)) and math.isfinite(v)}
