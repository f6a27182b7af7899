"""Probabilities from raw outputs: activation functions, and calibration stored as plain numbers.

One place for both, so that every runtime returns the same raw scores and every caller gets the same numbers.
Probabilities are float32 everywhere: tables, thresholds and decisions compare float32.

Sources: Guo et al., "On calibration of modern neural networks", ICML 2017 (temperature and vector scaling);
Zadrozny & Elkan, "Transforming classifier scores into accurate multiclass probability estimates", KDD 2002
(isotonic regression).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from skinclf._utils.arrays import Float32, Floats, expit, log_softmax, softmax
from skinclf.errors import ModelError

Activation: TypeAlias = Literal["softmax", "sigmoid", "independent", "identity"]
_TINY = 1e-12
Method: TypeAlias = Literal["temperature", "vector", "isotonic"]


def to_logits(scores: npt.NDArray[Any], activation: Activation) -> Floats:
    """Raw outputs as logits over labels.

    Args:
        scores: Shape (N, K); (N, 1) for a single sigmoid output.
        activation: `softmax` (scores are logits), `sigmoid` (one logit for the second of two labels)
            or `identity` (scores are probabilities already; (N, 1) means P(second label)).

    Returns:
        Shape (N, K) with K >= 2, float64; a softmax over them gives the probabilities.

    Raises:
        ModelError: The outputs are `independent`; no softmax gives their probabilities.
    """
    if activation == "independent":
        raise ModelError("Independent outputs have no common logits; calibrations are for exclusive classes.")
    values = np.asarray(scores, dtype=np.float64)
    if activation == "identity":
        if values.shape[1] == 1:
            values = np.concatenate([1.0 - values, values], axis=1)
        return np.asarray(np.log(np.clip(values, _TINY, 1.0)))
    if activation == "sigmoid":
        return np.concatenate([np.zeros_like(values), values], axis=1)
    return values


def probabilities(
    scores: npt.NDArray[Any], activation: Activation, calibration: Calibration | None = None
) -> Float32:
    """Probabilities by label, shape (N, K), float32; `calibration` is applied to the logits first.

    Those of an `independent` model (one logit and one sigmoid per label) do not sum to 1.
    """
    if calibration is None and activation == "independent":
        return np.asarray(expit(np.asarray(scores, dtype=np.float64)), np.float32)
    if calibration is None and activation == "identity":
        values = np.asarray(scores, dtype=np.float64)
        if values.shape[1] == 1:
            values = np.concatenate([1.0 - values, values], axis=1)
        return values.astype(np.float32)
    logits = to_logits(scores, activation)
    result = softmax(logits) if calibration is None else calibration.apply(logits)
    return result.astype(np.float32)


@dataclass(frozen=True, slots=True)
class Calibration:
    """A fitted calibration.

    Attributes:
        method: `temperature` (one factor), `vector` (a factor and an offset per label, on log-probabilities)
            or `isotonic` (a factor, then a monotone curve for the probability of a group of labels, such as
            the malignant ones; inside and outside the group, labels keep their proportions).
        scale: Factors on the logits; one number, or for `vector` one per label.
        offset: Added after `scale`; empty, or one per label.
        curve: For `isotonic`: points (probability before, after), rising in both; linear in between.
        group: For `isotonic`: indices of the labels whose summed probability the curve corrects.
    """

    method: Method
    scale: tuple[float, ...]
    offset: tuple[float, ...] = ()
    curve: tuple[tuple[float, float], ...] = ()
    group: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise ModelError(f"Calibration method is one of {get_args(Method)}; received {self.method!r}.")
        numbers = [*self.scale, *self.offset, *(x for point in self.curve for x in point)]
        if not np.isfinite(numbers).all():
            raise ModelError("Calibration needs finite numbers.")
        if not self.scale or (self.method != "vector" and self.scale[0] <= 0):
            raise ModelError(f"A {self.method} calibration needs factors, a single one above 0.")
        if self.method == "isotonic":
            self._check_curve()

    def _check_curve(self) -> None:
        points = np.asarray(self.curve, np.float64).reshape(-1, 2)
        rising = len(points) and (np.diff(points[:, 0]) > 0).all() and (np.diff(points[:, 1]) >= 0).all()
        inside = rising and points.min() >= 0 and points.max() <= 1
        if not inside or not self.group or self.offset:
            raise ModelError(
                "An isotonic calibration has a group of labels and a curve rising within 0 and 1."
            )

    def check(self, labels: int) -> None:
        """Refuse a calibration that does not fit the number of labels.

        Raises:
            ModelError: The calibration was fitted for another number of labels.
        """
        known = set(self.group) < set(range(labels)) and len(set(self.group)) == len(self.group)
        if not known:
            raise ModelError(f"A calibration of {labels} labels cannot correct the group {self.group}.")
        factors = labels if self.method == "vector" else 1
        if len(self.scale) != factors or len(self.offset) not in {0, factors}:
            raise ModelError(
                f"A {self.method} calibration of {labels} labels has {factors} factors; "
                f"received {len(self.scale)} factors, {len(self.offset)} offsets."
            )

    def apply(self, logits: Floats) -> Floats:
        """Calibrated probabilities, shape (N, K), from logits of the same shape."""
        # Networks' logits and those got back from probabilities differ by a constant per row, which matters
        # as soon as labels have factors of their own.
        values = (log_softmax(logits) if self.method == "vector" else logits) * np.asarray(self.scale)
        if self.offset:
            values = values + np.asarray(self.offset)
        result = softmax(values)
        return self._regroup(result) if self.method == "isotonic" else result

    def _regroup(self, values: Floats) -> Floats:
        """Give the group the probability of the curve, in unchanged proportions inside and outside it."""
        inside = np.zeros(values.shape[1], np.bool_)
        inside[list(self.group)] = True
        before, after = np.asarray(self.curve).T
        total = values[:, inside].sum(axis=1, keepdims=True)
        wanted = np.interp(total, before, after)
        result = np.empty_like(values)
        result[:, inside] = _share(values[:, inside]) * wanted
        result[:, ~inside] = _share(values[:, ~inside]) * (1 - wanted)
        return result

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        numbers: dict[str, Any] = {"method": self.method, "scale": list(self.scale)}
        if self.method == "isotonic":
            return numbers | {"group": list(self.group), "curve": [list(point) for point in self.curve]}
        return numbers | {"offset": list(self.offset)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Calibration:
        """Read the JSON form.

        Raises:
            ModelError: A field is missing or wrong.
        """
        try:
            return cls(
                data["method"],
                tuple(float(x) for x in data["scale"]),
                tuple(float(x) for x in data.get("offset", ())),
                tuple((float(x), float(y)) for x, y in data.get("curve", ())),
                tuple(int(i) for i in data.get("group", ())),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"Calibration: {error!r}.") from None

    @property
    def keeps_order(self) -> bool:
        """Whether the labels of an image stay in the order of their probabilities, so that none is predicted anew."""
        return self.method == "temperature"

    @property
    def fingerprint(self) -> str:
        """Short hash; a threshold is bound to it."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]


def _share(values: Floats) -> Floats:
    """Rows scaled to sum to 1; a row of zeros becomes even shares."""
    total = values.sum(axis=1, keepdims=True)
    even = np.full_like(values, 1 / values.shape[1])
    return np.asarray(np.divide(values, total, out=even, where=total > 0))
