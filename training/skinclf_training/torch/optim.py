"""Optimiser: parameter groups by part and kind; `recipes.schedule` sets their rates at every step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from skinclf_training.config.optimisation import OptimConfig
from skinclf_training.torch.networks.build import head_names


def build_optimizer(network: nn.Module, o: OptimConfig) -> torch.optim.Optimizer:
    """Build an optimiser over all parameters; frozen ones have no gradient and are skipped.

    Groups are named `head/...` or `body/...`, and `.../matrices` or `.../vectors`; the decoupled weight decay of
    `adamw` leaves vectors (biases, normalisation) alone.
    """
    head = head_names(network)
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        groups.setdefault((name in head, parameter.ndim > 1), []).append(parameter)
    parts: list[dict[str, Any]] = [
        {
            "params": parameters,
            "lr": o.head_lr if is_head else o.lr,
            "name": f"{'head' if is_head else 'body'}/{'matrices' if is_matrix else 'vectors'}",
            **({"weight_decay": o.weight_decay if is_matrix else 0.0} if o.optimizer == "adamw" else {}),
        }
        for (is_head, is_matrix), parameters in sorted(groups.items())
    ]
    if o.optimizer == "sgd":
        return torch.optim.SGD(parts, momentum=0.9, nesterov=True)
    return torch.optim.Adam(parts) if o.optimizer == "adam" else torch.optim.AdamW(parts)


def set_rates(optimizer: torch.optim.Optimizer, rates: Mapping[str, float]) -> None:
    """Set the learning rate of every group.

    Args:
        optimizer: Optimiser of `build_optimizer`.
        rates: Learning rates of `body` and `head`.
    """
    for group in optimizer.param_groups:
        group["lr"] = rates[group["name"].partition("/")[0]]
