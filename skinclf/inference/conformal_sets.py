"""Split-conformal label sets applied to probabilities."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from skinclf.errors import MismatchError
from skinclf.models.identity import ModelIdentity
from skinclf.models.spec import ModelSpec

Group: TypeAlias = Literal["malignant", "class"]


@dataclass(frozen=True, slots=True)
class ConformalSets:
    """Fitted label sets.

    Attributes:
        coverage: Rate at which sets are to hold the true class, in every group.
        group: What coverage is conditional on: `malignant` (malignant and benign) or `class`.
        codes: Label codes in output order.
        limits: Largest 1 - p_y at which label y is in the set, in the order of `codes`, float32;
            infinite where the group has too few images to exclude anything.
        counts: Held-out images in each label's group.
        model: Fingerprint of the model they hold for, or None.
    """

    coverage: float
    group: Group
    codes: tuple[str, ...]
    limits: tuple[float, ...]
    counts: tuple[int, ...]
    model: Mapping[str, Any] | None = None

    def members(self, probabilities: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Which labels are in the sets, shape (N, K), from probabilities of the same shape."""
        values = np.asarray(probabilities, np.float32)
        return np.asarray((np.float32(1) - values) <= np.asarray(self.limits, np.float32))

    def text(self, probabilities: npt.ArrayLike) -> npt.NDArray[Any]:
        """The sets as text such as `mel|nv`, shape (N,), the most probable first; empty sets are empty."""
        values = np.asarray(probabilities, np.float32)
        inside = self.members(values)
        order = np.argsort(-values, axis=1, kind="stable")
        rows = ["|".join(self.codes[k] for k in order[i] if inside[i, k]) for i in range(len(values))]
        return np.asarray(rows, dtype=object)

    def check(self, spec: ModelSpec) -> None:
        """Refuse a model that these sets were not made for.

        Raises:
            MismatchError: Other labels, weights, preprocessing or calibration.
        """
        if self.codes != spec.labels.codes:
            raise MismatchError(
                f"The label sets are for {', '.join(self.codes)}; {spec.name} has {', '.join(spec.labels.codes)}."
            )
        made_for = ModelIdentity.from_dict(self.model or {})
        if other := made_for.differences(spec.identity):
            raise MismatchError(
                f"The label sets were made for another model than {spec.name} (other {', '.join(other)}). "
                "Fit label sets for this model (`skinclf.decisions.fit_conformal`)."
            )

    def to_dict(self) -> dict[str, Any]:
        """JSON form; an infinite limit is null."""
        limits = [x if math.isfinite(x) else None for x in self.limits]
        labels = zip(self.codes, limits, self.counts, strict=True)
        return {
            "coverage": self.coverage,
            "group": self.group,
            "labels": [{"code": c, "limit": x, "n": n} for c, x, n in labels],
            "model": dict(self.model) if self.model is not None else None,
        }
