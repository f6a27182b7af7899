"""One array of notes on each picture, kept beside the arrays that another scorer takes."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy.typing as npt

from skinclf.inference.scorer import Pixels, Prepare, ScoredBatch, Scorer, Slot, WrappedScorer


class NotesScorer(WrappedScorer):
    """Base of the scorers whose `prepare` adds one array of notes to those of another scorer.

    Attributes:
        notes: Shape and dtype of the notes on one picture, the last array that `prepare` returns.
    """

    notes: ClassVar[Slot]

    def __init__(self, base: Scorer, prepare: Prepare) -> None:
        """Take notes beside a scorer.

        Args:
            base: Scorer whose answers stay as they are.
            prepare: That of `base`, followed by the notes.
        """
        super().__init__(base)
        self.prepare = prepare

    @property
    def layout(self) -> tuple[Slot, ...]:
        return (*self._base.layout, self.notes)

    @property
    def bare(self) -> Scorer:
        return self._base.bare

    def stage(self, batch: Pixels) -> Pixels:
        own, noted = self._split(batch)
        staged, at = self._base.stage(own), len(self._base.layout)
        return (*staged[:at], noted, *staged[at:])

    def score(self, batch: Pixels) -> ScoredBatch:
        own, noted = self._split(batch)
        return self.noted(self._base.score(own), noted)

    @abstractmethod
    def noted(self, scored: ScoredBatch, notes: npt.NDArray[Any]) -> ScoredBatch:
        """The scores with what the notes say.

        Args:
            scored: Scores of N pictures, as the other scorer gives them.
            notes: Shape (N, *notes.shape); only valid during the call.
        """

    def _split(self, batch: Pixels) -> tuple[Pixels, npt.NDArray[Any]]:
        at = len(self._base.layout)
        return (*batch[:at], *batch[at + 1 :]), batch[at]
