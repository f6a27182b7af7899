"""`Threshold`: an operating point as a file that says which model, data and confidence it stands for.

The first eleven keys are those of devatreya's `threshold.json`, with the same meaning (0 where a ratio
is undefined); everything else follows them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skinclf._utils.environment import now
from skinclf._utils.files import write_text
from skinclf._version import __version__
from skinclf.decisions.operating_point import INTERVAL_METHOD, OperatingPoint
from skinclf.decisions.tuning_data import (
    seen,
    with_hashes,
    without_hashes,
    write_hashes,
)
from skinclf.errors import InvalidArgumentError, MismatchError
from skinclf.inference.predictor import Predictor
from skinclf.models.class_decision import ClassDecision
from skinclf.models.identity import ModelIdentity
from skinclf.models.spec import ModelSpec

SCHEMA = 1
_POINT = "operating point "
_MAX_BYTES = 64 * 1024 * 1024
_RATES = ("sensitivity", "specificity", "ppv", "npv", "accuracy", "lr_positive", "lr_negative")


@dataclass(frozen=True, slots=True)
class Threshold:
    """A threshold with its evidence.

    Attributes:
        value: Positive at or above it; compared as float32; between 0 and 1.
        source: Origin, for messages: a file, an operating point's name, or the number as given.
        data: Content of the file; empty when only a number was given.
    """

    value: float
    source: str
    data: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.value <= 1:
            raise InvalidArgumentError(
                f"{self.source}: a threshold lies between 0 and 1; received {self.value}."
            )

    @classmethod
    def of(
        cls,
        point: OperatingPoint,
        *,
        name: str,
        model: ModelSpec | Mapping[str, Any] | None = None,
        positive: Sequence[str] | None = None,
        data: Mapping[str, Any] | None = None,
        table: Mapping[float, OperatingPoint | None] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Threshold:
        """The threshold of an operating point, ready to be written.

        Example:
            >>> from skinclf import Threshold, tune_threshold
            >>> point = tune_threshold([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], target_sensitivity=0.9)
            >>> Threshold.of(point, name="sensitivity-0.9").value == point.threshold
            True

        Args:
            point: Operating point from `skinclf.tune_threshold`.
            name: Name of the operating point, such as `sensitivity-0.9`.
            model: Specification of the model whose probabilities were used (`Predictor.spec`), or its identity as
                files hold it; None when it is unknown: `check` then refuses it for any model unless forced.
            positive: Codes whose summed probability the threshold applies to; None takes the malignant codes of the
                model's specification.
            data: Description of the data, from `skinclf.decisions.tuning_data.data_identity`.
            table: Operating points of other target sensitivities on the same data.
            extra: Further top-level keys of the file.

        Raises:
            InvalidArgumentError: The threshold lies outside [0, 1].
        """
        made_for = model.identity.to_dict() if isinstance(model, ModelSpec) else model
        if positive is None and isinstance(model, ModelSpec):
            positive = [label.code for label in model.labels if label.malignant] or None
        content = {
            "threshold": point.threshold,
            **{
                key: _number(getattr(point, key).value) or 0.0
                for key in ("sensitivity", "specificity", "ppv", "npv")
            },
            "accuracy": point.accuracy.value,
            "f1_score": point.f1_score,
            "tp": point.tp,
            "tn": point.tn,
            "fp": point.fp,
            "fn": point.fn,
            "schema": SCHEMA,
            "skinclf_version": __version__,
            "name": name,
            "rule": "positive when the probability is at least the threshold, both as float32",
            "criterion": point.criterion,
            "target": point.target,
            "grade": point.grade,
            "confidence": point.confidence,
            "claimed": point.claimed,
            "lower_bound": _number(point.lower_bound),
            "claim": point.claim,
            "unit": point.unit,
            "combine": point.combine,
            "n": point.n,
            "positives": point.tp + point.fn,
            "negatives": point.tn + point.fp,
            "lesions": point.lesions,
            "intervals": {
                "method": INTERVAL_METHOD,
                **{key: getattr(point, key).to_dict() for key in _RATES},
            },
            "at_prevalence": _at_prevalence(point),
            "positive": None if positive is None else list(positive),
            "model": None if made_for is None else dict(made_for),
            "data": None if data is None else dict(data),
            "date": now(),
            **(extra or {}),
        }
        if table is not None:
            content["table"] = [_row(target, other) for target, other in table.items()]
        return cls(point.threshold, name, content)

    @property
    def model(self) -> Mapping[str, Any] | None:
        """Name and fingerprint of the model it was made for; None when the file does not say."""
        return self.data.get("model")

    @property
    def positive(self) -> tuple[str, ...] | None:
        """Codes whose summed probability it applies to; None when the file does not say."""
        codes = self.data.get("positive")
        return None if codes is None else tuple(codes)

    @property
    def decision(self) -> ClassDecision | None:
        """Rule for the predicted class (`per_class`, `cost_matrix` of tuning); None when the file has none.

        Raises:
            InvalidArgumentError: The file's rule is malformed.
        """
        rule = self.data.get("decision")
        return None if rule is None else ClassDecision.from_dict(rule)

    @property
    def origin(self) -> str:
        """Where it came from, in words for manifests: `stated`, an operating point by name, or `threshold file`."""
        if not self.data:
            return "stated"
        return self.source if self.source.startswith(_POINT) else "threshold file"

    def check(self, spec: ModelSpec, *, force: bool = False) -> tuple[str, ...]:
        """Refuse a threshold of another model, combination, preprocessing, label map, calibration or class.

        A file of skinclf that names no model is refused as well: nothing says that it fits. devatreya's files cannot
        name one, and are accepted with a notice.

        Args:
            spec: Specification of the model to use the threshold with.
            force: Whether objections are returned instead of raised.

        Returns:
            Notices for the user; empty when the threshold belongs to the model.

        Raises:
            MismatchError: The threshold was made for another model or another combination of models and views, or
                names no model.
        """
        wrong, notices = self._objections(spec)
        if wrong and not force:
            raise MismatchError(
                f"{self.source}: made for {self._made_for()}, not for {spec.name}: {'; '.join(wrong)}. "
                "Tune a threshold for this model, or pass `force` to use it all the same.",
                parameter="force",
            )
        return (*wrong, *notices)

    def applied_to(self, predictor: Predictor, *, force: bool = False) -> tuple[Predictor, tuple[str, ...]]:
        """The predictor with this threshold, and with the rule among classes where the file has one.

        Args:
            predictor: Predictor of the model that the threshold was tuned for.
            force: Whether objections are returned instead of raised.

        Returns:
            A predictor of the same loaded model, and notices for the user.

        Raises:
            MismatchError: As for `check`, or the rule is among other classes.
        """
        notices = self.check(predictor.spec, force=force)
        return predictor.with_threshold(self.value, decision=self.decision, origin=self.origin), notices

    def _objections(self, spec: ModelSpec) -> tuple[list[str], list[str]]:
        wrong: list[str] = []
        notices: list[str] = []
        made_for = ModelIdentity.from_dict(self.model or {})
        if made_for.bound:
            if "weights" in made_for.unknown(spec.identity):
                notices.append(f"{self.source}: cannot tell whether it was made with these weights.")
            wrong += [f"other {word}" for word in made_for.differences(spec.identity)]
        elif "schema" in self.data:
            wrong.append("the file names no model, so nothing says that it was tuned for this one")
        elif self.data:
            notices.append(f"{self.source}: names no model; make sure that it was tuned for {spec.name}.")
        indices = spec.labels.malignant_indices
        if self.positive is not None and indices is not None:
            flagged = {spec.labels.codes[i] for i in indices}
            if set(self.positive) != flagged:
                wrong.append(
                    f"it applies to P({'+'.join(self.positive)}), not P({'+'.join(sorted(flagged))})"
                )
        if self.data.get("unit") == "lesion":
            notices.append(
                f"{self.source}: tuned for one decision per lesion (the {self.data.get('combine')} of its "
                "images); single images do not have its sensitivity and specificity."
            )
        if self.decision is None and ({"classes", "cost_matrix"} & set(self.data)):
            notices.append(
                f"{self.source}: written by a version that did not record the rule among classes, so the most "
                "probable class is predicted; tune again to have it applied."
            )
        return wrong, notices

    def _made_for(self) -> str:
        return str((self.model or {}).get("name") or "an unnamed model")

    def seen(self, *, images: Iterable[str] = (), lesions: Iterable[str] = ()) -> tuple[str, ...]:
        """Those of the images and lesions that the threshold was tuned on, as named here, without repeats."""
        return seen(self.data.get("data") or {}, images=images, lesions=lesions)

    def write(self, path: Path | str) -> None:
        """Write the file, whole or not at all; hashes of what it was tuned on go into `<stem>.hashes.json` beside it.

        Args:
            path: Path of the threshold file, such as `threshold.json`.

        Raises:
            OutputError: A file cannot be written.
        """
        content = dict(self.data)
        if content.get("data"):
            content["data"] = write_hashes(content["data"], Path(path))
        text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
        write_text(Path(path), text)

    def summary(self) -> dict[str, Any]:
        """The evidence without its longest parts, to be kept in a bundle as a named operating point."""
        short = {k: v for k, v in self.data.items() if k not in {"table", "model"}}
        return short | {"data": without_hashes(self.data.get("data") or {})}


def read_threshold(path: Path | str) -> Threshold:
    """Read a threshold file: skinclf's own, or devatreya's (11 keys, or some of them).

    Raises:
        InvalidArgumentError: No such file, or no JSON object with a `threshold` between 0 and 1.
        MismatchError: The hashes beside it are not those that were written with it.
    """
    source = Path(path)
    try:
        if source.stat().st_size > _MAX_BYTES:
            raise InvalidArgumentError(
                f"{source}: larger than {_MAX_BYTES:,} bytes; that is no threshold file."
            )
        data = json.loads(source.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"{source}: not a threshold file: {error}.") from None
    value = data.get("threshold") if isinstance(data, dict) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidArgumentError(f"{source}: expected a JSON object with a number 'threshold'.")
    model, positive = data.get("model"), data.get("positive")
    if not (model is None or isinstance(model, dict)) or not (positive is None or isinstance(positive, list)):
        raise InvalidArgumentError(f"{source}: 'model' is an object and 'positive' a list of codes.")
    if isinstance(data.get("data"), dict):
        data["data"] = with_hashes(data["data"], source)
    return Threshold(float(value), str(source), data)


def resolve_threshold(
    text: str, spec: ModelSpec, *, force: bool = False
) -> tuple[Threshold, tuple[str, ...]]:
    """Resolve a number, the name of one of the model's operating points, or a threshold file made for the model.

    Returns:
        The threshold, and notices for the user.

    Raises:
        InvalidArgumentError: `text` is none of these.
        MismatchError: The file was made for another model.
    """
    try:
        return Threshold(float(text), text), ()
    except ValueError as error:
        if isinstance(error, InvalidArgumentError):
            raise
    if text in spec.operating_points:
        point = spec.operating_points[text]
        return Threshold(float(point["threshold"]), f"{_POINT}{text}", point), ()
    if not Path(text).is_file():
        names = ", ".join(spec.operating_points) or "none"
        raise InvalidArgumentError(
            f"Threshold {text!r}: expected a number between 0 and 1, a threshold file, or one of "
            f"{spec.name}'s operating points ({names})."
        )
    threshold = read_threshold(text)
    return threshold, threshold.check(spec, force=force)


def _number(value: float) -> float | None:
    """JSON has neither NaN nor infinity."""
    return value if math.isfinite(value) else None


def _at_prevalence(point: OperatingPoint) -> dict[str, Any] | None:
    if point.ppv_at_prevalence is None or point.npv_at_prevalence is None:
        return None
    return {
        "prevalence": point.prevalence,
        "ppv": point.ppv_at_prevalence.to_dict(),
        "npv": point.npv_at_prevalence.to_dict(),
    }


def _row(target: float, point: OperatingPoint | None) -> dict[str, Any]:
    if point is None:
        return {"target": target, "threshold": None}
    rates = {key: getattr(point, key).to_dict() for key in ("sensitivity", "specificity", "ppv", "npv")}
    return {"target": target, "threshold": point.threshold, "claimed": point.claimed, **rates}
