"""torchvision's classification networks by name, built by torchvision itself."""

from __future__ import annotations

from typing import Any

from torch import nn

from skinclf.errors import MissingExtraError, ModelError

#: Their `transform_input` changes the pixels, and a state dict does not record it.
_UNRECORDED = frozenset({"googlenet", "inception_v3"})


def build(num_outputs: int, *, name: str) -> nn.Module:
    """One of torchvision's classification networks with random weights.

    Args:
        num_outputs: Width of the last layer.
        name: torchvision's name, such as `mobilenet_v3_large`.

    Raises:
        ModelError: torchvision has no such network, or its state dict does not record all that it computes.
        MissingExtraError: torchvision is not installed.
    """
    models = _models()
    if name in _UNRECORDED:
        raise ModelError(
            f"torchvision's {name}: its state dict does not record `transform_input`. Export the network to ONNX and "
            "use that file.",
            parameter="architecture",
        )
    if name not in models.list_models(module=models):
        raise ModelError(f"torchvision has no classification network {name!r}.", parameter="architecture")
    network: nn.Module = models.get_model(name, weights=None, num_classes=num_outputs)
    return network


def classifier(name: str) -> str:
    """Name of the layer that gives the outputs.

    Raises:
        ModelError: See `build`.
        MissingExtraError: torchvision is not installed.
    """
    width = 1009  # a prime that no other layer has
    # Not on the meta device, where some of these networks cannot be built.
    shapes = {key: value.shape for key, value in build(width, name=name).state_dict().items()}
    return next(key for key, shape in shapes.items() if len(shape) > 1 and shape[0] == width).removesuffix(
        ".weight"
    )


def _models() -> Any:
    try:
        import torchvision.models
    except ImportError:
        raise MissingExtraError("train", "A network of torchvision") from None
    return torchvision.models
