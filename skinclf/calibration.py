"""Calibration of probabilities, stored as plain numbers and applied at prediction.

Source: Guo et al., "On calibration of modern neural networks", ICML 2017 (temperature and vector scaling).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from skinclf.errors import ModelError

Method: TypeAlias = Literal["temperature", "vector"]


@dataclass(frozen=True, slots=True)
class Calibration:
    """A fitted calibration.

    Attributes:
        method: `temperature` (one number) or `vector` (a factor and an offset per label).
        scale: Factors on the logits; one number, or one per label.
        offset: Added after `scale`; empty, or one per label.
    """

    method: Method
    scale: tuple[float, ...]
    offset: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.method not in {"temperature", "vector"}:
            raise ModelError(f"Calibration method is 'temperature' or 'vector'; received {self.method!r}.")
        if not self.scale or not all(np.isfinite([*self.scale, *self.offset])):
            raise ModelError("Calibration needs finite factors.")

    def apply(self, logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Calibrated probabilities, shape (N, K), from logits of the same shape."""
        values = logits * np.asarray(self.scale)
        if self.offset:
            values = values + np.asarray(self.offset)
        shifted = np.exp(values - values.max(axis=1, keepdims=True))
        return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"method": self.method, "scale": list(self.scale), "offset": list(self.offset)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Calibration:
        """Read the JSON form.

        Raises:
            ModelError: A field is missing or wrong.
        """
        try:
            scale = tuple(float(x) for x in data["scale"])
            return cls(data["method"], scale, tuple(float(x) for x in data.get("offset", ())))
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"Calibration: {error!r}.") from None

    @property
    def fingerprint(self) -> str:
        """Short hash; a threshold is bound to it."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]
