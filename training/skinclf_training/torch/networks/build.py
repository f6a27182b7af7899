"""Networks to train, with a report of their starting weights tensor by tensor."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from skinclf.errors import InvalidArgumentError, ModelError
from skinclf.models.architectures import build_named, load_tensors
from skinclf.models.architectures.efficientnet import EfficientNet, set_stochastic_depth
from skinclf.models.architectures.heads import HeadedNetwork
from skinclf.models.architectures.published import PublishedNetwork
from skinclf_training.config.read import ModelConfig
from skinclf_training.recipes.run_folder import InitReport
from skinclf_training.recipes.starting_weights import weights_path
from skinclf_training.torch.networks.transplant import transplant

log = logging.getLogger("skinclf")
_HEADED = "skinclf/timm-head"
_SHORT = {"simple_cnn": "skinclf/simple-cnn"}


def architecture(config: ModelConfig) -> tuple[str, dict[str, Any]]:
    """Name and arguments by which a bundle builds the configured network."""
    name = _SHORT.get(config.architecture, config.architecture)
    if name.startswith("skinclf/") or not config.head:
        return name, dict(config.args)
    own = {"backbone": name, "head": list(config.head)}
    return _HEADED, own | ({"backbone_args": dict(config.args)} if config.args else {})


def build_network(config: ModelConfig, num_outputs: int) -> tuple[nn.Module, InitReport | None]:
    """Build a network and initialise it as configured, with torch's global generator.

    Args:
        config: Configuration of the network.
        num_outputs: Number of outputs of the last layer.

    Returns:
        The network in training mode, and a report of the starting weights where a file was named.

    Raises:
        InvalidArgumentError: Options exclude each other, or the file of weights does not exist.
        ModelError: The network is unknown, the backbone of the file does not fit it, or ImageNet weights cannot be
            fetched.
    """
    name, args = architecture(config)
    starts = [key for key in ("init", "transplant", "pretrained") if getattr(config, key)]
    if len(starts) > 1:
        raise InvalidArgumentError(
            f"{' and '.join(f'model.{s}' for s in starts)} exclude each other; state one."
        )
    if config.transplant and config.head:
        raise InvalidArgumentError("model.transplant brings a classifier with it; leave model.head empty.")
    if name.startswith("skinclf/") and name != _HEADED:
        if config.head:
            raise InvalidArgumentError(f"{name} has its own head; leave model.head empty.")
        network = _own(name, args, config, num_outputs)
    elif config.head:
        network = HeadedNetwork(_timm(config, 0), config.head, num_outputs)
        _start_layers(network.head)
    else:
        network = _timm(config, num_outputs)
        _reset_head(network)
    if config.transplant:
        fresh = transplant(network, weights_path(config.transplant))
        taken = tuple(k for k in network.state_dict() if k not in fresh)
        return network, InitReport(loaded=taken, skipped=(), fresh=fresh)
    return network, start_from(network, weights_path(config.init)) if config.init else None


def _timm(config: ModelConfig, num_outputs: int) -> nn.Module:
    try:
        return _timm_network(config, num_outputs, pretrained=config.pretrained)
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        if not config.pretrained:
            raise ModelError(
                f"timm cannot build {config.architecture!r} with {config.args}: {reason}."
            ) from None
    # Errors of the connection have no common class; where the network can be built, its weights are what is missing.
    _timm(replace(config, pretrained=False), num_outputs)
    raise ModelError(_not_fetched(config.architecture, reason))


def _timm_network(config: ModelConfig, num_outputs: int, *, pretrained: bool) -> nn.Module:
    import timm

    # No dropout in a backbone before a configured head, which states its own.
    drop_rate = config.drop_rate if num_outputs else 0.0
    regular = {"drop_rate": drop_rate, "drop_path_rate": config.drop_path_rate}
    network: nn.Module = timm.create_model(
        config.architecture,
        pretrained=pretrained,
        num_classes=num_outputs,
        **{k: v for k, v in regular.items() if v},
        **config.args,
    )
    return network


def _not_fetched(name: str, reason: str) -> str:
    return (
        f"The ImageNet weights of {name} could not be fetched ({reason.rstrip('.')}); this needs network access once. "
        "Set model.pretrained=false, with model.init for weights from a file."
    )


def _own(name: str, args: dict[str, Any], config: ModelConfig, num_outputs: int) -> nn.Module:
    """Build one of skinclf's own networks, which define their head and dropout."""
    network = build_named(name, num_outputs, args).train()
    if not hasattr(network, "get_classifier"):
        raise ModelError(f"{name} runs converted models; it cannot be trained from a configuration.")
    _start_layers(network)
    set_stochastic_depth(network, config.drop_path_rate)
    if config.pretrained:
        _take_torchvision(network, args.get("variant"))
    return network


