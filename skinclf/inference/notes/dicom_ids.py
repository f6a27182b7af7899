"""Columns with the UIDs of DICOM objects beside the scores of any scorer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from skinclf.images.decode import ImageSource
from skinclf.images.dicom.uids import MAX_LENGTH, UIDS, read_uids
from skinclf.inference.notes.beside import NotesScorer
from skinclf.inference.scorer import Pixels, Prepare, ScoredBatch, Scorer, Slot


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


class DicomIdsScorer(NotesScorer):
    """A scorer with the columns of `skinclf.images.dicom.uids.UIDS`; empty for files that are no DICOM."""

    notes = Slot((len(UIDS), MAX_LENGTH), np.uint8)

    def __init__(self, base: Scorer) -> None:
        super().__init__(base, _LoadWithUids(base.prepare))
        self.columns = {**base.columns, **dict.fromkeys(UIDS, str)}

    def noted(self, scored: ScoredBatch, notes: npt.NDArray[Any]) -> ScoredBatch:
        rows = [[bytes(line).rstrip(b"\0").decode("ascii") for line in row] for row in notes]
        uids = {name: np.array([row[i] for row in rows], object) for i, name in enumerate(UIDS)}
        return replace(scored, columns={**scored.columns, **uids})
