"""Which pictures of a run were decoded down, for models whose contract says how far that moves a probability."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skinclf.images.decode import ImageSource, divisors
from skinclf.inference.scorer import Pixels, Prepare, ScoredBatch, Scorer, Slot, WrappedScorer
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


class NotedScorer(WrappedScorer):
    """A scorer that notes for every picture whether it was decoded down (`ScoredBatch.scaled`)."""

    def __init__(self, base: Scorer, effect: Mapping[str, Any]) -> None:
        """Note what a scorer decodes.

        Args:
            base: Scorer of a model with `Preprocess.scaled_decoding`.
            effect: Bands that were measured for it, see `skinclf.models.precision.scaled_decoding_info`.
        """
        super().__init__(base)
        self.prepare = _LoadAndNote(base.prepare)
        self._effect = effect

    @property
    def layout(self) -> tuple[Slot, ...]:
        return (*self._base.layout, Slot((), np.bool_))

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        return {**self._base.fingerprint, KEY: dict(self._effect)}

    @property
    def info(self) -> Mapping[str, Any]:
        return {**self._base.info, KEY: dict(self._effect)}

    @property
    def bare(self) -> Scorer:
        return self._base.bare

    def stage(self, batch: Pixels) -> Pixels:
        own, noted = self._split(batch)
        staged, at = self._base.stage(own), len(self._base.layout)
        return (*staged[:at], noted, *staged[at:])

    def _split(self, batch: Pixels) -> tuple[Pixels, Any]:
        at = len(self._base.layout)
        return (*batch[:at], *batch[at + 1 :]), batch[at]

    def score(self, batch: Pixels) -> ScoredBatch:
        own, noted = self._split(batch)
        return replace(self._base.score(own), scaled=np.array(noted))


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
