"""timm's networks by name."""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING, Any

from skinclf.errors import ModelError, UnsafeModelError

if TYPE_CHECKING:
    from torch import nn


def build_timm(architecture: str, outputs: int, args: dict[str, Any]) -> nn.Module:
    """One of timm's networks with random weights; 0 outputs leave its classifier out.

    Raises:
        ModelError: timm has no such network, or its arguments do not fit.
        UnsafeModelError: The arguments would have timm read files or the network.
    """
    import timm

    if ":" in architecture or not timm.is_model(architecture.partition(".")[0]):
        # `hf-hub:...` would make timm fetch a model: a model file must not reach the network.
        raise ModelError(
            f"Unknown architecture {architecture!r}: timm {timm.__version__} has no such network."
        )
    own = set(signature(timm.create_model).parameters)
    forbidden = sorted(key for key in args if key in own or key.startswith(("pretrained", "features")))
    if forbidden:
        raise UnsafeModelError(f"{architecture}: model_args may not contain {', '.join(forbidden)}.")
    try:
        model: nn.Module = timm.create_model(architecture, pretrained=False, num_classes=outputs, **args)
    except (RuntimeError, TypeError, ValueError, KeyError, AssertionError, IndexError) as error:
        raise ModelError(f"timm cannot build {architecture!r} with {args}: {error}.") from None
    return model