def _take_torchvision(network: nn.Module, variant: str | None) -> None:
    """Load torchvision's ImageNet weights for an EfficientNet with its names, without their classifier."""
    bodies = [module for module in network.modules() if isinstance(module, EfficientNet)]
    if variant is None or not bodies:
        raise InvalidArgumentError(
            "model.pretrained: there are no published ImageNet weights of this network."
        )
    from torchvision.models import get_model_weights

    try:
        tensors = get_model_weights(variant).DEFAULT.get_state_dict(progress=False)
    except (OSError, RuntimeError) as error:
        raise ModelError(_not_fetched(variant, " ".join(str(error).split())[:300])) from None
    load_tensors(
        bodies[0].features,
        {k.removeprefix("features."): v for k, v in tensors.items() if k.startswith("features.")},
        name=f"torchvision {variant}",
    )


def start_from(network: nn.Module, path: Path) -> InitReport:
    """Copy tensors of a file into a network by name; only the classifier may differ.

    Raises:
        InvalidArgumentError: The file cannot be read.
        ModelError: The file is not in safetensors format, or a tensor outside the classifier does not fit.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Tensor] = load_file(path)
    except OSError as error:
        raise InvalidArgumentError(f"model.init {str(path)!r} cannot be read: {error}.") from None
    except SafetensorError as error:
        raise ModelError(f"{path}: not a safetensors file: {error}.") from None
    own = network.state_dict()
    head = head_names(network)
    prefix = body_prefix(network)
    if prefix and not any(k.startswith(prefix) for k in tensors):
        # The file is of a bare backbone, perhaps with a classifier of its own.
        tensors = {prefix + k: v for k, v in tensors.items()}
        head |= {k for k in tensors if k.startswith(_own_classifier(network, prefix))}
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
        path.name,
        len(loaded),
        "; ".join(report.skipped) or "none",
        ", ".join(fresh) or "none",
    )
    return report


def _reset_head(network: nn.Module) -> None:
    """Initialise the classifier near zero: timm's default for some networks suits 1000 classes, not seven."""
    for part in _classifiers(network):
        for module in part.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                _near_zero(module)


def _start_layers(network: nn.Module) -> None:
    """Initialise all layers as torchvision does convolutions (He et al. 2015), the last one near zero."""
    layers = [module for module in network.modules() if isinstance(module, (nn.Linear, nn.Conv2d))]
    for layer in layers[:-1]:
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    _near_zero(layers[-1])


def _near_zero(layer: nn.Linear | nn.Conv2d) -> None:
    nn.init.normal_(layer.weight, std=0.01)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def _classifiers(network: nn.Module) -> tuple[nn.Module, ...]:
    head = network.get_classifier()  # type: ignore[operator]
    return tuple(head) if isinstance(head, (tuple, list)) else (head,)


def head_names(network: nn.Module) -> frozenset[str]:
    """State-dict names of the classifier."""
    ids = {id(t) for part in _classifiers(network) for t in part.state_dict(keep_vars=True).values()}
    return frozenset(k for k, v in network.state_dict(keep_vars=True).items() if id(v) in ids)


def _own_classifier(network: nn.Module, prefix: str) -> tuple[str, ...]:
    """Prefixes of the names of the classifier of a bare backbone."""
    config: Any = getattr(network.get_submodule(prefix[:-1]), "pretrained_cfg", {})
    names = config.get("classifier", "classifier")
    return tuple(f"{prefix}{name}." for name in ([names] if isinstance(names, str) else names or ()))


def body_prefix(network: nn.Module) -> str:
    """Prefix of the names of the backbone's tensors; empty where the network is a bare backbone."""
    kinds = (HeadedNetwork, PublishedNetwork)
    return next(f"{name}." for name, _ in network.named_children()) if isinstance(network, kinds) else ""
