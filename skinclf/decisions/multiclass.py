"""Fitting of decisions among several classes: one threshold per class, or costs of every confusion.

The rules themselves are in `skinclf.models.class_decision`, so that a model can carry one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Unpack

import numpy as np
import numpy.typing as npt

from skinclf._utils.arrays import Floats
from skinclf._utils.columns import parse_float32, read_columns
from skinclf.decisions.operating_point import OperatingPoint
from skinclf.decisions.thresholds import TuneOptions, tune_threshold
from skinclf.errors import InvalidArgumentError
from skinclf.models.class_decision import ClassDecision, decide_by_thresholds

_POWERS = np.round(np.arange(0, 1.51, 0.05), 2)


def tune_class_thresholds(
    truth: Sequence[str],
    probabilities: npt.NDArray[np.float32],
    codes: Sequence[str],
    **options: Unpack[TuneOptions],
) -> dict[str, OperatingPoint]:
    """One operating point per class, each class against the rest.

    Args:
        truth: Class code of each row, length N.
        probabilities: Shape (N, K).
        codes: Class codes in column order, length K.
        **options: As for `tune_threshold`, the same for every class.

    Raises:
        InvalidArgumentError: A class does not occur, or is all there is.
        InsufficientDataError: A class is too rare for the target and grade.
    """
    labels = np.asarray(truth)
    points = {}
    for column, code in enumerate(codes):
        present = labels == code
        if not present.any() or present.all():
            raise InvalidArgumentError(
                f"Class {code} has {int(present.sum())} of {labels.size} rows; it needs both kinds."
            )
        points[code] = tune_threshold(present, probabilities[:, column], **options)
    return points


def balanced_decision(
    truth: Sequence[str], probabilities: npt.NDArray[np.float32], codes: Sequence[str]
) -> ClassDecision:
    """The rule of highest balanced accuracy among thresholds that are powers of the classes' shares.

    A power of 0 decides for the most probable class; with 1, and calibrated probabilities of balanced classes, the
    likelihood decides. One parameter is fitted, so that rare classes cannot bend the rule; the middle of three
    neighbouring powers with the highest mean is taken, so that one image cannot either.

    Source: Menon et al., "Long-tail learning via logit adjustment", ICLR 2021 (post-hoc adjustment).

    Args:
        truth: Class code of each row, length N.
        probabilities: Shape (N, K).
        codes: Class codes in column order, length K.

    Raises:
        InvalidArgumentError: A class does not occur.
    """
    labels = np.asarray(truth)
    counts = np.asarray([(labels == code).sum() for code in codes])
    if not counts.all():
        missing = ", ".join(code for code, n in zip(codes, counts, strict=True) if not n)
        raise InvalidArgumentError(
            f"A balanced decision needs every class among the labels; missing: {missing}."
        )
    shares = counts / counts.sum()
    index = np.searchsorted(np.sort(codes), labels)
    places = np.argsort(codes)[index]

    def balanced_accuracy(power: float) -> float:
        decided = decide_by_thresholds(probabilities, tuple(shares**power))
        return float(np.mean([(decided[places == k] == k).mean() for k in range(len(codes))]))

    values = np.asarray([balanced_accuracy(power) for power in _POWERS])
    smooth = np.convolve(values, np.ones(3) / 3, mode="valid")
    power = float(_POWERS[1 + int(smooth.argmax())])
    return ClassDecision(codes=tuple(codes), thresholds=tuple(float(t) for t in shares**power))


def read_costs(path: Path, codes: Sequence[str]) -> Floats:
    """Read a cost table: a first column with the true class, one column per decided class.

    Args:
        path: CSV such as `truth,mel,nv` with rows `mel,0,20` and `nv,1,0`.
        codes: Class codes; rows and columns are put in this order.

    Returns:
        Shape (K, K); row = truth, column = decision.

    Raises:
        InvalidArgumentError: A class is missing, or a cost is no finite number.
    """
    columns = read_columns(path)
    names = list(columns)
    rows = {code.lower(): i for i, code in enumerate(columns[names[0]])}
    lower: Mapping[str, str] = {name.lower(): name for name in names[1:]}
    missing = [code for code in codes if code.lower() not in rows or code.lower() not in lower]
    if missing:
        raise InvalidArgumentError(
            f"{path}: needs a row and a column for each class; missing: {', '.join(missing)}."
        )
    by_column = [parse_float32(columns[lower[c.lower()]], f"{path}: column {c}") for c in codes]
    costs = np.stack(by_column, axis=1)[[rows[c.lower()] for c in codes]].astype(np.float64)
    if not np.isfinite(costs).all():
        raise InvalidArgumentError(f"{path}: a cost is missing or not finite.")
    return costs
