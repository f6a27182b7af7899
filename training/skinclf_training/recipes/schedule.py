"""Learning-rate schedules, phases, plateaus and early stopping, independent of the framework.

All state is plain numbers, so that a checkpoint can hold it.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from skinclf.errors import InvalidArgumentError
from skinclf_training.config.optimisation import OptimConfig, Phase
from skinclf_training.config.schema import Config

# Of torch.optim.lr_scheduler.OneCycleLR and ReduceLROnPlateau.
_ONECYCLE_START, _ONECYCLE_END = 1 / 25, 1 / 25e4
_PLATEAU_SHARE = 1e-4


def learning_rate_factor(step: int, *, warmup: int, total: int, floor: float) -> float:
    """Cosine schedule: linear warm-up, then half a cosine from 1 to `floor` (Loshchilov and Hutter 2017)."""
    if step < warmup:
        return (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, total - warmup))
    return floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2


def schedule_factor(o: OptimConfig, *, step: int, steps_per_epoch: int) -> float:
    """Share of the peak learning rate at a step; `plateau` is decided by `Watch` and gives 1.

    Args:
        o: Configuration of the optimiser.
        step: Step of the whole run, counted from 0.
        steps_per_epoch: Number of steps of an epoch.
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
    """Learning rates of the backbone (`body`) and of the `head`; `min_lr` is the floor of a plateau."""
    floor = o.min_lr if o.schedule == "plateau" else 0.0
    return {
        "body": max(o.lr * phase.lr * factor, o.lr * floor) * phase.body_lr,
        "head": max(o.head_lr * phase.lr * factor, o.head_lr * floor),
    }


def phase_at(o: OptimConfig, epoch: int) -> Phase:
    """Phase of an epoch: the latest that has begun."""
    begun = [phase for phase in o.phases if phase.epoch <= epoch]
    return begun[-1] if begun else Phase()


def check_phases(o: OptimConfig) -> None:
    """Check the order of the phases.

    Raises:
        InvalidArgumentError: The phases do not start at epoch 0, are not in ascending order, or begin after the end.
    """
    starts = [phase.epoch for phase in o.phases]
    if starts and (starts[0] != 0 or starts != sorted(set(starts)) or starts[-1] >= o.epochs):
        raise InvalidArgumentError(
            f"optim.phases begin at epochs {starts}; expected 0 first, then rising, all below {o.epochs}."
        )


@dataclass(slots=True)
class Waiting:
    """Counter of epochs without a better figure.

    Attributes:
        best: Best figure so far, larger is better; minus infinity before the first.
        waited: Number of epochs since the best figure.
    """

    best: float = -math.inf
    waited: int = 0

    def update(self, value: float, delta: float = 0.0) -> bool:
        """Add the figure of an epoch; return whether it is better by more than `delta` (NaN never is)."""
        if value > self.best + delta:
            self.best, self.waited = value, 0
            return True
        self.waited += 1
        return False


@dataclass(slots=True)
class Watch:
    """Plateau schedule and early stopping on the figure of `Config.select`.

    Both restart with every phase, so that a phase still to come is never left out.

    Attributes:
        plateau: Counter of the plateau schedule.
        stop: Counter of early stopping.
        factor: Factor of the plateau schedule on the learning rate.
        stopped: Whether training ended before its last epoch.
    """

    plateau: Waiting = field(default_factory=Waiting)
    stop: Waiting = field(default_factory=Waiting)
    factor: float = 1.0
    stopped: bool = False

    def update(self, config: Config, figures: dict[str, float], epoch: int) -> None:
        """Add the validation figures of an epoch (counted from 0)."""
        o = config.optim
        value = config.score(figures, epoch)
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
        """Read the form that `to_dict` writes."""
        return cls(**{**data, "plateau": Waiting(**data["plateau"]), "stop": Waiting(**data["stop"])})
