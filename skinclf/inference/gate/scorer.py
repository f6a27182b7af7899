"""`GatedScorer`: one network with its image gate; pictures are measured where they are decoded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from skinclf.images.decode import ImageSource, load_picture
from skinclf.images.preprocess import Preprocess
from skinclf.inference.gate.duplicates import SIGNATURE, signature
from skinclf.inference.gate.gate import Gate, blocks
from skinclf.inference.gate.limits import is_tiny, reasons_of
from skinclf.inference.gate.mode import GATE_COLUMNS
from skinclf.inference.gate.picture import LOOKS, NAMES, PATCHES, measure
from skinclf.inference.gate.reasons import Reason, explanation, verdict
from skinclf.inference.scorer import ModelScorer, Pixels, ScoredBatch, Slot, WrappedScorer
from skinclf.models.metadata_encoding import need_picture_alone


@dataclass(frozen=True, slots=True)
class LoadMeasured:
    """`prepare` for a network and its gate: the picture is decoded once."""

    preprocess: Preprocess
    marks: bool = False

    def __call__(self, source: ImageSource) -> Pixels:
        """Decode, measure and resize one image.

        Raises:
            ImageError: The image cannot be read.
        """
        picture = load_picture(source, draft=self.preprocess.reduction)
        return (self.preprocess.pixels(picture), measure(picture, marks=self.marks))


class GatedScorer(WrappedScorer):
    """One network and its gate: columns `gate`, `gate_reasons` and `p_familiar`, and refusals where they are wanted."""

    def __init__(
        self,
        base: ModelScorer,
        gate: Gate,
        *,
        refuse: bool = False,
        marks: bool = False,
        embeddings: bool = False,
        measures: bool = False,
    ) -> None:
        """Put a gate before a network.

        Args:
            base: Scorer that returns embeddings.
            gate: Gate that was made for its model.
            refuse: Whether unfit images get no probability.
            marks: Whether to look for hair, rulers, bubbles and text too.
            embeddings: Whether to hand on the inputs of the last layer.
            measures: Whether the measures of the picture, all marks and its `signature` become columns too.

        Raises:
            MismatchError: The gate was made for another model.
            ModelError: The model takes metadata beside the image.
        """
        need_picture_alone(base.spec.encoding, base.spec.name, "the image gate")
        gate.check(base.spec)
        super().__init__(base)
        self._gate = gate
        self._refuse, self._embeddings, self._measures = refuse, embeddings, measures
        self._marks = marks or measures
        self.prepare = LoadMeasured(base.spec.preprocess, self._marks)
        more = {**dict.fromkeys(NAMES, float), SIGNATURE: bytes} if measures else {}
        self.columns = {**base.columns, **GATE_COLUMNS, **more}

    @property
    def layout(self) -> tuple[Slot, ...]:
        return (*self._base.layout, Slot((len(NAMES) + LOOKS,), np.float32))

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        own = {"sha256": self._gate.sha256, "alpha": self._gate.alpha, "refuse": self._refuse}
        own |= {"marks": True} if self._marks else {}
        return {**self._base.fingerprint, "gate": own}

    @property
    def info(self) -> Mapping[str, Any]:
        return {**self._base.info, "gate": "refuse" if self._refuse else "mark"}

    def stage(self, batch: Pixels) -> Pixels:
        *own, measures = batch
        return (*self._base.stage(tuple(own)), measures)

    def score(self, batch: Pixels) -> ScoredBatch:
        *own, measures = batch
        scored = self._base.score(tuple(own))
        if scored.embeddings is None:
            raise AssertionError("The scorer behind a gate returns embeddings.")
        predicted = scored.probabilities.argmax(axis=1)
        p = self._gate.p_familiar(scored.embeddings, measures, predicted)
        found = [self._reasons(row, value) for row, value in zip(measures, p, strict=True)]
        verdicts = [verdict(r, tiny=is_tiny(row)) for r, row in zip(found, measures, strict=True)]
        columns: dict[str, npt.NDArray[Any]] = {
            "gate": np.asarray(verdicts, dtype=object),
            "gate_reasons": np.asarray(["|".join(x.value for x in r) for r in found], dtype=object),
            "p_familiar": p,
        }
        if self._measures:
            columns |= {name: measures[:, i].copy() for i, name in enumerate(NAMES)}
            small = measures[:, blocks()[PATCHES]]
            columns[SIGNATURE] = np.asarray([signature(row) for row in small], dtype=object)
        refusals = None
        if self._refuse:
            sentences = [explanation(r) if v == "unfit" else "" for r, v in zip(found, verdicts, strict=True)]
            refusals = np.asarray(sentences, dtype=object)
        return replace(
            scored,
            columns={**scored.columns, **columns},
            embeddings=scored.embeddings if self._embeddings else None,
            refusals=refusals,
        )

    def _reasons(self, measures: npt.NDArray[np.float32], p: np.float32) -> list[Reason]:
        unfamiliar = [Reason.UNFAMILIAR] if p <= np.float32(self._gate.alpha) else []
        return unfamiliar + reasons_of(measures)
