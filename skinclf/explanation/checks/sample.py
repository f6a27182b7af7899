"""`Sample`: the images of a check with what the model says about them, and means with bootstrap intervals."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from skinclf.errors import ImageError
from skinclf.explanation.explainer import Explainer
from skinclf.explanation.perturbation import Canvas
from skinclf.explanation.target import Target, make_target
from skinclf.images.decode import load_image
from skinclf.metrics.bootstrap import bootstrap_replicates, percentile_interval
from skinclf.metrics.estimate import Estimate

#: Function of the images done and their total.
Progress: TypeAlias = Callable[[int, int], None]
_CONFIDENCE, _REPLICATES, _SEED = 0.95, 2000, 0


@dataclass(frozen=True, slots=True)
class Case:
    """One image of a check.

    Attributes:
        image: Its name.
        canvas: What the network is given.
        target: Quantity to explain.
        probabilities: Probabilities by label that the runtime gave.
    """

    image: str
    canvas: Canvas
    target: Target
    probabilities: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """Images of a check.

    Attributes:
        cases: Those that could be read.
        failed: Error by name of the others.
    """

    cases: tuple[Case, ...]
    failed: dict[str, str]

    @classmethod
    def of(cls, explainer: Explainer, images: Iterable[str | os.PathLike[str]]) -> Sample:
        """Read images and ask the model about each."""
        cases, failed = [], {}
        scorer, labels = explainer.scorer, explainer.predictor.spec.labels
        for image in images:
            path = os.fspath(image)
            try:
                prediction = explainer.predictor.predict(path)
                canvas = Canvas.of(scorer, load_image(path), scorer.prepare(path))
            except ImageError as error:
                failed[Path(path).name] = error.code
                continue
            target = make_target(explainer.target, labels, prediction.index)
            cases.append(Case(path, canvas, target, tuple(prediction.probabilities.values())))
        return cls(tuple(cases), failed)


def spread_evenly(images: Sequence[str], most: int) -> list[str]:
    """At most so many images, evenly from the list."""
    at = np.unique(np.linspace(0, len(images) - 1, min(most, len(images))).round().astype(int))
    return [images[i] for i in at]


def mean_estimate(values: npt.ArrayLike, groups: Sequence[str] | None = None) -> Estimate:
    """Mean with its 95 % bootstrap interval (2000 replicates, seed 0); of whole groups where they are given.

    Args:
        values: Shape (N,), one for each image; differences of two maps of one image make the comparison paired.
        groups: Lesion of each image; None takes images as independent.
    """
    numbers = np.asarray(values, np.float64)
    if numbers.size == 0:
        return Estimate(float("nan"), float("nan"), float("nan"))
    units = np.arange(numbers.size) if groups is None else np.asarray(groups)

    def mean(weights: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        w = weights.astype(np.float64)
        return np.asarray((w @ numbers) / w.sum(axis=1))

    draws = bootstrap_replicates(mean, units, replicates=_REPLICATES, seed=_SEED)
    low, high = percentile_interval(draws, confidence=_CONFIDENCE)
    return Estimate(float(numbers.mean()), float(low), float(high))
