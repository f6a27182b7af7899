"""Optimisers for a phase, and the learning rate of every step."""

from __future__ import annotations

import math
from typing import Any

from skinclf_training.keras.framework import keras
from skinclf_training.module import learning_rate_factor
from skinclf_training.schema import OptimConfig, Phase

# Of torch.optim.lr_scheduler.OneCycleLR.
_ONECYCLE_START, _ONECYCLE_END = 1 / 25, 1 / 25e4


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


def phase_at(o: OptimConfig, epoch: int) -> Phase:
    """The phase that an epoch belongs to: the latest that has begun."""
    return max((p for p in (Phase(), *o.phases) if p.epoch <= epoch), key=lambda p: p.epoch)


def schedule_factor(o: OptimConfig, *, step: int, steps_per_epoch: int) -> float:
    """Share of the peak learning rate at a step; `plateau` is not decided here and gives 1.

    Args:
        o: `schedule` and its numbers.
        step: Of the whole run, counted from 0.
        steps_per_epoch: Steps of an epoch.
    """
    total = o.epochs * steps_per_epoch
    if o.schedule == "cosine":
        warmup = max(1, round(o.warmup_epochs * steps_per_epoch))
        return learning_rate_factor(step, warmup=warmup, total=total, floor=o.min_lr)
    if o.schedule == "warm_restarts":
        done, length = step // steps_per_epoch, o.restart_epochs
        while done >= length:
            done, length = done - length, length * o.restart_factor
        return o.min_lr + (1 - o.min_lr) * (1 + math.cos(math.pi * done / length)) / 2
    if o.schedule == "onecycle":
        top, last = o.warmup_epochs / o.epochs * total - 1, total - 1
        if step <= top:
            return _anneal(_ONECYCLE_START, 1.0, step / top if top > 0 else 1.0)
        return _anneal(1.0, _ONECYCLE_END, min(1.0, (step - top) / max(1e-9, last - top)))
    return 1.0


def learning_rates(o: OptimConfig, phase: Phase, factor: float) -> dict[str, float]:
    """Rates of the backbone (`body`) and of the head; `min_lr` is the floor of a plateau."""
    floor = o.min_lr if o.schedule == "plateau" else 0.0
    return {
        "body": max(o.lr * phase.lr * factor, o.lr * floor) * phase.body_lr,
        "head": max(o.head_lr * phase.lr * factor, o.head_lr * floor),
    }


def _anneal(start: float, end: float, done: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2
