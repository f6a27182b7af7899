"""Which topics of the reporting guidelines a report answers, in our own words.

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
    own = "the study's authors"
    return [
        Item("Model, version and software identified", every, "yes" if metrics["model"] else "partly", "Data and checks"),
        Item("Intended use and its limits", every, "partly", "Notice; the model card says more"),
        Item("Source, dates and eligibility of the images", every, "no", own),
        Item("Images excluded or failed, with counts", every, "yes", "Data and checks"),
        Item("Reference standard and who set it", every,
             "partly" if any(row["column"] == "dx_type" for row in metrics["subgroups"]) else "no",
             "Subgroups, by way of diagnosis; otherwise " + own),
        Item("Level at which data were split", "TRIPOD+AI, CLAIM", "yes" if lesions and checked else "no",
             "Data and checks"),
        Item("Overlap of development and test data examined", every, "yes" if checked else "no", "Data and checks"),
        Item("Sample size, by class and by lesion", every, "yes" if lesions else "partly", "Data and checks"),
        Item("Threshold fixed before the test, with its origin", "STARD-AI, CLAIM",
             "yes" if threshold["given"] and threshold["tuned_on"] else "partly" if threshold["given"] else "no",
             "Operating point"),
        Item("Discrimination with intervals", every, "yes", "Ranking"),
        Item("Calibration with intervals", "TRIPOD+AI", "yes", "Calibration"),
        Item("Sensitivity, specificity and predictive values with intervals", every, "yes" if point else "no",
             "Operating point"),
        Item("Cross-tabulation of answers and reference", "STARD-AI, CLAIM", "yes", "Classes; Operating point"),
        Item("Clinical utility (net benefit)", "TRIPOD+AI", "yes" if metrics["curves"]["decision"] else "no",
             "Usefulness"),
        Item("Dependence of images of one lesion handled", "TRIPOD+AI, STARD-AI", "yes" if lesions else "no", "Methods"),
        Item("Performance and fairness across subgroups", every, "yes" if metrics["subgroups"] else "no", "Subgroups"),
        Item("Analysis of errors", "CLAIM", "yes", "Errors"),
        Item("Comparison with another model or with readers", "CLAIM, STARD-AI",
             "partly" if metrics["comparison"] else "no", "Comparison; readers: " + own),
        Item("Test on data of another site", every, "no", own),
        Item("Ethics, registration, funding, conflicts", every, "no", own),
        Item("Code, model and data availability", every, "partly", "skinclf is open source; otherwise " + own),
    ]  # fmt: skip
