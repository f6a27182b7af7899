"""Predictions and reference labels: read, joined, aggregated."""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = [
    "LabelTable",
    "PredictionTable",
    "group_names",
    "join",
    "read_labels",
    "read_predictions",
]

if TYPE_CHECKING:
    from skinclf.tables.aggregate import group_names
    from skinclf.tables.predictions import PredictionTable, join, read_predictions
    from skinclf.tables.reference import LabelTable, read_labels
else:
    from skinclf._utils.lazy import lazy_names

    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "skinclf.tables.aggregate": ["group_names"],
            "skinclf.tables.predictions": ["PredictionTable", "join", "read_predictions"],
            "skinclf.tables.reference": ["LabelTable", "read_labels"],
        },
    )
