"""`Gate`: the statistics that decide whether one model should answer for an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from skinclf._utils.arrays import Float32, Floats
from skinclf.errors import MismatchError, ModelError
from skinclf.inference.gate.familiarity import Calibration, Gaussian
from skinclf.inference.gate.patches import patch_strangeness
from skinclf.inference.gate.picture import BLOCKS, MEASURES, NAMES, PATCHES
from skinclf.models.identity import ModelIdentity
from skinclf.models.spec import ModelSpec

#: Weight of the network's features, and of each block of looks, in the sum of the logarithms of their distances.
_WEIGHTS: Mapping[str, float] = MappingProxyType(
    {"features": 3.0, "places": 0.5, "colours": 1.0, "texture": 1.5, PATCHES: 1.5}
)

#: Key of `Gate.made_from`.
CLASSES = "classes_by"


@dataclass(frozen=True, slots=True)
class Gate:
    """Familiarity of images with one model, as a conformal p-value.

    Attributes:
        features: Gaussian of the features of the model's training images, scaled to length 1.
        looks: Gaussian of each block of looks (`skinclf.inference.gate.picture.BLOCKS`) of the same images.
        calibration: Strangeness of images that neither was fitted on.
        alpha: p-value at or below which an image is `unfamiliar`.
        made_from: Weights and preprocessing of the model, and under `CLASSES` the calibration that its predicted
            classes, which the p-values go by, depend on (`classes_by`).
        evidence: How `alpha` was chosen and what it costs, in JSON types.
        sha256: Hash of the stored file; None before it is stored.
    """

    features: Gaussian
    looks: Mapping[str, Gaussian]
    calibration: Calibration
    alpha: float
    made_from: Mapping[str, str | None]
    evidence: Mapping[str, Any] = field(default_factory=dict)
    sha256: str | None = None

    def strangeness(self, features: npt.ArrayLike, measures: npt.NDArray[np.float32]) -> Floats:
        """Weighted sum of the logarithms of all distances, each in units of its spread; shape (N,).

        Args:
            features: Inputs of the network's last layer, shape (N, D).
            measures: Measures and looks, shape (N, M).

        Raises:
            ModelError: The features have another width than those that the gate was fitted on.
        """
        return strangeness(self.features, self.looks, features, measures)

    def p_familiar(
        self, features: npt.ArrayLike, measures: npt.NDArray[np.float32], predicted: npt.NDArray[np.intp]
    ) -> Float32:
        """Conformal p-values, shape (N,), in (0, 1]; `predicted` holds the index of the most probable class."""
        return self.calibration.p_values(self.strangeness(features, measures), predicted)

    def other_classes(self, spec: ModelSpec) -> bool:
        """Whether another calibration decides the predicted classes of a model than when the gate was fitted."""
        return other_classes(self.made_from, spec)

    def check(self, spec: ModelSpec) -> None:
        """Refuse a model that the gate was not made for.

        Raises:
            MismatchError: Other weights or preprocessing, or a calibration that gives other predicted classes.
            ModelError: Another number of classes.
        """
        if other := ModelIdentity.from_dict(self.made_from).differences(spec.identity):
            raise MismatchError(
                f"The image gate was made for another model than {spec.name} (other {', '.join(other)}). "
                "Fit one for this model (`skinclf.inference.gate.fit_gate`).",
                parameter="gate",
            )
        if self.other_classes(spec):
            raise MismatchError(
                f"The image gate was fitted before {spec.name} got another calibration, which changes predicted "
                "classes, and its p-values go by them. Fit it again (`skinclf.inference.gate.fit_gate`), or use "
                "`gate='off'`.",
                parameter="gate",
            )
        if len(self.calibration.groups) != len(spec.labels):
            raise ModelError(
                f"The image gate is for {len(self.calibration.groups)} classes; {spec.name} has {len(spec.labels)}."
            )

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """Arrays to store."""
        return {
            "measures": np.asarray([MEASURES], np.int32),
            **{f"features.{key}": value for key, value in self.features.tensors().items()},
            **{f"{block}.{k}": v for block, g in self.looks.items() for k, v in g.tensors().items()},
            **self.calibration.tensors(),
        }


def classes_by(spec: ModelSpec) -> str | None:
    """Fingerprint of the calibration that predicted classes depend on; None where they do not depend on one."""
    return None if spec.calibration is None or spec.calibration.keeps_order else spec.calibration.fingerprint


def other_classes(made_from: Mapping[str, Any], spec: ModelSpec) -> bool:
    """See `Gate.other_classes`; `made_from` as in a gate, or in its record in `config.json`."""
    return made_from.get(CLASSES) != classes_by(spec)


def strangeness(
    features: Gaussian,
    looks: Mapping[str, Gaussian],
    vectors: npt.ArrayLike,
    measures: npt.NDArray[np.float32],
) -> Floats:
    """See `Gate.strangeness`."""
    total = _WEIGHTS["features"] * features.strangeness(unit_length(vectors))
    for block, columns in blocks().items():
        of_block = patch_strangeness if block == PATCHES else Gaussian.strangeness
        total = total + _WEIGHTS[block] * of_block(looks[block], measures[:, columns])
    return total


def blocks() -> dict[str, slice]:
    """Columns of each block of looks in an array of measures and looks."""
    result, start = {}, len(NAMES)
    for name, width in BLOCKS.items():
        result[name] = slice(start, start + width)
        start += width
    return result


def unit_length(features: npt.ArrayLike) -> Float32:
    """Features scaled to length 1, shape (N, D)."""
    x = np.asarray(features, np.float32)
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12), np.float32)
