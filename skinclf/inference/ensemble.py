"""Ensembles: several models on each image, each with its own preprocessing and, where declared, its own taxonomy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from skinclf.errors import InvalidArgumentError
from skinclf.images.decode import ImageSource
from skinclf.inference.scorer import Pixels, Prepare, ScoredBatch, Scorer, Slot
from skinclf.inference.tta import spread
from skinclf.labels import LabelSet, crosswalk
from skinclf.models.combination import common_labels
from skinclf.models.recipe import ARCHITECTURE, Average
from skinclf.models.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class _PrepareAll:
    members: tuple[Prepare, ...]

    def __call__(self, source: ImageSource) -> Pixels:
        """Decode for every member.

        Raises:
            ImageError: The image cannot be read.
        """
        return tuple(array for prepare in self.members for array in prepare(source))


class EnsembleScorer(Scorer):
    """The average of several scorers.

    The column `disagreement` holds the standard deviation over members of the probability of malignancy.
    """

    columns: Mapping[str, type] = {"disagreement": float}

    def __init__(
        self,
        members: Sequence[Scorer],
        *,
        weights: Sequence[float] | None = None,
        average: Average = "probability",
        labels: LabelSet | None = None,
    ) -> None:
        """Join scorers.

        Args:
            members: At least two.
            weights: One positive number per member; None weighs them equally.
            average: `probability` (arithmetic mean) or `logit` (geometric mean, normalised).
            labels: Taxonomy of the result; None takes the members' own when they agree, else the
                first member's when every other has a declared crosswalk to it, else benign/malignant.

        Raises:
            InvalidArgumentError: Fewer than two members, unusable weights, or no declared crosswalk.
        """
        if len(members) < 2:
            raise InvalidArgumentError(
                f"An ensemble has at least two members; received {len(members)}.", parameter="model"
            )
        share = np.asarray(weights if weights is not None else [1.0] * len(members), np.float64)
        if share.shape != (len(members),) or not np.isfinite(share).all() or (share <= 0).any():
            raise InvalidArgumentError(
                f"An ensemble needs one positive weight per member; received {weights}.", parameter="weights"
            )
        if average not in {"probability", "logit"}:
            raise InvalidArgumentError(
                f"Average {average!r}: expected probability or logit.", parameter="average"
            )
        self._members, self._average = tuple(members), average
        self._share = share / share.sum()
        target = labels or common_labels([m.spec.labels for m in members])
        self._maps = [_matrix(m.spec.labels, target) for m in members]
        self.encodings = tuple(encoding for m in members for encoding in m.encodings)
        self.prepare = _PrepareAll(tuple(m.prepare for m in members))
        self.spec = _joint_spec(members, target, dict(self._decides()))

    def _decides(self) -> Mapping[str, Any]:
        return {"average": self._average, "weights": self._share.tolist()}

    @property
    def layout(self) -> tuple[Slot, ...]:
        return tuple(slot for member in self._members for slot in member.layout)

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        members = [dict(m.fingerprint) for m in self._members]
        return {**self._decides(), "labels": self.spec.labels.fingerprint, "members": members}

    @property
    def info(self) -> Mapping[str, Any]:
        infos = [dict(m.info) for m in self._members]
        joint = {k: "+".join(dict.fromkeys(i[k] for i in infos)) for k in ("runtime", "device", "precision")}
        members = [{"model": m.spec.name, **i} for m, i in zip(self._members, infos, strict=True)]
        band = self._band(infos)
        return {**joint, **({} if band is None else {"band": band}), **self._decides(), "members": members}

    def _band(self, infos: Sequence[Mapping[str, Any]]) -> float | None:
        """The most that reduced precision moves an arithmetic mean: the members' bands, by weight.

        None when that is not known of every member, or when classes change sides between the taxonomies.
        """
        bands = [info.get("band", 0.0 if info["precision"] == "fp32" else None) for info in infos]
        known = [band for band in bands if band is not None]
        if self._average != "probability" or len(known) < len(bands) or not any(known):
            return None
        target = np.asarray([label.malignant for label in self.spec.labels])
        for member, matrix in zip(self._members, self._maps, strict=True):
            if [label.malignant for label in member.spec.labels] != target[matrix.argmax(axis=1)].tolist():
                return None
        return float(np.dot(self._share, known))

    @property
    def batch_size(self) -> int:
        return min(m.batch_size for m in self._members)

    def stage(self, batch: Pixels) -> Pixels:
        staged = [(member, member.stage(own)) for member, own in self._shares(batch)]
        prepared = [pixels for member, own in staged for pixels in own[: len(member.layout)]]
        return (*prepared, *(vectors for member, own in staged for vectors in own[len(member.layout) :]))

    def score(self, batch: Pixels) -> ScoredBatch:
        parts = [
            member.score(own).probabilities @ matrix
            for (member, own), matrix in zip(self._shares(batch), self._maps, strict=True)
        ]
        values = np.stack(parts)
        mean = averaged(values, self._share.tolist(), self._average)
        return ScoredBatch(mean, {"disagreement": spread(values, mean, self.spec.labels)})

    def _shares(self, batch: Pixels) -> Iterator[tuple[Scorer, Pixels]]:
        start, at = 0, len(self.layout)
        for member in self._members:
            width, beside = len(member.layout), len(member.encodings)
            yield member, (*batch[start : start + width], *batch[at : at + beside])
            start, at = start + width, at + beside


def averaged(
    values: npt.NDArray[np.floating[Any]], share: Sequence[float], average: Average
) -> npt.NDArray[np.float32]:
    """Mean of probabilities, shape (N, K), float32.

    Args:
        values: Probabilities of M members, shape (M, N, K).
        share: Share of each member, of sum 1.
        average: `probability` (arithmetic mean) or `logit` (geometric mean, normalised).
    """
    wide, shares = np.asarray(values, np.float64), np.asarray(share, np.float64)[:, None, None]
    if average == "probability":
        return np.asarray((wide * shares).sum(axis=0), np.float32)
    logs = (np.log(np.clip(wide, 1e-12, 1.0)) * shares).sum(axis=0)
    powers = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


def _matrix(source: LabelSet, target: LabelSet) -> npt.NDArray[np.float32]:
    """What each source class adds to each target class, shape (K_source, K_target)."""
    mapping = crosswalk(source, target).mapping
    matrix = np.zeros((len(source), len(target)), np.float32)
    for row, code in enumerate(source.codes):
        matrix[row, target.position(mapping[code])] = 1.0
    return matrix


def _joint_spec(members: Sequence[Scorer], target: LabelSet, decides: Mapping[str, Any]) -> ModelSpec:
    """A contract for the whole: no operating points, since none has been measured for it."""
    prints = json.dumps([[dict(m.fingerprint) for m in members], decides], sort_keys=True)
    first = members[0].spec
    return ModelSpec(
        name=" + ".join(m.spec.name for m in members),
        architecture=ARCHITECTURE,
        labels=target,
        preprocess=first.preprocess,
        activation="identity",
        license="; ".join(dict.fromkeys(m.spec.license for m in members if m.spec.license)),
        source="ensemble",
        weights_sha256=hashlib.sha256(prints.encode()).hexdigest(),
    )
