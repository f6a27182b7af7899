"""Report of a cross-validation: figures over all left-out images and fold by fold, and thresholds chosen on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from skinclf.decisions.operating_point import OperatingPoint, describe
from skinclf.decisions.sample import decision_sample
from skinclf.decisions.thresholds import tune_threshold
from skinclf.errors import MismatchError
from skinclf.labels import LabelSet
from skinclf.metrics.estimate import Estimate
from skinclf_training.recipes.validation_metrics import FIGURES, validation_metrics

#: Sensitivity that the thresholds of the report are chosen for.
TARGET = 0.9
#: Rows of a table of predictions: `image`, `lesion_id`, `label`, `p_CODE`; those left out also say their `fold`.
Rows: TypeAlias = Sequence[Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class _Sample:
    """P(malignant) of images; arrays of shape (N,)."""

    images: tuple[str, ...]
    lesions: tuple[str, ...]
    truth: npt.NDArray[np.bool_]
    score: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FoldFigure:
    """A figure of the models of all folds.

    Attributes:
        name: Name, one of `skinclf_training.recipes.validation_metrics.FIGURES`.
        whole: Value over all left-out images together, with its interval; None where there is no interval.
        by_fold: Values of the folds.
    """

    name: str
    whole: Estimate | None
    by_fold: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean of the folds."""
        return float(np.mean(self.by_fold))

    @property
    def std(self) -> float:
        """Standard deviation of the folds, of a sample."""
        return float(np.std(self.by_fold, ddof=1))


@dataclass(frozen=True, slots=True)
class FoldThreshold:
    """A threshold on P(malignant), chosen on left-out images and carried to the common test part.

    Attributes:
        fold: Fold on whose left-out images it was chosen; None for all of them.
        point: What it does there.
        test: What it does on the test part: with the model of that fold, or for all of them with the mean of the
            models. None where the test part was not predicted.
    """

    fold: int | None
    point: OperatingPoint
    test: OperatingPoint | None


@dataclass(frozen=True, slots=True)
class FoldReport:
    """What is known of the models of all folds.

    Attributes:
        images: Number of left-out images.
        folds: Number of folds.
        figures: Figures, in the order of the report.
        thresholds: Thresholds of all left-out images, then of each fold; empty where the labels name no malignant
            class, or a part has images of one kind only.
    """

    images: int
    folds: int
    figures: tuple[FoldFigure, ...]
    thresholds: tuple[FoldThreshold, ...]

    def to_dict(self) -> dict[str, Any]:
        """Content of `report.json`."""
        return {
            "images": self.images,
            "folds": self.folds,
            "figures": [
                {
                    "figure": one.name,
                    "all": None if one.whole is None else one.whole.to_dict(),
                    "mean": one.mean,
                    "std": one.std,
                    "folds": list(one.by_fold),
                }
                for one in self.figures
            ],
            "target_sensitivity": TARGET,
            "thresholds": [
                {
                    "fold": one.fold,
                    "threshold": one.point.threshold,
                    "malignant": one.point.tp + one.point.fn,
                    "left_out": _rates(one.point),
                    "test": None if one.test is None else _rates(one.test),
                }
                for one in self.thresholds
            ],
        }

    def markdown(self, unseen: str) -> str:
        """Text and tables of `report.md`.

        Args:
            unseen: What a model had not seen of the images that its fold leaves out.
        """
        numbers = [f"fold {i}" for i in range(self.folds)]
        head = ["figure", "all images (95 % interval)", "mean of folds", "standard deviation", *numbers]
        text = (
            f"{self.images:,} images, each predicted once, by the model that did not see its lesion in {unseen}. "
            "Figures over all images mix the models' scores; those by fold do not."
        )
        rows = [
            [
                one.name.replace("_", " "),
                "" if one.whole is None else _interval(one.whole),
                *(f"{value:.3f}" for value in (one.mean, one.std, *one.by_fold)),
            ]
            for one in self.figures
        ]
        return f"{text}\n\n{_table(head, rows)}{self._thresholds()}"

    def _thresholds(self) -> str:
        if not self.thresholds:
            return (
                "\nNo thresholds: the labels name no malignant class, or the images of a part are all malignant or "
                "all benign.\n"
            )
        tested = self.thresholds[0].test is not None
        head = [
            "threshold chosen on",
            "malignant images",
            "threshold",
            "sensitivity there",
            "specificity there",
        ]
        head += ["sensitivity, test part", "specificity, test part"] if tested else []
        rows = []
        for one in self.thresholds:
            points = [one.point] if one.test is None else [one.point, one.test]
            rows.append(
                [
                    "all left-out images" if one.fold is None else f"fold {one.fold}",
                    f"{one.point.tp + one.point.fn:,}",
                    f"{one.point.threshold:.3f}",
                    *(_interval(rate) for point in points for rate in (point.sensitivity, point.specificity)),
                ]
            )
        text = f"Thresholds for a sensitivity of {TARGET:g} on the left-out images"
        text += (
            ", as they were then used on the test part: that of a fold with the model of that fold, that of all "
            "images with the mean probabilities of all models."
            if tested
            else "."
        )
        return f"\n{text}\n\n{_table(head, rows)}"


