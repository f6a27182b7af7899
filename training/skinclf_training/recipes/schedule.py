"""Learning rates as functions of the step, and what the epochs' figures decide; no framework needed.

Everything that has to survive a kill is plain numbers.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from skinclf.errors import InvalidArgumentError
from skinclf_training.config.schema import Config, OptimConfig, Phase

# Of torch.optim.lr_scheduler.OneCycleLR and ReduceLROnPlateau.
_ONECYCLE_START, _ONECYCLE_END = 1 / 25, 1 / 25e4
_PLATEAU_SHARE = 1e-4


def learning_rate_factor(step: int, *, warmup: int, total: int, floor: float) -> float:
    """Linear warm-up, then half a cosine from 1 to `floor` (Loshchilov and Hutter 2017)."""
    if step < warmup:
        return (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, total - warmup))
    return floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2


def schedule_factor(o: OptimConfig, *, step: int, steps_per_epoch: int) -> float:
    """Share of the peak learning rate at a step; `plateau` is decided by `Watch` and gives 1.

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


def _anneal(start: float, end: float, done: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2


def learning_rates(o: OptimConfig, phase: Phase, factor: float) -> dict[str, float]:
    """Rates of the backbone (`body`) and of the `head`; `min_lr` is the floor of a plateau."""
    floor = o.min_lr if o.schedule == "plateau" else 0.0
    return {
        "body": max(o.lr * phase.lr * factor, o.lr * floor) * phase.body_lr,
        "head": max(o.head_lr * phase.lr * factor, o.head_lr * floor),
    }


def phase_at(o: OptimConfig, epoch: int) -> Phase:
    """The phase that an epoch belongs to: the latest that has begun."""
    begun = [phase for phase in o.phases if phase.epoch <= epoch]
    return begun[-1] if begun else Phase()


def check_phases(o: OptimConfig) -> None:
    """Refuse phases that are not a schedule.

    Raises:
        InvalidArgumentError: They do not start at epoch 0, do not follow each other, or begin after the end.
    """
    starts = [phase.epoch for phase in o.phases]
    if starts and (starts[0] != 0 or starts != sorted(set(starts)) or starts[-1] >= o.epochs):
        raise InvalidArgumentError(
            f"optim.phases begin at epochs {starts}; expected 0 first, then rising, all below {o.epochs}."
        )


@dataclass(slots=True)
class Waiting:
    """Counts epochs without a better figure.

    Attributes:
        best: Best figure so far, larger is better; minus infinity before the first.
        waited: Epochs since.
    """

    best: float = -math.inf
    waited: int = 0

    def update(self, value: float, delta: float = 0.0) -> bool:
        """Take an epoch's figure; returns whether it is better by more than `delta` (NaN never is)."""
        if value > self.best + delta:
            self.best, self.waited = value, 0
            return True
        self.waited += 1
        return False


@dataclass(slots=True)
class Watch:
    """What the figure of `Config.select` decides: when the rate drops, and when training stops.

    Both start anew with every phase, so that a phase still to come is never left out.

    Attributes:
        plateau: For the learning rate.
        stop: For early stopping.
        factor: Of the learning rate, by plateaus.
        stopped: Whether training ended before its last epoch.
    """

    plateau: Waiting = field(default_factory=Waiting)
    stop: Waiting = field(default_factory=Waiting)
    factor: float = 1.0
    stopped: bool = False

    def update(self, config: Config, figures: dict[str, float], epoch: int) -> None:
        """Take the figures of an epoch (counted from 0) once it has been validated."""
        o = config.optim
        value = figures[config.select] * (-1 if config.select == "loss" else 1)
        best = self.plateau.best
        self.plateau.update(value, _PLATEAU_SHARE * abs(best) if math.isfinite(best) else 0.0)
        # Torch drops the rate on the first epoch beyond `patience`, Keras on the last of them.
        if o.schedule == "plateau" and self.plateau.waited >= o.patience + (config.framework == "torch"):
            self.factor, self.plateau.waited = self.factor * o.factor, 0
        self.stop.update(value, config.stop.min_delta)
        ahead = any(phase.epoch > epoch for phase in o.phases)
        self.stopped = 0 < config.stop.patience <= self.stop.waited and not ahead
        if phase_at(o, epoch + 1) != phase_at(o, epoch):
            # Before the new phase's first step, which a factor of the old one must not slow down.
            self.plateau, self.stop, self.factor = Waiting(), Waiting(), 1.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Watch:
        """Read them back."""
        return cls(**{**data, "plateau": Waiting(**data["plateau"]), "stop": Waiting(**data["stop"])})
