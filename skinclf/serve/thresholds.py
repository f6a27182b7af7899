"""The thresholds that the server offers: the model's operating points, those of a threshold file, a stated number.

Each has what is known about it, and says so where nothing is: a bare number has the grade `none`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from skinclf.decisions.threshold_file import Threshold, resolve_threshold
from skinclf.errors import InvalidArgumentError
from skinclf.inference.predictor import Predictor
from skinclf.inference.schema import number
from skinclf.models.class_decision import ClassDecision

#: Name of a threshold that is a bare number.
VALUE = "value"


@dataclass(frozen=True, slots=True)
class OfferedThreshold:
    """A threshold that requests may name.

    Attributes:
        name: Name of the operating point, or `value`.
        value: Threshold on P(malignant), a float32 value.
        evidence: What was recorded about it, with the keys of a threshold file; empty for a number.
        decision: Rule for the predicted class that applies with it; None for the most probable class, or of two labels
            with one malignant the decision at the threshold.
        default: Whether it is used where a request names none.
    """

    name: str
    value: float
    evidence: Mapping[str, Any] = field(default_factory=dict)
    decision: ClassDecision | None = None
    default: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON form: the entry of `/v1/thresholds`."""
        known = self.evidence
        n, flagged = known.get("n"), _sum(known, "tp", "fp")
        target = known.get("target")
        return {
            "name": self.name,
            "value": float(number(self.value)),
            "text": number(self.value),
            "grade": str(known.get("grade") or ("empirical" if n else "none")),
            "target": None if target is None else str(target),
            "sensitivity": _rate(known, "sensitivity"),
            "specificity": _rate(known, "specificity"),
            "flagged_per_1000": None if flagged is None or not n else 1000 * flagged / n,
            "n": n,
            "n_malignant": _sum(known, "tp", "fn"),
            "unit": known.get("unit"),
            "data": _data(known),
            "date": known.get("date"),
            "decision": None
            if self.decision is None
            else {**self.decision.to_dict(), "words": str(self.decision)},
            "default": self.default,
        }


class Thresholds:
    """Everything that requests may name, in ascending order of value.

    Args:
        predictor: Predictor whose model the thresholds belong to.
        text: Threshold in use where a request names none: a file, an operating point or a number; None takes the
            predictor's own.
        force: Whether a file that was made for another model is accepted.
        default: Whether one of them is used where a request names none.

    Attributes:
        offered: The thresholds in ascending order of value.
        notices: Sentences for the user of the server.
    """

    def __init__(
        self, predictor: Predictor, text: str | None = None, *, force: bool = False, default: bool = True
    ) -> None:
        spec = predictor.spec
        self._decision = predictor.decision
        made = {name: _point(name, point) for name, point in spec.operating_points.items()}
        self.notices: tuple[str, ...] = ()
        if text is None:
            self.notices = predictor.threshold_notices
            chosen = made.get(spec.default_operating_point or "") or _number(predictor.threshold)
        else:
            found, self.notices = resolve_threshold(text, spec, force=force)
            chosen = made.get(text) or _of_file(found)
            if chosen.name not in made:
                made |= _table(found)
        if default:
            made[chosen.name] = replace(chosen, default=True)
        ruled = [replace(entry, decision=entry.decision or self._decision) for entry in made.values()]
        self.offered = tuple(sorted(ruled, key=lambda entry: (entry.value, entry.name)))

    @property
    def default(self) -> OfferedThreshold:
        """The one that is used where a request names none."""
        return next(entry for entry in self.offered if entry.default)

    def find(self, text: str | None) -> OfferedThreshold:
        """The threshold that a request names, by name or as a number between 0 and 1; None: the default.

        Raises:
            InvalidArgumentError: `text` is neither.
        """
        if text is None:
            return self.default
        for entry in self.offered:
            if entry.name == text:
                return entry
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not 0 <= value <= 1:
            names = ", ".join(entry.name for entry in self.offered)
            raise InvalidArgumentError(
                f"Unknown threshold; expected a number between 0 and 1 or one of {names}.",
                parameter="threshold",
            )
        stated = [entry.decision for entry in self.offered if entry.default]
        return _number(value, stated[0] if stated else self._decision)

    def applied(self, entry: OfferedThreshold, predictor: Predictor) -> Predictor:
        """The predictor with a threshold, and with the rule among classes that belongs to it."""
        return predictor.with_threshold(entry.value, decision=entry.decision or self._decision)


def _number(value: float, decision: ClassDecision | None = None) -> OfferedThreshold:
    return OfferedThreshold(VALUE, float(np.float32(value)), {}, decision)


def _point(name: str, point: Mapping[str, Any]) -> OfferedThreshold:
    return OfferedThreshold(name, float(np.float32(point["threshold"])), point)


def _of_file(found: Threshold) -> OfferedThreshold:
    if not found.data:
        return _number(found.value)
    name = str(found.data.get("name") or Path(found.source).stem)
    return OfferedThreshold(name, float(np.float32(found.value)), found.data, found.decision)


def _table(found: Threshold) -> dict[str, OfferedThreshold]:
    """Operating points of other targets that a threshold file lists."""
    rows: Sequence[Mapping[str, Any]] = found.data.get("table") or ()
    shared = {key: found.data.get(key) for key in ("unit", "n", "data", "criterion")}
    made = {}
    for row in rows:
        if row.get("threshold") is not None:
            name = f"sensitivity-{row['target']:g}"
            grade = {"grade": "empirical"}
            evidence = {**shared, **grade, "target": row["target"], "intervals": row}
            made[name] = OfferedThreshold(name, float(np.float32(row["threshold"])), evidence, found.decision)
    return made


def _sum(known: Mapping[str, Any], *names: str) -> int | None:
    """Sum of recorded counts; None where one is missing."""
    counts = [known.get(name) for name in names]
    return None if None in counts else sum(map(int, counts))  # type: ignore[arg-type]  # none is None


def _rate(known: Mapping[str, Any], name: str) -> dict[str, float | None] | None:
    """Estimate with interval; the limits are None where only the estimate was recorded."""
    recorded = (known.get("intervals") or {}).get(name)
    if isinstance(recorded, Mapping):
        return {"estimate": recorded.get("value"), "low": recorded.get("low"), "high": recorded.get("high")}
    value = known.get(name)
    return None if value is None else {"estimate": float(value), "low": None, "high": None}


def _data(known: Mapping[str, Any]) -> str | None:
    """Words for the data it was chosen on; file names without their folders."""
    data = known.get("data")
    if not isinstance(data, Mapping):
        return None
    found = [Path(str(data[key])).name for key in ("predictions", "labels") if data.get(key)]
    names = list(dict.fromkeys(found))
    return " with ".join(names) or None
