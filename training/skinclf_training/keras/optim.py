"""Optimisers for a phase; the rates are those of `skinclf_training.recipes.schedule`."""

from __future__ import annotations

from typing import Any

from skinclf_training.config.schema import OptimConfig
from skinclf_training.keras.framework import keras


def make_optimizer(o: OptimConfig, variables: list[Any]) -> Any:
    """An optimiser with its slots for some variables; its rate is set at every step.

    Weight decay is decoupled (AdamW), and leaves vectors (biases, normalisation) alone.
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
