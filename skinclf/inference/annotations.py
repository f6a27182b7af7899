"""Columns computed from the probabilities alone: conformal label sets, and referral of uncertain cases."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from skinclf.errors import InvalidArgumentError
from skinclf.inference.conformal_sets import ConformalSets
from skinclf.inference.scorer import Pixels, ScoredBatch, Scorer, WrappedScorer
from skinclf.models.spec import ModelSpec


class Annotation(ABC):
    """Further columns of the table, computed from probabilities.

    Attributes:
        columns: Name to `float`, `int`, `bool` or `str`.
        fingerprint: What decides the values, in JSON types.
    """

    columns: Mapping[str, type]
    fingerprint: Mapping[str, Any]

    @abstractmethod
    def __call__(self, probabilities: npt.NDArray[np.float32]) -> Mapping[str, npt.NDArray[Any]]:
        """Values of each column, length N, from probabilities (N, K)."""

    def check(self, spec: ModelSpec) -> None:  # noqa: B027 - most fit any model
        """Refuse a contract that the annotation was not made for.

        Raises:
            MismatchError: The annotation was made for another model, or for the picture alone.
        """


class LabelSets(Annotation):
    """`label_set` (such as `mel|nv`) and `label_set_size`."""

    columns: Mapping[str, type] = {"label_set": str, "label_set_size": int}

    def __init__(self, sets: ConformalSets) -> None:
        self._sets = sets
        self.fingerprint: Mapping[str, Any] = {"label_sets": sets.to_dict()}

    def check(self, spec: ModelSpec) -> None:
        self._sets.check(spec)

    def __call__(self, probabilities: npt.NDArray[np.float32]) -> Mapping[str, npt.NDArray[Any]]:
        size = self._sets.members(probabilities).sum(axis=1)
        return {"label_set": self._sets.text(probabilities), "label_set_size": size}


class Referral(Annotation):
    """`referred`: whether the most probable class stays below a stated probability (selective prediction)."""

    columns: Mapping[str, type] = {"referred": bool}

    def __init__(self, below: float) -> None:
        if not 0 < below <= 1:
            raise InvalidArgumentError(
                f"`refer_below` is a probability in (0, 1]; received {below}.", parameter="refer_below"
            )
        self._below = np.float32(below)
        self.fingerprint: Mapping[str, Any] = {"refer_below": below}

    def __call__(self, probabilities: npt.NDArray[np.float32]) -> Mapping[str, npt.NDArray[Any]]:
        return {"referred": probabilities.max(axis=1) < self._below}


class AnnotatedScorer(WrappedScorer):
    """A scorer with further columns."""

    def __init__(self, base: Scorer, annotations: tuple[Annotation, ...]) -> None:
        super().__init__(base)
        self._annotations = annotations
        self.columns = {**base.columns, **{k: v for a in annotations for k, v in a.columns.items()}}

    def check_annotations(self, spec: ModelSpec) -> None:
        for annotation in self._annotations:
            annotation.check(spec)

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        return {
            **self._base.fingerprint,
            **{k: v for a in self._annotations for k, v in a.fingerprint.items()},
        }

    def score(self, batch: Pixels) -> ScoredBatch:
        return self.annotate(self._base.score(batch))

    def annotate(self, scored: ScoredBatch) -> ScoredBatch:
        extra = {k: v for a in self._annotations for k, v in a(scored.probabilities).items()}
        return replace(scored, columns={**scored.columns, **extra})
