"""Columns with the UIDs of DICOM objects beside the scores of any scorer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from skinclf.images.decode import ImageSource
from skinclf.images.dicom.uids import MAX_LENGTH, UIDS, read_uids
from skinclf.inference.scorer import Pixels, Prepare, ScoredBatch, Scorer, Slot, WrappedScorer


@dataclass(frozen=True, slots=True)
class _LoadWithUids:
    """`prepare` of a scorer, followed by the UIDs as ASCII, one row of bytes each."""

    base: Prepare

    def __call__(self, source: ImageSource) -> Pixels:
        pixels = self.base(source)
        text = np.zeros((len(UIDS), MAX_LENGTH), np.uint8)
        for row, uid in zip(text, read_uids(source), strict=True):
            row[: len(uid)] = np.frombuffer(uid.encode("ascii"), np.uint8)
        return (*pixels, text)


class DicomIdsScorer(WrappedScorer):
    """A scorer with the columns of `skinclf.images.dicom.uids.UIDS`; empty for files that are no DICOM."""

    def __init__(self, base: Scorer) -> None:
        super().__init__(base)
        self.prepare = _LoadWithUids(base.prepare)
        self.columns = {**base.columns, **dict.fromkeys(UIDS, str)}

    @property
    def layout(self) -> tuple[Slot, ...]:
        return (*self._base.layout, Slot((len(UIDS), MAX_LENGTH), np.uint8))

    def stage(self, batch: Pixels) -> Pixels:
        own, text = self._split(batch)
        staged, at = self._base.stage(own), len(self._base.layout)
        return (*staged[:at], text, *staged[at:])

    def _split(self, batch: Pixels) -> tuple[Pixels, npt.NDArray[Any]]:
        """What the scorer behind takes, and the UIDs."""
        at = len(self._base.layout)
        return (*batch[:at], *batch[at + 1 :]), batch[at]

    def score(self, batch: Pixels) -> ScoredBatch:
        own, text = self._split(batch)
        scored = self._base.score(own)
        rows = [[bytes(line).rstrip(b"\0").decode("ascii") for line in row] for row in text]
        uids = {name: np.array([row[i] for row in rows], object) for i, name in enumerate(UIDS)}
        return replace(scored, columns={**scored.columns, **uids})
