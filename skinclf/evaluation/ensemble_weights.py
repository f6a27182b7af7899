"""Ensembles from predictions tables: weights chosen greedily or given, measured beside the best member.

The choice is Caruana et al.'s forward selection with replacement (ICML 2004): start from the best model, add
again and again the one that helps the average most, keep the best average on the way. A figure on the
images that chose the weights flatters; measure the weights on others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from skinclf.errors import InvalidArgumentError
from skinclf.evaluation.comparison import on_common_images
from skinclf.evaluation.inputs import join_split, open_labels
from skinclf.evaluation.labelled_predictions import LabelledPredictions, label_predictions
from skinclf.evaluation.metric_set import MetricSet, estimates
from skinclf.inference.prediction import Prediction
from skinclf.inference.schema import Schema
from skinclf.jobs.formats import CsvFormat
from skinclf.labels import LabelSet
from skinclf.metrics.bootstrap import percentile_interval
from skinclf.metrics.estimate import Estimate
from skinclf.metrics.intervals import check_confidence
from skinclf.tables.predictions import label_set_of, read_predictions
from skinclf.tables.reference import LabelOptions

#: Figure, by the names that training uses for them, to the panel's name.
FIGURES = {
    "macro_auc": "multiclass.roc_auc_macro",
    "balanced_accuracy": "multiclass.balanced_accuracy",
    "malignant_auc": "binary.roc_auc",
    "malignant_pr_auc": "binary.pr_auc",
    "loss": "multiclass.log_loss",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ensemble:
    """A weighted average of models, and what it is worth on labelled images.

    Attributes:
        names: Members, as given.
        weights: Share of each member, sums to 1; 0 leaves it out.
        chosen: Whether the weights were chosen on these very images.
        figure: Key of `FIGURES`.
        values: The figure of each member.
        value: Value of the average, with its interval.
        best: Name of the member with the best figure.
        best_value: Its figure, with its interval.
        difference: The average's figure minus the best member's, paired.
        cases: The averaged predictions.
        confidence: Confidence level of the intervals, in (0, 1).
    """

    names: tuple[str, ...]
    weights: tuple[float, ...]
    chosen: bool
    figure: str
    values: tuple[float, ...]
    value: Estimate
    best: str
    best_value: Estimate
    difference: Estimate
    cases: LabelledPredictions
    confidence: float

    def to_dict(self) -> dict[str, Any]:
        """JSON form, without the predictions."""
        return {
            "figure": self.figure,
            "images": len(self.cases),
            "lesions": self.cases.lesions if self.cases.grouped else None,
            "weights_chosen_on_these_images": self.chosen,
            "confidence": self.confidence,
            "members": [
                {"predictions": name, "weight": weight, "value": value}
                for name, weight, value in zip(self.names, self.weights, self.values, strict=True)
            ],
            "ensemble": self.value,
            "best_member": {"predictions": self.best, "value": self.best_value},
            "difference": self.difference,
        }

    def table(self) -> bytes:
        """The averaged predictions as a predictions table, CSV; decisions are at 0.5."""
        rows = (
            Prediction(name, self.cases.labels, tuple(float(p) for p in values), 0.5)
            for name, values in zip(self.cases.ids, self.cases.probabilities.astype(np.float32), strict=True)
        )
        format_ = CsvFormat(Schema(self.cases.labels))
        return format_.header() + format_.encode(rows)


def read_members(
    predictions: Sequence[Path],
    labels: Path,
    *,
    split: str | None = None,
    label_set: LabelSet | None = None,
    group_by: str | None = None,
    label_options: LabelOptions | None = None,
) -> list[LabelledPredictions]:
    """Read the tables of several models and keep the images that all of them answer.

    Args:
        predictions: At least two predictions tables with the same classes.
        labels: Reference, as for `skinclf.evaluate`.
        split: Only rows of this split of the labels.
        label_set: Label set of the predictions; None recognises it by their columns.
        group_by: Column that says which images belong together; None uses the lesions when known.
        label_options: Columns, names and classes of the labels table that the user states.

    Raises:
        InvalidArgumentError: Fewer than two tables, other classes, or no image in common.
    """
    if len(predictions) < 2:
        raise InvalidArgumentError(f"An ensemble has at least two members; received {len(predictions)}.")
    found: list[LabelledPredictions] = []
    for path in predictions:
        table = read_predictions(path)
        known = label_set or label_set_of(table)
        joined = join_split(table, *open_labels(labels, known, split, label_options))
        found.append(label_predictions(joined, labels=known, group_by=group_by))
        if found[-1].labels.codes != found[0].labels.codes:
            raise InvalidArgumentError(
                f"{path}: has the classes {', '.join(known.codes)}, {predictions[0]} has "
                f"{', '.join(found[0].labels.codes)}; expected the same."
            )
    common = reduce(lambda one, other: on_common_images(one, other)[0], found)
    return [on_common_images(common, member)[1] for member in found]


def combine(members: Sequence[LabelledPredictions], weights: Sequence[float]) -> LabelledPredictions:
    """The weighted mean of the members' probabilities, image by image.

    Raises:
        InvalidArgumentError: Not one weight of at least 0 per member, or none above 0.
    """
    share = np.asarray(weights, np.float64)
    if share.shape != (len(members),) or not np.isfinite(share).all() or (share < 0).any() or not share.any():
        raise InvalidArgumentError(
            f"Expected {len(members)} weights of at least 0, not all 0; received {tuple(weights)}."
        )
    share = share / share.sum()
    first = members[0]
    p = sum((w * m.probabilities for w, m in zip(share, members, strict=True)), np.zeros(()))
    score = None
    if first.score is not None:
        positive = [first.labels.position(code) for code in first.positive_codes]
        score = np.ascontiguousarray(p.astype(np.float32)[:, positive]).sum(axis=1, dtype=np.float32)
    return replace(first, probabilities=p, score=score)


def choose_weights(
    members: Sequence[LabelledPredictions], *, figure: str = "macro_auc", rounds: int = 20
) -> list[float]:
    """Weights that are good on these images, by forward selection with replacement.

    Args:
        members: From `read_members`.
        figure: Key of `FIGURES`.
        rounds: Members added in all; weights are multiples of 1 over at most this.

    Returns:
        One share per member, sums to 1; 0 for those that do not help.

    Raises:
        InvalidArgumentError: The labels do not give the figure.
    """
    sign = _sign(figure)
    counts = np.zeros(len(members))
    best, chosen = -np.inf, counts
    for _ in range(rounds):
        tries = [counts + np.eye(len(members))[k] for k in range(len(members))]
        gains = [sign * _figure(combine(members, weights), figure) for weights in tries]
        counts = tries[int(np.argmax(gains))]
        # A gain that is only rounding adds no member.
        if max(gains) > best + 1e-12:
            best, chosen = max(gains), counts
    return [float(w) for w in chosen / chosen.sum()]


def measure(
    members: Sequence[LabelledPredictions],
    names: Sequence[str],
    *,
    weights: Sequence[float] | None = None,
    figure: str = "macro_auc",
    rounds: int = 20,
    replicates: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Ensemble:
    """Weigh the members and measure the average beside the best of them.

    Args:
        members: From `read_members`.
        names: Names of the members.
        weights: At least 0 each; None chooses them on these images.
        figure: Key of `FIGURES`.
        rounds: Number of rounds of the forward selection.
        replicates: Number of resamples of the lesion-cluster bootstrap, the same draws for both.
        seed: Seed of the bootstrap.
        confidence: Confidence level of the intervals, in (0, 1).

    Raises:
        InvalidArgumentError: Unusable weights, or labels that do not give the figure.
    """
    check_confidence(confidence)
    sign, key = _sign(figure), FIGURES[figure]
    values = [_figure(member, figure) for member in members]
    shares = choose_weights(members, figure=figure, rounds=rounds) if weights is None else list(weights)
    average = combine(members, shares)
    best = int(np.argmax([sign * value for value in values]))
    panels = [MetricSet(cases, 0.5) for cases in (average, members[best])]
    draws = [panel.replicates(count=replicates, seed=seed)[key] for panel in panels]
    now = [_figure(average, figure), values[best]]
    low, high = percentile_interval(draws[0] - draws[1], confidence=confidence)
    own, other = (
        estimates({key: value}, {key: drawn}, confidence=confidence)[key]
        for value, drawn in zip(now, draws, strict=True)
    )
    return Ensemble(
        names=tuple(names),
        weights=tuple(float(w) / sum(shares) for w in shares),
        chosen=weights is None,
        figure=figure,
        values=tuple(values),
        value=own,
        best=names[best],
        best_value=other,
        difference=Estimate(now[0] - now[1], float(low), float(high)),
        cases=average,
        confidence=confidence,
    )


def _sign(figure: str) -> int:
    if figure not in FIGURES:
        raise InvalidArgumentError(f"Figure {figure!r}: expected one of {', '.join(FIGURES)}.")
    return -1 if figure == "loss" else 1


def _figure(cases: LabelledPredictions, figure: str) -> float:
    value = MetricSet(cases, 0.5).values().get(FIGURES[figure], np.nan)
    if not np.isfinite(value):
        raise InvalidArgumentError(
            f"The labels do not give {figure}: some classes or kinds of image are missing. Choose another figure."
        )
    return float(value)
