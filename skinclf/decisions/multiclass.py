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
