"""Maps of where a model is sensitive: Grad-CAM, occlusion and their kin, in the geometry of the original image."""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = [
    "Explainer",
    "Explanation",
    "MapFolder",
    "Target",
    "check_explanations",
    "check_words",
    "explain",
    "write_explanations",
]

if TYPE_CHECKING:
    from skinclf.explanation.checks.run import check_explanations, check_words
    from skinclf.explanation.explainer import Explainer, explain
    from skinclf.explanation.explanation import Explanation
    from skinclf.explanation.folder import MapFolder
    from skinclf.explanation.run import write_explanations
    from skinclf.explanation.target import Target
else:
    from skinclf._utils.lazy import lazy_names

    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "skinclf.explanation.checks.run": ["check_explanations", "check_words"],
            "skinclf.explanation.explainer": ["Explainer", "explain"],
            "skinclf.explanation.explanation": ["Explanation"],
            "skinclf.explanation.folder": ["MapFolder"],
            "skinclf.explanation.run": ["write_explanations"],
            "skinclf.explanation.target": ["Target"],
        },
    )
