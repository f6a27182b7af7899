"""Freezing: trainable parts of a network by phase, and the mode of its batch normalisation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from skinclf.errors import InvalidArgumentError
from skinclf_training.config.optimisation import OptimConfig, Phase
from skinclf_training.torch.networks.build import body_prefix, head_names


@dataclass(frozen=True, slots=True, kw_only=True)
class Learning:
    """Counts of trainable stages and parameters in a phase.

    Attributes:
        stages: Number of backbone stages with a trainable parameter.
        of_stages: Number of backbone stages.
        parameters: Number of trainable parameters.
        of_parameters: Number of parameters.
        frozen_layers: Number of backbone layers without a trainable parameter.
    """

    stages: int
    of_stages: int
    parameters: int
    of_parameters: int
    frozen_layers: int


class Freezer:
    """Freezing of a network by phases and by the policy for batch normalisation.

    Args:
        network: Network of `skinclf_training.torch.networks.build.build_network`.
        optim: Configuration with `phases` and `batchnorm`.

    Raises:
        InvalidArgumentError: A phase names a part that the network does not have.
    """

    def __init__(self, network: nn.Module, optim: OptimConfig) -> None:
        self._policy = optim.batchnorm
        self._parameters = dict(network.named_parameters())
        head = head_names(network)
        self._body = frozenset(name for name in self._parameters if name not in head)
        self._parts = {"stages": stages(network), "last": layers(network)}
        self._norms: dict[str, nn.Module] = {
            name: module
            for name, module in network.named_modules()
            if isinstance(module, _BatchNorm) and f"{name}.num_batches_tracked" not in head
        }
        self._still: list[nn.Module] = []
        for phase in optim.phases:
            self.learning_names(phase.trainable)

    def learning_names(self, text: str) -> frozenset[str]:
        """Names of the parameters that `Phase.trainable` selects; those of the head are always included.

        Raises:
            InvalidArgumentError: The network has no such part.
        """
        head = self._parameters.keys() - self._body
        if text in {"all", "head"}:
            return frozenset(self._parameters if text == "all" else head)
        kind, _, number = text.partition("=")
        parts = self._parts.get(kind, [])
        if not number.isdigit() or not 1 <= int(number) <= len(parts):
            counts = ", ".join(f"{key}=1 to {key}={len(found)}" for key, found in self._parts.items())
            raise InvalidArgumentError(f"Phase {text!r}: this network has all, head, {counts}.")
        return frozenset(head.union(*parts[-int(number) :]))

    def enter(self, phase: Phase) -> Learning:
        """Make the part of a phase trainable, and freeze the rest.

        Where batch normalisation is trained, that of a frozen part keeps its statistics too.
        """
        learning = self.learning_names(phase.trainable)
        if self._policy != "train":
            learning -= {f"{norm}.{kind}" for norm in self._norms for kind in ("weight", "bias")}
        for name, parameter in self._parameters.items():
            parameter.requires_grad_(name in learning)
        self._still = [
            module
            for name, module in self._norms.items()
            if self._policy == "frozen" or (self._policy == "train" and f"{name}.weight" not in learning)
        ]
        for module in self._norms.values():
            module.train()
        self.settle()
        found = self._parts["stages"]
        return Learning(
            stages=sum(bool(learning & set(stage)) for stage in found),
            of_stages=len(found),
            parameters=sum(self._parameters[name].numel() for name in learning),
            of_parameters=sum(p.numel() for p in self._parameters.values()),
            frozen_layers=sum(not learning & set(layer) for layer in self._parts["last"]),
        )

    def settle(self) -> None:
        """Put frozen batch normalisation in eval mode; call it after every switch to training mode."""
        for module in self._still:
            module.eval()


def stages(network: nn.Module) -> list[list[str]]:
    """Parameter names of the stages of a backbone, from the input on.

    A stage is a child of `features` in skinclf's own networks (the nine parts of an EfficientNet-B0), and a coarse
    group of timm in its networks; a closing normalisation belongs to the last stage.
    """
    prefix, head = body_prefix(network), head_names(network)
    body: Any = network.get_submodule(prefix[:-1])
    if hasattr(body, "group_matcher"):
        from timm.models import group_parameters

        groups: Mapping[str, int] = group_parameters(body, body.group_matcher(coarse=True), reverse=True)
        named = {f"{prefix}{name}": group for name, group in groups.items()}
    else:
        names = [name for name, _ in body.named_parameters() if name.startswith("features.")]
        named = {f"{prefix}{name}": int(name.split(".")[1]) for name in names}
    found = _grouped({name: group for name, group in named.items() if name not in head})
    if len(found) > 1 and all(network.get_parameter(name).ndim == 1 for name in found[-1]):
        *found, before, closing = found
        found.append(before + closing)
    return found


def layers(network: nn.Module) -> list[list[str]]:
    """Parameter names of a backbone's layers (modules with parameters of their own), in order of definition."""
    head, order = head_names(network), {}
    for number, (path, module) in enumerate(network.named_modules()):
        for name, _ in module.named_parameters(recurse=False):
            order[f"{path}.{name}" if path else name] = number
    return _grouped({name: number for name, number in order.items() if name not in head})


def _grouped(numbers: Mapping[str, int]) -> list[list[str]]:
    found: dict[int, list[str]] = {}
    for name, number in numbers.items():
        found.setdefault(number, []).append(name)
    return [found[number] for number in sorted(found)]
