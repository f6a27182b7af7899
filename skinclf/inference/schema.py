"""The columns of the predictions table and the cells of a prediction."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skinclf.errors import MissingExtraError
from skinclf.inference.prediction import Prediction
from skinclf.labels import LabelSet

_HEAD: Mapping[str, type] = {
    "image": str,
    "probability_malignant": float,
    "predicted_label": int,
    "predicted_class": str,
    "threshold": float,
    "flagged": bool,
}


_TAIL: Mapping[str, type] = {"status": str, "error": str}


#: Types of columns by the names that manifests use.
TYPES: Mapping[str, type] = {kind.__name__: kind for kind in (str, float, int, bool)}


def number(value: float | None) -> str:
    """The shortest text that parses back to the same float32; empty for None."""
    return "" if value is None else str(np.float32(value))


@dataclass(frozen=True, slots=True)
class Schema:
    """The columns of a table.

    Attributes:
        labels: Gives one column `p_<code>` for each class.
        top_k: How many times `top<i>_class`, `top<i>_name` and `top<i>_probability` follow them.
        extra: Further columns of the scorer, before `status` and `error`: name to type.
    """

    labels: LabelSet
    top_k: int = 0
    extra: Mapping[str, type] = field(default_factory=dict)

    @property
    def columns(self) -> dict[str, type]:
        """Name to type, in order; every column but `image`, `status` and `error` may be empty."""
        result = {**_HEAD, **{f"p_{code}": float for code in self.labels.codes}}
        for i in range(1, min(self.top_k, len(self.labels)) + 1):
            result |= {f"top{i}_class": str, f"top{i}_name": str, f"top{i}_probability": float}
        return {**result, **self.extra, **_TAIL}

    def values(self, prediction: Prediction) -> list[Any]:
        """One row in the order of `columns`; None where a cell is empty."""
        if not prediction.ok:
            pairs = min(self.top_k, len(self.labels))
            blanks = len(_HEAD) - 1 + len(self.labels) + 3 * pairs
            # A refused image has the columns of the gate; one that cannot be read has none.
            extra = [_known(prediction.extra.get(name)) for name in self.extra]
            return [prediction.image, *[None] * blanks, *extra, prediction.status, prediction.error]
        row: list[Any] = [
            prediction.image,
            prediction.probability_malignant,
            prediction.index,
            prediction.name,
            prediction.threshold,
            prediction.flagged,
            *prediction.probabilities.values(),
        ]
        for code, probability in prediction.top_k(self.top_k) if self.top_k else ():
            row += (code, self.labels[self.labels.position(code)].name, probability)
        row += [_known(prediction.extra[name]) for name in self.extra]
        return [*row, prediction.status, prediction.error]


def to_frame(schema: Schema, predictions: Iterable[Prediction]) -> Any:
    """A table as a `pandas.DataFrame`; what is missing in failed rows stays missing.

    Raises:
        MissingExtraError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError:
        raise MissingExtraError("pandas", "A DataFrame") from None
    kinds = {float: "float32", int: "Int32", bool: "boolean", str: "object"}
    rows = [schema.values(prediction) for prediction in predictions]
    return pd.DataFrame(
        {
            name: pd.Series([row[i] for row in rows], dtype=kinds[kind])
            for i, (name, kind) in enumerate(schema.columns.items())
        }
    )


def _known(value: Any) -> Any:
    """None for a NaN: tables leave the cell empty, and JSON has none."""
    return None if isinstance(value, float) and math.isnan(value) else value
