"""The network to train, with its starting weights accounted for tensor by tensor."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from skinclf.errors import InvalidInputError, ModelError
from skinclf_training.config import ModelConfig

log = logging.getLogger("skinclf")


@dataclass(frozen=True, slots=True, kw_only=True)
class InitReport:
    """What became of a file of starting weights.

    Attributes:
        loaded: Tensors taken, by name.
        skipped: Tensors of the file not taken, with the reason.
        fresh: Tensors of the network that stay at their random start.
    """

    loaded: tuple[str, ...]
    skipped: tuple[str, ...]
    fresh: tuple[str, ...]


def build_network(config: ModelConfig, num_classes: int) -> tuple[nn.Module, InitReport | None]:
    """Build a timm network and start it as configured; draws from torch's global generator.

    Raises:
        InvalidInputError: `init` and `pretrained` together, or an init file that does not exist.
        ModelError: timm does not know the network, or the file's body does not fit it.
    """
    import timm

    if config.init and config.pretrained:
        raise InvalidInputError("model.init and model.pretrained exclude each other; state one.")
    regular = {"drop_rate": config.drop_rate, "drop_path_rate": config.drop_path_rate}
    regular = {k: v for k, v in regular.items() if v}
    try:
        network: nn.Module = timm.create_model(
            config.architecture,
            pretrained=config.pretrained,
            num_classes=num_classes,
            **regular,
            **config.args,
        )
    except (RuntimeError, TypeError, ValueError, KeyError) as error:
        raise ModelError(f"timm cannot build {config.architecture!r} with {config.args}: {error}.") from None
    _reset_head(network)
    return network, start_from(network, Path(config.init)) if config.init else None


def start_from(network: nn.Module, path: Path) -> InitReport:
    """Copy a file's tensors into a network by name; the classifier alone may differ.

    Raises:
        InvalidInputError: No such file.
        ModelError: No safetensors file, or a tensor outside the classifier does not fit.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Tensor] = load_file(path)
    except OSError as error:
        raise InvalidInputError(f"model.init {str(path)!r} cannot be read: {error}.") from None
    except SafetensorError as error:
        raise ModelError(f"{path}: not a safetensors file: {error}.") from None
    own = network.state_dict()
    head = head_names(network)
    loaded = {k: v.to(own[k].dtype) for k, v in tensors.items() if k in own and own[k].shape == v.shape}
    skipped = {
        k: "not in the network"
        if k not in own
        else f"{tuple(v.shape)} in the file, {tuple(own[k].shape)} needed"
        for k, v in tensors.items()
        if k not in loaded
    }
    fresh = [k for k in own if k not in loaded and not k.endswith("num_batches_tracked")]
    stray = [f"{k} ({why})" for k, why in skipped.items() if k not in head] + [
        k for k in fresh if k not in head
    ]
    if stray:
        raise ModelError(
            f"{path}: these tensors do not fit the network: {', '.join(stray[:8])}"
            f"{f' and {len(stray) - 8} more' if len(stray) > 8 else ''}. Only the classifier may differ."
        )
    network.load_state_dict(loaded, strict=False)
    report = InitReport(
        loaded=tuple(loaded), skipped=tuple(f"{k}: {why}" for k, why in skipped.items()), fresh=tuple(fresh)
    )
    log.info(
        "Start from %s: %d tensors loaded; skipped: %s; fresh: %s",
        path.name, len(loaded), "; ".join(report.skipped) or "none", ", ".join(fresh) or "none",
    )  # fmt: skip
    return report


def _reset_head(network: nn.Module) -> None:
    """Start the classifier near zero: timm's default for some networks suits 1000 classes, not seven."""
    head = network.get_classifier()  # type: ignore[operator]
    for part in head if isinstance(head, (tuple, list)) else (head,):
        for module in part.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                nn.init.normal_(module.weight, std=0.01)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


def head_names(network: nn.Module) -> frozenset[str]:
    """State-dict names of the classifier of a timm network."""
    head = network.get_classifier()  # type: ignore[operator]
    parts = head if isinstance(head, (tuple, list)) else (head,)
    ids = {id(tensor) for part in parts for tensor in part.state_dict(keep_vars=True).values()}
    return frozenset(k for k, v in network.state_dict(keep_vars=True).items() if id(v) in ids)
