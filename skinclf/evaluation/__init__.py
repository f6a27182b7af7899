"""Predictions against reference labels: metrics, comparison, leakage, report."""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = [
    "Evaluation",
    "choose_weights",
    "find_overlaps",
    "write_report",
]

if TYPE_CHECKING:
    from skinclf.evaluation.ensemble_weights import choose_weights
    from skinclf.evaluation.leakage import find_overlaps
    from skinclf.evaluation.report.page import write_report
    from skinclf.evaluation.result import Evaluation
else:
    from skinclf._utils.lazy import lazy_names

    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "skinclf.evaluation.ensemble_weights": ["choose_weights"],
            "skinclf.evaluation.leakage": ["find_overlaps"],
            "skinclf.evaluation.report.page": ["write_report"],
            "skinclf.evaluation.result": ["Evaluation"],
        },
    )
