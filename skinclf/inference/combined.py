"""`CombinedScorer`: averaged models and views under one contract, with the calibration of the whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from skinclf.inference.scorer import Pixels, ScoredBatch, Scorer, WrappedScorer
from skinclf.models.precision import PER_LOOK
from skinclf.models.probabilities import probabilities
from skinclf.models.spec import ModelSpec


class CombinedScorer(WrappedScorer):
    """An ensemble, or test-time augmentation, whose numbers are those of a recipe.

    Thresholds, label sets and resumed tables are bound to the fingerprint of `spec`, which differs from that of every
    member and every other combination.
    """

    def __init__(self, base: Scorer, spec: ModelSpec) -> None:
        """Bind a mean to its contract.

        Args:
            base: Scorer of the mean.
            spec: Contract of the whole; its calibration is applied to the mean.
        """
        super().__init__(base)
        self.spec = spec

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        return {**self._base.fingerprint, **self.spec.fingerprint}

    @property
    def info(self) -> Mapping[str, Any]:
        info = self._base.info
        if self.spec.calibration is None:
            return info
        # What a reduced precision does to the mean was measured before this calibration.
        return {key: value for key, value in info.items() if key != "band" and key not in PER_LOOK}

    def score(self, batch: Pixels) -> ScoredBatch:
        scored = self._base.score(batch)
        if self.spec.calibration is None:
            return scored
        values = probabilities(scored.probabilities, "identity", self.spec.calibration)
        return replace(scored, probabilities=values)