def fold_report(
    left_out: Rows, tests: Sequence[Rows], labels: LabelSet, metrics: Mapping[str, Any]
) -> FoldReport:
    """Figures and thresholds of the models of all folds.

    Args:
        left_out: Left-out rows of all folds, with the `fold` of each.
        tests: Rows of the common test part, by every model; empty where they were not predicted.
        labels: Labels of the models.
        metrics: Figures over all left-out images, as `skinclf.evaluate` has them.

    Raises:
        MismatchError: The models predicted different test parts.
    """
    count = 1 + max(int(row["fold"]) for row in left_out)
    parts = [[row for row in left_out if row["fold"] == str(number)] for number in range(count)]
    by_fold = [validation_metrics(_values(own, labels), _targets(own, labels), labels) for own in parts]
    whole = _whole(metrics)
    figures = tuple(
        FoldFigure(name, whole.get(name), tuple(found[name] for found in by_fold))
        for name in FIGURES
        if name in by_fold[0]
    )
    return FoldReport(len(left_out), count, figures, _thresholds(left_out, parts, tests, labels))


def _thresholds(
    left_out: Rows, parts: Sequence[Rows], tests: Sequence[Rows], labels: LabelSet
) -> tuple[FoldThreshold, ...]:
    if not labels.malignant_indices:
        return ()
    chosen_on = [_sample(rows, labels) for rows in (left_out, *parts)]
    tested: list[_Sample | None] = [None] * len(chosen_on)
    if tests:
        models = [_sample(rows, labels) for rows in tests]
        tested = [_mean(models), *models]
    if any(one.truth.all() or not one.truth.any() for one in (*chosen_on, *tested) if one is not None):
        return ()
    found = []
    for fold, (chosen, test) in enumerate(zip(chosen_on, tested, strict=True), -1):
        point = tune_threshold(chosen.truth, chosen.score, target_sensitivity=TARGET, groups=chosen.lesions)
        then = None if test is None else _at(test, point.threshold)
        found.append(FoldThreshold(None if fold < 0 else fold, point, then))
    return tuple(found)


def _sample(rows: Rows, labels: LabelSet) -> _Sample:
    malignant = list(labels.malignant_indices or ())
    return _Sample(
        tuple(row["image"] for row in rows),
        tuple(row["lesion_id"] for row in rows),
        np.isin(_targets(rows, labels), malignant),
        _values(rows, labels)[:, malignant].sum(axis=1),
    )


def _mean(models: Sequence[_Sample]) -> _Sample:
    """The mean of what the models say of the same images, joined by their names."""
    images = models[0].images
    scores = []
    for one in models:
        named = dict(zip(one.images, one.score, strict=True))
        if named.keys() != set(images):
            raise MismatchError("The models predicted different test parts; prepare the folds again.")
        scores.append([named[image] for image in images])
    return replace(models[0], score=np.mean(scores, axis=0))


def _at(sample: _Sample, threshold: float) -> OperatingPoint:
    return describe(decision_sample(sample.truth, sample.score, groups=sample.lesions), threshold)


def _values(rows: Rows, labels: LabelSet) -> npt.NDArray[np.float64]:
    return np.array([[float(row[f"p_{code}"]) for code in labels.codes] for row in rows])


def _targets(rows: Rows, labels: LabelSet) -> npt.NDArray[np.int64]:
    return np.array([labels.codes.index(row["label"]) for row in rows])


def _whole(metrics: Mapping[str, Any]) -> dict[str, Estimate]:
    overall, binary = metrics["multiclass"] or {}, metrics["binary"] or {}
    items = {name: overall.get(name) for name in ("accuracy", "balanced_accuracy")}
    items["macro_auc"] = overall.get("roc_auc_macro")
    items |= {"malignant_auc": binary.get("roc_auc"), "malignant_pr_auc": binary.get("pr_auc")}
    return {
        name: Estimate(item["value"], item["low"], item["high"])
        for name, item in items.items()
        if item and item["value"] is not None and item["low"] is not None
    }


def _rates(point: OperatingPoint) -> dict[str, dict[str, float | None]]:
    return {"sensitivity": point.sensitivity.to_dict(), "specificity": point.specificity.to_dict()}


def _interval(one: Estimate) -> str:
    return f"{one.value:.3f} ({one.low:.3f}-{one.high:.3f})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |\n" for cells in (head, *rows)]
    lines.insert(1, "|" + "---|" * len(head) + "\n")
    return "".join(lines)
