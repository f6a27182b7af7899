"""Where a run is and what its epochs said: plain numbers, saved with every checkpoint."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from skinclf_training.config.schema import Config
from skinclf_training.recipes.schedule import Waiting, Watch


@dataclass(slots=True)
class Progress:
    """Where a run is.

    Attributes:
        epoch: The running epoch, counted from 0.
        batch: The epoch's next batch.
        step: Optimiser steps so far.
        seconds: Of the running epoch.
        rows: History, one row per epoch.
        best: For the best checkpoint; lives through all phases.
        watch: For the learning rate and early stopping; starts anew with every phase.
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
        """Take an epoch's row and move on to the next.

        Args:
            config: The run.
            row: The epoch's row of the history.

        Returns:
            Whether it is the best epoch so far.
        """
        value = row[f"val_{config.select}"]
        better = self.best.update(-value if config.select == "loss" else value)
        self.watch.update(config, {config.select: value}, self.epoch)
        self.stopped = self.watch.stopped
        self.rows.append(row)
        self.epoch, self.batch, self.seconds = self.epoch + 1, 0, 0.0
        return better

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Progress:
        """Read them back."""
        return cls(**{**data, "best": Waiting(**data["best"]), "watch": Watch.from_dict(data["watch"])})
