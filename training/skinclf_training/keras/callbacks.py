"""Progress of a Keras run: position and history as plain numbers, saved with every checkpoint."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from skinclf_training.config.schema import Config
from skinclf_training.recipes.schedule import Waiting, Watch


@dataclass(slots=True)
class Progress:
    """Position and history of a run.

    Attributes:
        epoch: Running epoch, counted from 0.
        batch: Number of the next batch of the epoch.
        step: Number of optimiser steps so far.
        seconds: Seconds of the running epoch.
        rows: History, one row per epoch.
        best: Counter of the best checkpoint, over all phases.
        watch: Plateau and early stopping; restarts with every phase.
        stopped: Whether training ended before its last epoch.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    seconds: float = 0.0
    rows: list[dict[str, float]] = field(default_factory=list)
    best: Waiting = field(default_factory=Waiting)
    watch: Watch = field(default_factory=Watch)
    stopped: bool = False

    def close_epoch(self, config: Config, row: dict[str, float]) -> bool:
        """Add the row of an epoch and advance to the next epoch.

        Args:
            config: Configuration of the run.
            row: Row of the epoch.

        Returns:
            Whether it is the best epoch so far.
        """
        figures = {name.removeprefix("val_"): value for name, value in row.items()}
        better = self.best.update(config.score(figures, self.epoch))
        self.watch.update(config, figures, self.epoch)
        self.stopped = self.watch.stopped
        self.rows.append(row)
        self.epoch, self.batch, self.seconds = self.epoch + 1, 0, 0.0
        return better

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Progress:
        """Read the form that `to_dict` writes."""
        return cls(**{**data, "best": Waiting(**data["best"]), "watch": Watch.from_dict(data["watch"])})
