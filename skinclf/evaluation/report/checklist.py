"""Checklist of reporting guidelines: the topics that a report answers.

The guidelines are TRIPOD+AI (Collins et al., BMJ 2024), CLAIM (Mongan et al. 2020, updated 2024) and STARD-AI
(2025); their own texts are what counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Covered = Literal["yes", "partly", "no"]


@dataclass(frozen=True, slots=True)
class Item:
    """One topic.

    Attributes:
        topic: What the guidelines ask for.
        guidelines: Which of them.
        covered: Whether this report answers it.
        where: In which section, or who has to answer it.
    """

    topic: str
    guidelines: str
    covered: Covered
    where: str


def checklist(metrics: Mapping[str, Any]) -> list[Item]:
    """The topics and how far `metrics` answer them."""
    data, threshold = metrics["data"], metrics["threshold"]
    lesions, point = data["lesions"] is not None, metrics["operating_point"]
    checked = bool(metrics["leakage"]["compared_with"])
    every = "TRIPOD+AI, CLAIM, STARD-AI"
    own, here = "the study's authors", "Data and checks"
    histology = any(row["column"] == "dx_type" for row in metrics["subgroups"])
    frozen: Covered = "no"
    if threshold["given"]:
        frozen = "yes" if threshold["tuned_on"] else "partly"
    return [
        Item("Model, version and software", every, "yes" if metrics["model"] else "partly", here),
        Item("Intended use and its limits", every, "partly", "Notice; the model card says more"),
        Item("Source, dates and eligibility of the images", every, "no", own),
        Item("Images excluded or failed, with counts", every, "yes", here),
        Item(
            "Reference standard and who set it", every, "partly" if histology else "no", f"Subgroups; {own}"
        ),
        Item("Level at which data were split", "TRIPOD+AI, CLAIM", _yes(lesions and checked), here),
        Item("Overlap of development and test data", every, _yes(checked), here),
        Item("Sample size, by class and by lesion", every, "yes" if lesions else "partly", here),
        Item("Threshold fixed before the test", "STARD-AI, CLAIM", frozen, "Operating point"),
        Item("Discrimination with intervals", every, "yes", "Ranking"),
        Item("Calibration with intervals", "TRIPOD+AI", "yes", "Calibration"),
        Item("Sensitivity, specificity, predictive values", every, _yes(bool(point)), "Operating point"),
        Item("Cross-tabulation with the reference", "STARD-AI, CLAIM", "yes", "Classes; Operating point"),
        Item("Net benefit", "TRIPOD+AI", _yes(bool(metrics["curves"]["decision"])), "Usefulness"),
        Item("Images of one lesion not independent", "TRIPOD+AI, STARD-AI", _yes(lesions), "Methods"),
        Item("Fairness across subgroups", every, _yes(bool(metrics["subgroups"])), "Subgroups"),
        Item("Analysis of errors", "CLAIM", "yes", "Errors"),
        Item("Comparison with another model", "CLAIM", _yes(bool(metrics["comparison"])), "Comparison"),
        Item("Comparison with readers", "CLAIM, STARD-AI", "no", own),
        Item("Test on data of another site", every, "no", own),
        Item("Ethics, registration, funding, conflicts", every, "no", own),
        Item("Availability of code, model and data", every, "partly", f"skinclf is open source; {own}"),
    ]


def _yes(value: bool) -> Covered:  # noqa: FBT001
    return "yes" if value else "no"
