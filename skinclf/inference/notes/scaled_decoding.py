"""Which pictures of a run were decoded down, for models whose contract says how far that moves a probability."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from skinclf.images.decode import ImageSource, divisors
from skinclf.inference.notes.beside import NotesScorer
from skinclf.inference.scorer import Pixels, Prepare, ScoredBatch, Scorer, Slot
from skinclf.models.precision import scaled_decoding_info

#: Key of the bands of scaled decoding in `Scorer.info`.
KEY = "scaled_decoding"


@dataclass(frozen=True, slots=True)
class _LoadAndNote:
    """`prepare` of a scorer, followed by whether the picture was decoded down."""

    base: Prepare

    def __call__(self, source: ImageSource) -> Pixels:
        with divisors() as found:
            pixels = self.base(source)
        return (*pixels, np.asarray(bool(found)))


class NotedScorer(NotesScorer):
    """A scorer that notes for every picture whether it was decoded down (`ScoredBatch.scaled`)."""

    notes = Slot((), np.bool_)

    def __init__(self, base: Scorer, effect: Mapping[str, Any]) -> None:
        """Note what a scorer decodes.

        Args:
            base: Scorer of a model with `Preprocess.scaled_decoding`.
            effect: Bands that were measured for it, see `skinclf.models.precision.scaled_decoding_info`.
        """
        super().__init__(base, _LoadAndNote(base.prepare))
        self._effect = effect

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        return {**self._base.fingerprint, KEY: dict(self._effect)}

    @property
    def info(self) -> Mapping[str, Any]:
        return {**self._base.info, KEY: dict(self._effect)}

    def noted(self, scored: ScoredBatch, notes: npt.NDArray[Any]) -> ScoredBatch:
        return replace(scored, scaled=np.array(notes))


def noting(scorer: Scorer) -> Scorer:
    """The scorer with notes on scaled decoding, where its contract records the effect of that; else itself."""
    effect = scaled_decoding_info(scorer.spec)
    return NotedScorer(scorer, effect) if effect else scorer


def known_effects(info: Mapping[str, Any]) -> dict[str, Mapping[str, Any] | None]:
    """What may change decisions under a scorer, as `skinclf.inference.outcomes.outcomes_of` takes it.

    Args:
        info: `Scorer.info`.
    """
    return {"reduced": info if "band" in info else None, "scaled": info.get(KEY) or None}
