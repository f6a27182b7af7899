"""Two sets of class probabilities of the same images: differences with paired lesion-cluster bootstrap intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from skinclf._utils.arrays import Floats, RowWeights
from skinclf.metrics import classification as metrics
from skinclf.metrics.bootstrap import bootstrap_replicates, percentile_interval
from skinclf.metrics.classification import Ranking
from skinclf.metrics.estimate import Estimate

#: Figures that are compared, and how they are called in sentences; higher is better.
WORDS: Mapping[str, str] = MappingProxyType(
    {
        "malignant_roc_auc": "malignant ROC-AUC",
        "specificity_at_0.9_sensitivity": "specificity at 0.9 sensitivity",
        "balanced_accuracy": "balanced accuracy",
    }
)
FIGURES = tuple(WORDS)


@dataclass(frozen=True, slots=True)
class Gain:
    """One figure before and after, and the paired interval of its difference.

    Attributes:
        before: Value of the first probabilities.
        after: Value of the second.
        difference: `after - before` with its interval.
    """

    before: float
    after: float
    difference: Estimate

    def to_dict(self) -> dict[str, Any]:
        """JSON form; None where undefined."""
        values = {"before": self.before, "after": self.after}
        plain = {name: float(x) if np.isfinite(x) else None for name, x in values.items()}
        return {**plain, "difference": self.difference.to_dict()}


def paired_gain(
    before: npt.ArrayLike,
    after: npt.ArrayLike,
    truth: npt.ArrayLike,
    groups: npt.ArrayLike,
    *,
    malignant: Sequence[int],
    replicates: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Gain]:
    """Compare two sets of probabilities by the figures of `FIGURES`.

    Args:
        before: Probabilities, shape (N, K).
        after: Probabilities of the same images.
        truth: Class index, shape (N,).
        groups: Lesion of each image, shape (N,); whole lesions are drawn.
        malignant: Indices of the malignant classes.
        replicates: Number of resamples, the same draws for both.
        confidence: Confidence level of the intervals, in (0, 1).
        seed: Seed of the bootstrap.
    """
    labels = np.asarray(truth, np.intp)
    statistics = [_Figures.of(np.asarray(p, np.float64), labels, malignant) for p in (before, after)]
    values = [one(np.ones((1, labels.size), np.float32))[0] for one in statistics]
    draws = [bootstrap_replicates(one, groups, replicates=replicates, seed=seed) for one in statistics]
    low, high = percentile_interval(draws[1] - draws[0], confidence=confidence)
    return {
        name: Gain(
            float(values[0][i]),
            float(values[1][i]),
            Estimate(float(values[1][i] - values[0][i]), float(low[i]), float(high[i])),
        )
        for i, name in enumerate(FIGURES)
    }


@dataclass(frozen=True, slots=True)
class _Figures:
    """The figures of one set of probabilities for any number of weightings."""

    ranking: Ranking
    truth: npt.NDArray[np.intp]
    predicted: npt.NDArray[np.intp]
    classes: int

    @classmethod
    def of(cls, values: Floats, truth: npt.NDArray[np.intp], malignant: Sequence[int]) -> _Figures:
        score = values[:, list(malignant)].sum(axis=1)
        ranking = Ranking.of(np.isin(truth, list(malignant)), score)
        return cls(ranking, truth, np.asarray(values.argmax(axis=1), np.intp), values.shape[1])

    def __call__(self, weights: RowWeights) -> Floats:
        ranked = self.ranking.summary(weights, sensitivities=(0.9,))
        matrix = metrics.confusion(self.truth, self.predicted, self.classes, weights)
        balanced = metrics.from_confusion(matrix)["balanced_accuracy"]
        return np.stack([ranked["roc_auc"], ranked["specificity_at_0.9"], balanced], axis=1)
