"""Where the threshold of a predictor comes from, and what is said where none was measured for what is in use."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from skinclf.inference.scorer import Scorer
from skinclf.models.spec import ModelSpec

logger = logging.getLogger("skinclf")
#: Origin of a threshold that a user gave.
STATED = "stated"
#: Origin of 0.5 where models or views are averaged, or metadata is used, and no threshold was measured for that.
UNMEASURED = "more probable side"


@dataclass(frozen=True, slots=True)
class UsedThreshold:
    """A threshold on the probability of malignancy in use.

    Attributes:
        value: Between 0 and 1.
        origin: `STATED`, `threshold file`, `operating point <name>`, `default` or `UNMEASURED`.
        notices: Sentences on one that was neither stated nor measured for what is in use.
    """

    value: float
    origin: str = STATED
    notices: tuple[str, ...] = ()

    @classmethod
    def of_contract(cls, scorer: Scorer, spec: ModelSpec) -> UsedThreshold:
        """The one that a contract brings.

        Args:
            scorer: Scorer in use.
            spec: Contract in use, which with metadata is not the scorer's own.
        """
        notices = threshold_notices(scorer, spec)
        if spec.default_operating_point is not None:
            return cls(spec.threshold, f"operating point {spec.default_operating_point}", notices)
        return cls(spec.threshold, UNMEASURED if notices else "default", notices)

    def told(self) -> UsedThreshold:
        """The same without its notices, which are logged."""
        for notice in self.notices:
            logger.warning(notice)
        return replace(self, notices=())


def threshold_notices(scorer: Scorer, spec: ModelSpec) -> tuple[str, ...]:
    """Sentences on the threshold of averaged models or views, and of metadata, where none was measured for them.

    Args:
        scorer: Scorer in use.
        spec: Contract in use, which with metadata is not the scorer's own.
    """
    fingerprint = scorer.fingerprint
    if spec.labels.malignant_indices is None:
        return ()
    if spec.fused and spec.default_operating_point is None:
        text = f"No threshold was measured with metadata, so images are flagged from {spec.threshold:g} of "
        return (text + "P(malignant); tune one on predictions with metadata, or state `threshold`.",)
    averaged = "members" in fingerprint or fingerprint.get("tta", "none") != "none"
    if averaged and spec.default_operating_point is None:
        text = f"No threshold was measured for {spec.name} as a whole, and none of a single model or view applies: "
        return (
            text
            + f"images are flagged where malignant is the more probable side, from {spec.threshold:g} of "
            "P(malignant). Tune a threshold for this combination, or state `threshold`.",
        )
    return ()
