"""Units of decision: images, or lesions whose images are combined."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from skinclf._utils.arrays import Bools, Float32
from skinclf.errors import InvalidArgumentError
from skinclf.metrics.clusters import Combine, cluster_index, combine_scores

Unit: TypeAlias = Literal["image", "lesion"]


@dataclass(frozen=True, slots=True)
class DecisionSample:
    """Units to decide on.

    Attributes:
        truth: Whether each is positive, shape (N,), bool; both kinds occur.
        score: Finite, shape (N,), float32.
        clusters: Lesion of each unit as whole numbers from 0, when some share one; else None.
        unit: What a unit is.
        combine: How a lesion's images were combined, for the unit lesion.
    """

    truth: Bools
    score: Float32
    clusters: npt.NDArray[np.intp] | None
    unit: Unit = "image"
    combine: Combine | None = None

    def need_independent(self, what: str) -> None:
        """Refuse what only holds for independent units.

        Raises:
            InvalidArgumentError: Several images share a lesion.
        """
        if self.clusters is not None:
            lesions = int(self.clusters.max()) + 1
            raise InvalidArgumentError(
                f"{what} counts independent units, but {self.truth.size} images show {lesions} lesions. "
                "Decide once per lesion: `unit` 'lesion', `group_by` lesion_id.",
                parameter="group_by",
            )


def decision_sample(
    y_true: npt.ArrayLike,
    score: npt.ArrayLike,
    *,
    groups: npt.ArrayLike | None = None,
    unit: Unit = "image",
    combine: Combine = "max",
) -> DecisionSample:
    """Check and, for the unit lesion, combine: a lesion is positive when any of its images is.

    Args:
        y_true: 0 or 1, shape (N,).
        score: Finite, shape (N,); compared as float32.
        groups: Lesion of each image, shape (N,).
        unit: Decide per `image` (images of one lesion then count as dependent) or once per `lesion`.
        combine: A lesion's score is the largest (`max`) or the average (`mean`) of its images'.

    Raises:
        InvalidArgumentError: Wrong shapes, a score that is no finite number, labels other than 0 and 1, only one
            class, or the unit lesion without groups.
    """
    truth, values = np.asarray(y_true), np.asarray(score)
    if truth.ndim != 1 or truth.shape != values.shape:
        raise InvalidArgumentError(
            f"`y_true` and `score` have one entry per unit; received shapes {truth.shape} and {values.shape}."
        )
    if not np.isin(truth, (0, 1)).all():
        raise InvalidArgumentError("`y_true` is 0 or 1 everywhere.", parameter="y_true")
    with np.errstate(over="ignore", invalid="ignore"):
        single = values.astype(np.float32)
    if not np.isfinite(single).all():
        raise InvalidArgumentError(f"{int((~np.isfinite(single)).sum())} scores are no finite numbers.")
    positive = truth.astype(np.bool_)
    if positive.all() or not positive.any():
        raise InvalidArgumentError(
            f"An operating point needs both classes; {int(positive.sum())} of {positive.size} are positive."
        )
    index = None
    if groups is not None:
        index = cluster_index(groups)
        if index.shape != truth.shape:
            raise InvalidArgumentError(
                f"`groups` has one entry per image; received {index.size} for {truth.size}.",
                parameter="groups",
            )
        if int(index.max()) + 1 == index.size:
            index = None
    if unit == "image":
        return DecisionSample(positive, single, index)
    if groups is None:
        raise InvalidArgumentError(
            "`unit` 'lesion' needs `groups`: the lesion of each image.", parameter="groups"
        )
    if index is None:
        return DecisionSample(positive, single, None, unit, combine)
    lesions = np.zeros(int(index.max()) + 1, np.bool_)
    np.logical_or.at(lesions, index, positive)
    if lesions.all():
        raise InvalidArgumentError(
            "An operating point needs positives and negatives; every lesion is positive."
        )
    return DecisionSample(lesions, combine_scores(single, index, combine), None, unit, combine)
