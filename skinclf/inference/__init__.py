"""Pixels to predictions in memory: predictor, scorers, batch engine, test-time augmentation, ensembles."""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = [
    "ConformalSets",
    "Prediction",
    "Predictor",
    "Scorer",
    "make_scorer",
    "to_frame",
]

if TYPE_CHECKING:
    from skinclf.inference.conformal_sets import ConformalSets
    from skinclf.inference.factory import make_scorer
    from skinclf.inference.prediction import Prediction
    from skinclf.inference.predictor import Predictor
    from skinclf.inference.schema import to_frame
    from skinclf.inference.scorer import Scorer
else:
    from skinclf._utils.lazy import lazy_names

    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "skinclf.inference.conformal_sets": ["ConformalSets"],
            "skinclf.inference.factory": ["make_scorer"],
            "skinclf.inference.prediction": ["Prediction"],
            "skinclf.inference.predictor": ["Predictor"],
            "skinclf.inference.schema": ["to_frame"],
            "skinclf.inference.scorer": ["Scorer"],
        },
    )
