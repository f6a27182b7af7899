"""What follows an epoch: the best one is remembered across phases, the rate drops, training stops.

All of it is plain numbers, saved with every checkpoint.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from skinclf_training.schema import Config

# Keras' ReduceLROnPlateau.
_PLATEAU_DELTA = 1e-4


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
class Progress:
    """Where a run is, and what its epochs said.

    Attributes:
        epoch: The running epoch, counted from 0.
        batch: The epoch's next batch.
        step: Optimiser steps so far.
        seconds: Of the running epoch.
        rows: History, one row per epoch.
        best: For the best checkpoint; lives through all phases.
        stop: For early stopping; starts anew with every phase.
        plateau: For the learning rate; starts anew with every phase.
        factor: Of the learning rate, by plateaus.
        stopped: Whether training ended before its last epoch.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    seconds: float = 0.0
    rows: list[dict[str, float]] = field(default_factory=list)
    best: Waiting = field(default_factory=Waiting)
    stop: Waiting = field(default_factory=Waiting)
    plateau: Waiting = field(default_factory=Waiting)
    factor: float = 1.0
    stopped: bool = False

    def new_phase(self) -> None:
        """Forget what belongs to one phase."""
        self.stop, self.plateau, self.factor = Waiting(), Waiting(), 1.0

    def close_epoch(self, config: Config, row: dict[str, float]) -> bool:
        """Take an epoch's row and move on to the next.

        Early stopping never leaves out a later phase.

        Args:
            config: `select`, `stop` and the plateau's numbers.
            row: The epoch's row of the history.

        Returns:
            Whether it is the best epoch so far.
        """
        o = config.optim
        value = row[f"val_{config.select}"] * (-1 if config.select == "loss" else 1)
        self.rows.append(row)
        self.epoch, self.batch, self.seconds = self.epoch + 1, 0, 0.0
        better = self.best.update(value)
        self.stop.update(value, config.stop.min_delta)
        self.plateau.update(value, _PLATEAU_DELTA)
        if o.schedule == "plateau" and self.plateau.waited >= o.patience:
            self.factor, self.plateau.waited = self.factor * o.factor, 0
        ahead = any(phase.epoch >= self.epoch for phase in o.phases)
        if 0 < config.stop.patience <= self.stop.waited and not ahead:
            self.stopped = True
        return better
