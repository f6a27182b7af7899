"""`LabelledPredictions`: predictions and reference labels brought to one taxonomy, ready to be measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from skinclf._utils.arrays import Float32
from skinclf.errors import InvalidArgumentError
from skinclf.labels import LabelSet
from skinclf.metrics.clusters import cluster_index
from skinclf.models.class_decision import ClassDecision
from skinclf.tables.diagnosis_names import map_classes
from skinclf.tables.predictions import Joined, PredictionTable, label_set_of
from skinclf.tables.reference import LESION_NAMES, groups_of


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledPredictions:
    """Labelled predictions of N images over K classes.

    Attributes:
        ids: Image names, as in the predictions.
        reference_ids: The same images' names, as in the labels.
        labels: Label set of the predictions.
        probabilities: Shape (N, K), float64, rows sum to 1.
        truth: Class index, shape (N,); None when the reference only says malignant or benign.
        positive: Whether the reference is malignant (or of the chosen classes), shape (N,); None when
            unknown.
        score: Probability of these classes, shape (N,), float32; None when `positive` is.
        positive_codes: The classes that count as positive.
        groups: Lesion (else patient) of each image as whole numbers from 0, shape (N,); the image itself when
            unknown.
        group_by: Column that says which images belong together: `lesion_id`, that of the patients, or one that was
            asked for; None when every image counts as independent.
        columns: The columns of the labels table, as text.
        note: What bringing the reference to the label set has lost, and columns that were not used; empty when nothing.
        decision: Rule for the predicted class, in label order; None without one.
    """

    ids: tuple[str, ...]
    reference_ids: tuple[str, ...]
    labels: LabelSet
    probabilities: npt.NDArray[np.float64]
    truth: npt.NDArray[np.intp] | None
    positive: npt.NDArray[np.bool_] | None
    score: Float32 | None
    positive_codes: tuple[str, ...]
    groups: npt.NDArray[np.intp]
    group_by: str | None
    columns: Mapping[str, tuple[str, ...]]
    note: str = ""
    decision: ClassDecision | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def grouped(self) -> bool:
        """Whether it is known which images belong together."""
        return self.group_by is not None

    @property
    def lesions(self) -> int:
        """Number of different lesions (of images, when lesions are unknown)."""
        return int(np.unique(self.groups).size)

    def take(self, rows: npt.NDArray[Any]) -> LabelledPredictions:
        """The rows that a mask or index selects."""
        index = np.arange(len(self))[rows]
        return replace(
            self,
            ids=tuple(self.ids[i] for i in index),
            reference_ids=tuple(self.reference_ids[i] for i in index),
            probabilities=self.probabilities[index],
            truth=None if self.truth is None else self.truth[index],
            positive=None if self.positive is None else self.positive[index],
            score=None if self.score is None else self.score[index],
            groups=self.groups[index],
            columns={name: tuple(values[i] for i in index) for name, values in self.columns.items()},
        )

    def predicted(self, threshold: float) -> npt.NDArray[np.intp]:
        """Predicted class index, shape (N,), by the rule of `predict`.

        By `decision` where there is one; else the most probable class, the first of equals; of two classes of
        which one is malignant, the malignant one when its probability reaches the threshold.
        """
        if self.decision is not None:
            return self.decision.decide(self.probabilities)
        if len(self.labels) == 2 and self.score is not None and len(self.positive_codes) == 1:
            malignant = self.labels.position(self.positive_codes[0])
            return np.where(self.score >= np.float32(threshold), malignant, 1 - malignant)
        return np.asarray(self.probabilities.argmax(axis=1))


def label_predictions(
    joined: Joined,
    *,
    labels: LabelSet | None = None,
    positive: Sequence[str] | None = None,
    group_by: str | None = None,
) -> LabelledPredictions:
    """Bring joined tables to one taxonomy.

    Args:
        joined: From `skinclf.tables.predictions.join`.
        labels: Label set of the predictions; None recognises a known taxonomy by its codes.
        positive: Codes that count as positive in the two-class view; None means malignant.
        group_by: Column of the labels table that says which images belong together; None uses the lesions, else the
            patients, where the table names them.

    Raises:
        InvalidArgumentError: The codes of predictions and labels cannot be brought together, a column is
            missing, or probabilities do not sum to 1.
    """
    known = labels if labels is not None else label_set_of(joined.predictions)
    probabilities = _probabilities(joined.predictions, known)
    truth, note = _truth(joined, known)
    codes = tuple(dict.fromkeys(positive)) if positive is not None else malignant_of(known)
    reference: npt.NDArray[np.bool_] | None = None
    if codes:
        index = [known.position(code) for code in codes]
        codes = tuple(known.codes[i] for i in index)
        if truth is not None:
            reference = np.isin(truth, index)
        elif positive is None and joined.labels.binary is not None:
            reference = joined.labels.binary.astype(np.bool_)
    score = None
    if reference is not None:
        score = joined.predictions.score(positive, known)
    elif truth is None:
        raise InvalidArgumentError(
            f"The labels say 0 or 1, but nothing says which of {', '.join(known.codes)} are malignant; name "
            "them as `positive`, for example mel,bcc.",
            parameter="positive",
        )
    groups, column = _groups(joined, group_by)
    return LabelledPredictions(
        ids=joined.predictions.ids,
        reference_ids=joined.labels.ids,
        labels=known,
        probabilities=probabilities,
        truth=truth,
        positive=reference,
        score=score,
        positive_codes=codes if reference is not None else (),
        groups=groups,
        group_by=column,
        columns=joined.labels.columns,
        note="; ".join(part for part in (joined.labels.note, note) if part),
    )


def malignant_of(labels: LabelSet) -> tuple[str, ...]:
    """Codes of the malignant classes; none when malignancy is not declared or all classes are alike."""
    index = labels.malignant_indices
    return () if index is None or len(index) in {0, len(labels)} else tuple(labels.codes[i] for i in index)


def _probabilities(predictions: PredictionTable, labels: LabelSet) -> npt.NDArray[np.float64]:
    values = predictions.in_order(labels)
    if predictions.codes is None:
        return values
    sums = values.sum(axis=1, keepdims=True)
    if (np.abs(sums - 1) > 1e-3).any():
        worst = int(np.abs(sums - 1).argmax())
        raise InvalidArgumentError(
            f"{predictions.ids[worst]}: its probabilities ({', '.join(labels.codes)}) sum to "
            f"{sums[worst, 0]:.4f}; expected 1. Divide each row by its sum first."
        )
    return np.asarray(values / sums)


def _truth(joined: Joined, labels: LabelSet) -> tuple[npt.NDArray[np.intp] | None, str]:
    codes = joined.labels.codes
    if codes is None:
        binary, malignant = joined.labels.binary, labels.malignant_indices
        if binary is None or len(labels) != 2 or malignant is None or len(malignant) != 1:
            return None, ""
        return np.where(binary == 1, malignant[0], 1 - malignant[0]), ""
    mapped = map_classes(codes, labels)
    return np.asarray([labels.position(mapped.codes[code]) for code in codes], np.intp), mapped.note


def _groups(joined: Joined, group_by: str | None) -> tuple[npt.NDArray[np.intp], str | None]:
    column = group_by
    if group_by is None:
        lesions: Sequence[str] | None = joined.labels.lesion_id
        if lesions is None:
            return np.arange(len(joined)), None
        own = joined.labels.group_column or LESION_NAMES[0]
        column = LESION_NAMES[0] if own.lower() in LESION_NAMES else own
    else:
        if group_by not in joined.labels.columns:
            raise InvalidArgumentError(
                f"`group_by`: no column {group_by!r}; the labels have "
                f"{', '.join(joined.labels.columns) or 'no columns'}.",
                parameter="group_by",
            )
        lesions = groups_of(joined.labels.columns[group_by], joined.predictions.ids)
    return cluster_index(np.asarray(lesions, dtype=object).astype(str)), column
