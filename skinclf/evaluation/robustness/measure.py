"""Sensitivity, specificity and ROC-AUC of a model on shifted copies of test images, at one frozen threshold."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from skinclf._utils.arrays import Bools, Float32, Floats, RowWeights
from skinclf._utils.environment import now
from skinclf._utils.notice import NOTICE
from skinclf._utils.public import short_names
from skinclf._version import __version__
from skinclf.errors import InvalidArgumentError
from skinclf.evaluation.inputs import join_split, open_labels
from skinclf.evaluation.labelled_predictions import LabelledPredictions, label_predictions
from skinclf.evaluation.robustness.files import KIND, SCHEMA
from skinclf.evaluation.robustness.shifts import SHIFTS, Picture, Shift
from skinclf.images.decode import load_image
from skinclf.inference.predictor import Predictor
from skinclf.metrics import classification as metrics
from skinclf.metrics.bootstrap import bootstrap_replicates, percentile_interval
from skinclf.metrics.classification import Ranking
from skinclf.metrics.estimate import Estimate
from skinclf.metrics.intervals import check_confidence
from skinclf.tables.predictions import PredictionTable
from skinclf.tables.reference import LabelOptions

#: Name of the row of unshifted images.
PLAIN = "none"
FIGURES = ("sensitivity", "specificity", "roc_auc")
#: Function of the images done and their total, over all shifts.
Progress: TypeAlias = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftResult:
    """Figures of one shift.

    Attributes:
        name: Key of `SHIFTS`, or `none`.
        values: Figure to its value; those of `FIGURES`, all of malignancy.
        differences: Figure to its difference from the unshifted images, with a paired interval.
    """

    name: str
    values: Mapping[str, float]
    differences: Mapping[str, Estimate]

    def to_dict(self) -> dict[str, Any]:
        """JSON form; None where undefined."""
        return {
            "shift": self.name,
            **{k: float(v) if np.isfinite(v) else None for k, v in self.values.items()},
            "differences": {k: v.to_dict() for k, v in self.differences.items()},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Robustness:
    """Result of `measure_robustness`.

    Attributes:
        model: Identity of the model, as in manifests.
        threshold: Frozen threshold on the probability of malignancy.
        split: Split of the labels, or None.
        images: Number of images.
        malignant: Number of malignant images.
        groups: Column of images that belong together, or None.
        failed: Names of images that could not be read; they count in no row.
        confidence: Confidence level of the intervals, in (0, 1).
        rows: Unshifted images first, then every shift.
    """

    model: Mapping[str, Any]
    threshold: float
    split: str | None
    images: int
    malignant: int
    groups: str | None
    failed: tuple[str, ...]
    confidence: float
    rows: tuple[ShiftResult, ...]

    @property
    def worst(self) -> ShiftResult:
        """The shift that costs most sensitivity."""
        return min(self.rows[1:], key=lambda row: row.differences["sensitivity"].value)

    def summary(self) -> str:
        """One sentence: the largest loss of sensitivity."""
        loss = self.worst.differences["sensitivity"]
        left_out = f" {len(self.failed)} could not be read and count nowhere." if self.failed else ""
        return (
            f"{self.images:,} images, {self.malignant:,} malignant, at {self.threshold:.4g}: the largest loss of "
            f"sensitivity is that of {self.worst.name}: {loss.value:+.3f}, {self.confidence:.0%} interval "
            f"{loss.low:+.3f} to {loss.high:+.3f}.{left_out}"
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "kind": KIND,
            "schema": SCHEMA,
            "notice": NOTICE,
            "skinclf_version": __version__,
            "created": now(),
            "model": dict(self.model),
            "threshold": self.threshold,
            "split": self.split,
            "images": self.images,
            "malignant": self.malignant,
            "group_by": self.groups,
            "failed": len(self.failed),
            "failed_images": short_names(self.failed)[:20],
            "confidence": self.confidence,
            "summary": self.summary(),
            "shifts": [row.to_dict() for row in self.rows],
        }


def measure_robustness(
    predictor: Predictor,
    images: Iterable[str | os.PathLike[str]],
    labels: Path | str,
    *,
    split: str | None = None,
    shifts: Sequence[str] = tuple(SHIFTS),
    replicates: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
    label_options: LabelOptions | None = None,
    progress: Progress | None = None,
) -> Robustness:
    """Measure a model on shifted copies of labelled images, at the threshold of the predictor.

    Args:
        predictor: Model and threshold.
        images: Paths; those without a label, or of another split, are left out.
        labels: Reference labels, as for `skinclf.evaluate`.
        split: Only rows of this split of the labels.
        shifts: Names of shifts, keys of `SHIFTS`.
        replicates: Number of resamples of the paired lesion bootstrap.
        confidence: Confidence level of the intervals, in (0, 1).
        seed: Seed of the bootstrap.
        label_options: Columns, names and classes of the labels table that the user states.
        progress: Function called after each image.

    Raises:
        InvalidArgumentError: An unknown shift, labels that cannot be used or joined, or images that are not both
            malignant and benign.
    """
    check_confidence(confidence)
    for name in shifts:
        if name not in SHIFTS:
            raise InvalidArgumentError(
                f"Shift {name!r}: expected one or more of {', '.join(SHIFTS)}.", parameter="shifts"
            )
    if not shifts:
        raise InvalidArgumentError("`shifts` is empty; expected at least one shift.", parameter="shifts")
    paths = [os.fspath(path) for path in images]
    counted = _Counter(progress, len(paths) * (1 + len(shifts)))
    plain = _predict(predictor, paths, None, counted)
    everything, tested = open_labels(labels, predictor.spec.labels, split, label_options)
    cases = label_predictions(join_split(plain, everything, tested), labels=predictor.spec.labels)
    positive = cases.positive
    if positive is None or positive.all() or not positive.any():
        raise InvalidArgumentError(
            f"{labels}: sensitivity and specificity need labelled images of both kinds, malignant and benign.",
            parameter="labels",
        )
    counted.total = len(paths) + len(cases) * len(shifts)
    tables = {PLAIN: plain.take(_places(plain, cases))}
    for name in shifts:
        tables[name] = _predict(predictor, cases.ids, SHIFTS[name], counted)
    scores = {name: table.score(cases.positive_codes, cases.labels) for name, table in tables.items()}
    draw = _Draw(cases, positive, predictor.threshold, replicates=replicates, seed=seed)
    return Robustness(
        model={"name": predictor.spec.name, **predictor.spec.identity.to_dict()},
        threshold=predictor.threshold,
        split=split,
        images=len(cases),
        malignant=int(positive.sum()),
        groups=cases.group_by,
        failed=tuple(name for name, word in zip(plain.ids, plain.status, strict=True) if word != "ok"),
        confidence=confidence,
        rows=tuple(draw.rows(scores, confidence)),
    )


@dataclass(slots=True)
class _Counter:
    progress: Progress | None
    total: int
    done: int = 0

    def __call__(self) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total)


def _predict(
    predictor: Predictor, paths: Sequence[str], shift: Shift | None, counted: _Counter
) -> PredictionTable:
    """Predictions of paths, or of shifted copies of their pictures."""
    sources: Iterable[str | Picture] = paths if shift is None else _shifted(paths, shift)
    labels = predictor.spec.labels
    rows = []
    for prediction in predictor.stream(sources):
        rows.append(prediction)
        counted()
    empty = [float("nan")] * len(labels)
    values = [list(row.probabilities.values()) if row.ok else empty for row in rows]
    return PredictionTable(
        tuple(paths),
        labels.codes,
        np.asarray(values, np.float32).reshape(len(rows), len(labels)),
        np.asarray([row.probability_malignant if row.ok else np.nan for row in rows], np.float32),
        tuple(row.status for row in rows),
    )


def _shifted(paths: Sequence[str], shift: Shift) -> Iterator[Picture]:
    for path in paths:
        yield shift(load_image(path))


def _places(table: PredictionTable, cases: LabelledPredictions) -> list[int]:
    at = {name: place for place, name in enumerate(table.ids)}
    return [at[name] for name in cases.ids]


@dataclass(frozen=True, slots=True)
class _Statistic:
    """The figures of one set of scores for any number of weightings, shape (R, 3)."""

    ranking: Ranking
    positive: Bools
    flagged: Bools

    def __call__(self, weights: RowWeights) -> Floats:
        sensitivity = metrics.mean(self.flagged, weights * self.positive)
        specificity = metrics.mean(~self.flagged, weights * ~self.positive)
        return np.stack([sensitivity, specificity, self.ranking.summary(weights)["roc_auc"]], axis=1)


class _Draw:
    """Paired bootstrap: the same lesions are drawn for every shift."""

    def __init__(self, cases: LabelledPredictions, positive: Bools, threshold: float, **options: int) -> None:
        self._groups, self._positive, self._options = cases.groups, positive, options
        self._threshold = np.float32(threshold)

    def rows(self, scores: Mapping[str, Float32], confidence: float) -> Iterator[ShiftResult]:
        ones = np.ones((1, len(self._positive)), np.float32)
        base: tuple[Floats, Floats] | None = None
        for name, score in scores.items():
            statistic = _Statistic(
                Ranking.of(self._positive, score), self._positive, np.asarray(score >= self._threshold)
            )
            value = statistic(ones)[0]
            draws = bootstrap_replicates(statistic, self._groups, **self._options)
            if base is None:
                base = value, draws
            low, high = percentile_interval(draws - base[1], confidence=confidence)
            yield ShiftResult(
                name=name,
                values={figure: float(value[i]) for i, figure in enumerate(FIGURES)},
                differences={
                    figure: Estimate(float(value[i] - base[0][i]), float(low[i]), float(high[i]))
                    for i, figure in enumerate(FIGURES)
                },
            )
