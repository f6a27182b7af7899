"""The predictions table: one row per input, in input order.

The first four columns are those of the binary seed's table; numbers parse back to the same float32.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from typing import IO

import numpy as np

from skinclf.labels import LabelSet
from skinclf.prediction import Prediction

_HEAD = ("image", "probability_malignant", "predicted_label", "predicted_class", "threshold", "flagged")
_TAIL = ("status", "error")


def columns(labels: LabelSet, *, top_k: int = 0) -> tuple[str, ...]:
    """Column names for a label set."""
    extra = [f"top{i}_{what}" for i in range(1, top_k + 1) for what in ("class", "probability")]
    return (*_HEAD, *(f"p_{code}" for code in labels.codes), *extra, *_TAIL)


def number(value: float | None) -> str:
    """The shortest text that parses back to the same float32; empty for None."""
    return "" if value is None else str(np.float32(value))


def row(prediction: Prediction, *, top_k: int = 0) -> list[str]:
    """The cells of one prediction, in the order of `columns`."""
    labels = prediction.labels
    if prediction.values is None:
        blanks = [""] * (len(_HEAD) - 1 + len(labels) + 2 * top_k)
        return [prediction.image, *blanks, prediction.status, prediction.error]
    flagged = prediction.flagged
    cells = [
        prediction.image,
        number(prediction.probability_malignant),
        str(prediction.index),
        prediction.name,
        number(prediction.threshold),
        "" if flagged is None else str(int(flagged)),
        *(number(value) for value in prediction.values),
    ]
    for code, value in prediction.top_k(top_k):
        cells += [code, number(value)]
    return [*cells, prediction.status, prediction.error]


class CsvWriter:
    """Writes rows as CSV; every `flush` leaves whole rows behind."""

    def __init__(self, file: IO[str], labels: LabelSet, *, top_k: int = 0) -> None:
        self._file = file
        self._top_k = min(top_k, len(labels))
        self._writer = csv.writer(file, lineterminator="\n")
        self._writer.writerow(columns(labels, top_k=self._top_k))

    def write(self, predictions: Sequence[Prediction]) -> None:
        """Append rows and flush them."""
        self._writer.writerows(row(p, top_k=self._top_k) for p in predictions)
        self._file.flush()
