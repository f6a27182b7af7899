"""Initialisation of an EfficientNet-B0 from the weights of a MobileNetV2.

The two networks share their layout: the same stem, seven stages of inverted bottlenecks with the same strides, the
same head. EfficientNet-B0 is wider in three stages, has 5 x 5 kernels where MobileNetV2 has 3 x 3, squeeze-and-
excitation, SiLU instead of ReLU6, one block fewer in two stages and one more in another. Each difference is
initialised so that the function stays (nearly) the same; the idea is that of Chen et al., "Net2Net", ICLR 2016.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

import torch
from torch import Tensor, nn

from skinclf.errors import InvalidArgumentError, ModelError

log = logging.getLogger("skinclf")
#: SiLU(s x) / s goes to ReLU(x) for large s; scales and shifts before a SiLU are multiplied by it.
SHARPNESS = 3.0
#: A squeeze-and-excitation gate whose last layer is zero: sigmoid(0), where its gradient is largest.
_GATE = 0.5
#: (stage, block) of MobileNetV2 that each block of EfficientNet-B0 takes, where it is not the same.
_BLOCKS: dict[tuple[int, int], tuple[int, int] | None] = {(2, 1): (2, 2), (5, 3): None}
_NAME = re.compile(r"blocks\.(\d+)\.(\d+)\.(.+)")


def transplant(network: nn.Module, path: Path) -> tuple[str, ...]:
    """Initialise an EfficientNet-B0 from a file with the weights of a MobileNetV2 (both as timm names them).

    Wider layers keep their further channels at their random initial values, and the old channels do not read them;
    kernels lie in the middle of larger ones; the gates of squeeze-and-excitation start at one half; a block without
    a counterpart starts as the identity. A classifier of the same shape is copied too.

    Args:
        network: timm's `efficientnet_b0`, changed in place.
        path: Safetensors file of timm's `mobilenetv2_100`, any number of classes.

    Returns:
        Names of the tensors of the network that stay at their random initial values in full.

    Raises:
        InvalidArgumentError: The file cannot be read.
        ModelError: The file holds no MobileNetV2, or the network is not an EfficientNet-B0.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        source = load_file(path)
    except OSError as error:
        raise InvalidArgumentError(f"model.transplant {str(path)!r} cannot be read: {error}.") from None
    except SafetensorError as error:
        raise ModelError(f"{path}: not a safetensors file: {error}.") from None
    own = network.state_dict()
    if "blocks.5.3.se.conv_expand.weight" not in own:
        raise ModelError("model.transplant starts timm's efficientnet_b0 only; the network is another one.")
    fresh = []
    with torch.no_grad():
        for name, value in own.items():
            donor = _donor(name)
            if name.endswith("num_batches_tracked"):
                continue
            if donor is None or (name.startswith("classifier") and _shape(source, donor) != value.shape):
                fresh.append(name)
            else:
                _embed(value, _tensor(source, donor, path), name, path)
        _neutral(network)
        _adapt(network)
    log.info("Transplanted from %s; at their random initial values: %d tensors", path.name, len(fresh))
    return tuple(fresh)


def _donor(name: str) -> str | None:
    """Name of the MobileNetV2 tensor for an EfficientNet-B0 tensor; None where there is none."""
    if ".se." in name:
        return None
    match = _NAME.fullmatch(name)
    if match is None:
        return name
    stage, block = int(match[1]), int(match[2])
    taken = _BLOCKS.get((stage, block), (stage, block))
    return None if taken is None else f"blocks.{taken[0]}.{taken[1]}.{match[3]}"


def _shape(source: dict[str, Tensor], name: str) -> torch.Size | None:
    return source[name].shape if name in source else None


def _tensor(source: dict[str, Tensor], name: str, path: Path) -> Tensor:
    if name not in source:
        raise ModelError(f"{path}: no tensor {name}; expected the weights of timm's mobilenetv2_100.")
    return source[name].float()


def _embed(target: Tensor, donor: Tensor, name: str, path: Path) -> None:
    """Copy a smaller tensor into the first channels and the middle of a larger one, in place."""
    if target.ndim != donor.ndim or any(t < d for t, d in zip(target.shape, donor.shape, strict=True)):
        raise ModelError(
            f"{path}: {name} is {tuple(donor.shape)} there and {tuple(target.shape)} in the network; "
            "expected a mobilenetv2_100 and an efficientnet_b0."
        )
    if target.ndim < 4:
        target[tuple(slice(0, n) for n in donor.shape)] = donor
        return
    out, inner, rows, cols = donor.shape
    top, left = (target.shape[2] - rows) // 2, (target.shape[3] - cols) // 2
    # Old outputs see old inputs only; new outputs see everything.
    target[:out] = 0
    target[:out, :inner, top : top + rows, left : left + cols] = donor


def _neutral(network: nn.Module) -> None:
    """Set gates to one half, and blocks without a counterpart to the identity."""
    for name, module in network.named_modules():
        if name.endswith("se.conv_expand"):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
    for (stage, block), taken in _BLOCKS.items():
        if taken is None:
            nn.init.zeros_(network.get_submodule(f"blocks.{stage}.{block}.bn3").weight)  # type: ignore[arg-type]


def _adapt(network: nn.Module) -> None:
    """Sharpen what enters a SiLU, and carry the changed scale through to the next normalisation."""
    scale = 1.0
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            if name.endswith("bn3") or name == "blocks.0.0.bn2":
                scale *= _GATE
            module.running_mean.mul_(scale)
            module.running_var.mul_(scale**2)
            # In timm the activation is part of the normalisation; a projection's has none.
            scale = SHARPNESS if isinstance(getattr(module, "act", None), nn.SiLU) else 1.0
            module.weight.mul_(scale)
            module.bias.mul_(scale)
    head = network.get_submodule("classifier")
    assert isinstance(head, nn.Linear)
    head.weight.div_(scale)
