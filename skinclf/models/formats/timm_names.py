"""timm's names for networks, current and former, and its classifier among a checkpoint's tensors."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from skinclf.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger("skinclf")


def current_name(architecture: str, name: str) -> str:
    """Timm's present name of a network that was renamed; any other name as it is.

    Args:
        architecture: Name of a network.
        name: Name of the model, for messages.

    Raises:
        ModelError: timm has no such network.
    """
    import timm
    from timm.models import get_deprecated_models

    architecture = architecture.removeprefix("timm/")
    renamed = get_deprecated_models().get(architecture)
    if isinstance(renamed, str):
        logger.info("%s: timm's name of %s is now %s.", name, architecture, renamed)
        return renamed
    if not timm.is_model(architecture) or _classifier(architecture) is None:
        raise ModelError(
            f"{name}: timm has no network {architecture!r}; `timm.list_models()` lists what it has.",
            parameter="architecture",
        )
    return architecture


def timm_outputs(tensors: Mapping[str, Tensor], architecture: str, name: str) -> int:
    """Number of outputs, from the classifier's tensor.

    Raises:
        ModelError: See `with_timm_head`.
    """
    head = _classifier(architecture)
    return int(with_timm_head(tensors, architecture, name)[f"{head}.weight"].shape[0])


def with_timm_head(tensors: Mapping[str, Tensor], architecture: str, name: str) -> dict[str, Tensor]:
    """The tensors with the classifier's named as timm names them.

    A classifier that was replaced by a `Sequential` with one linear layer in it, at any place, is that layer. So is
    one that stands beside the network (`backbone.*` and `head.*`).

    Args:
        tensors: State dict.
        architecture: timm's name of the network.
        name: Name of the model, for messages.

    Raises:
        ModelError: There is no classifier, or one of several layers.
    """
    head = _classifier(architecture)
    if head is None:
        raise ModelError(f"{name}: {architecture} has no classifier in timm.", parameter="architecture")
    if f"{head}.weight" in tensors:
        return dict(tensors)
    if (named := with_single_linear(tensors, head)) is not None:
        return named
    if (named := _beside(tensors, head)) is not None:
        return named
    layers = [key for key, value in tensors.items() if key.startswith(f"{head}.") and value.ndim > 0]
    if layers:
        raise ModelError(
            f"{name}: its classifier {head!r} has several layers ({', '.join(layers[:6])}), and the file does not "
            "record the activations between them. skinclf reads a classifier of one linear layer; export the whole "
            "network to ONNX and use that file."
        )
    raise ModelError(f"{name}: no classifier {head!r} among the tensors, as {architecture} has one.")


def with_single_linear(
    tensors: Mapping[str, Tensor], head: str, *, under: str | None = None
) -> dict[str, Tensor] | None:
    """The tensors with the only linear layer under a name called by that name; None when it is not the only one.

    Args:
        tensors: State dict.
        head: Name for the layer.
        under: Name of the module that holds it; None takes `head`.
    """
    start = f"{head if under is None else under}."
    inner = {key: value for key, value in tensors.items() if key.startswith(start)}
    weights = [key for key, value in inner.items() if value.ndim == 2 and key.endswith("weight")]
    if len(weights) != 1:
        return None
    bias = weights[0].removesuffix("weight") + "bias"
    if not set(inner) <= {weights[0], bias}:
        return None
    names = {weights[0]: f"{head}.weight", bias: f"{head}.bias"}
    return {names.get(key, key): value for key, value in tensors.items()}


def _beside(tensors: Mapping[str, Tensor], head: str) -> dict[str, Tensor] | None:
    """A network and its classifier that stand side by side, as one network."""
    groups = {key.partition(".")[0] for key in tensors}
    heads = [group for group in groups if with_single_linear(tensors, head, under=group) is not None]
    if len(groups) != 2 or len(heads) != 1:
        return None
    (backbone,) = groups - set(heads)
    named = with_single_linear(tensors, head, under=heads[0]) or {}
    return {key.removeprefix(f"{backbone}."): value for key, value in named.items()}


def _classifier(architecture: str) -> str | None:
    import timm

    try:
        head = timm.get_pretrained_cfg_value(architecture, "classifier")
    except RuntimeError:  # a name or a tag without a configuration
        return None
    if isinstance(head, (tuple, list)):  # networks with a second head for distillation
        head = head[0]
    return head if isinstance(head, str) else None
