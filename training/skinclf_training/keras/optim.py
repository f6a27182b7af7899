"""Optimisers of a phase; `skinclf_training.recipes.schedule` sets their rates."""

from __future__ import annotations

from typing import Any

from skinclf_training.config.optimisation import OptimConfig
from skinclf_training.keras.framework import keras


def make_optimizer(o: OptimConfig, variables: list[Any]) -> Any:
    """Build an optimiser with its slots for some variables; its rate is set at every step.

    Weight decay is decoupled (AdamW), and excludes vectors (biases, normalisation).
    """
    if o.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(o.lr, momentum=0.9, nesterov=True)
    elif o.optimizer == "adam":
        optimizer = keras.optimizers.Adam(o.lr)
    else:
        optimizer = keras.optimizers.AdamW(o.lr, weight_decay=o.weight_decay)
        optimizer.exclude_from_weight_decay(var_list=[v for v in variables if len(v.shape) <= 1])
    optimizer.build(variables)
    return optimizer
