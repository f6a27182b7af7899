"""Measured effect of reduced precision on a model's probabilities, as its specification records it.

A record is bound to the model's specification, its runtime and its precision. Its `band` is the largest change of the
probability of malignancy that was seen; a prediction that is nearer to the threshold than that might have been
decided otherwise in float32, and is marked. Of images like those measured, at most one in `images` + 1 is expected
to move by more (the largest of n exchangeable values is exceeded by the next with probability 1 / (n + 1)).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from skinclf.models.identity import ModelIdentity
from skinclf.models.spec import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionLoss:
    """The difference between one precision and float32 on the same images and the same runtime.

    Attributes:
        runtime: Name of the runtime that was measured.
        precision: `bf16`, `fp16` or `int8`.
        images: Number of images that were measured, without unreadable ones.
        band: Largest absolute change of the probability of malignancy; None when the labels declare none.
        mean_change: Mean of that change (of the largest change of any probability, when there is no band).
        largest_change: Largest absolute change of the probability of any class.
        agreement: Share of images whose most probable class stays the same.
        decisions_changed: Images on the other side of `threshold`; None without malignant labels.
        threshold: The model's own threshold on the probability of malignancy.
        model: `ModelSpec.fingerprint` of the model that was measured.
        versions: Versions of what decided the numbers.
    """

    runtime: str
    precision: str
    images: int
    band: float | None
    mean_change: float
    largest_change: float
    agreement: float
    decisions_changed: int | None
    threshold: float
    model: Mapping[str, str | None]
    versions: Mapping[str, str]

    @property
    def key(self) -> str:
        """Key of the record in `ModelSpec.precisions`, such as `openvino:bf16`."""
        return f"{self.runtime}:{self.precision}"

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)

    def __str__(self) -> str:
        text = f"{self.key} on {self.images:,} images: "
        if self.band is not None:
            text += f"P(malignant) moves by {self.mean_change:.2g} on average and {self.band:.2g} at most; "
            text += f"{self.decisions_changed:,} decisions at {self.threshold:.3f} change; "
        return text + f"the most probable class is the same in {self.agreement:.1%}"


def measured(spec: ModelSpec, runtime: str, precision: str) -> Mapping[str, Any] | None:
    """The record for a runtime and precision; None for float32, and where none fits the specification."""
    record = spec.precisions.get(f"{runtime}:{precision}")
    if record is None or not record.get("model"):
        return None
    return None if ModelIdentity.from_dict(record["model"]).differences(spec.identity) else record


def band(spec: ModelSpec, runtime: str, precision: str) -> float | None:
    """Largest measured change of the probability of malignancy; None when unknown."""
    record = measured(spec, runtime, precision)
    return None if record is None or record.get("band") is None else float(record["band"])


def reduced_info(spec: ModelSpec, runtime: str, precision: str) -> dict[str, Any]:
    """Entry `band` of a scorer's `info`, where the band is known."""
    found = band(spec, runtime, precision)
    return {} if found is None else {"band": found}


def reduced_fingerprint(spec: ModelSpec, runtime: str, precision: str) -> dict[str, Any]:
    """Fingerprint of a reduced precision: its band and the files of the quantised network."""
    record = spec.precisions.get(f"{runtime}:{precision}", {}) if precision == "int8" else {}
    files = record.get("quantized", {}).get("files")
    return reduced_info(spec, runtime, precision) | ({} if files is None else {"quantized": dict(files)})


def with_record(spec: ModelSpec, loss: PrecisionLoss, **more: Any) -> ModelSpec:
    """The specification with a record added, and with `more` keys in the record."""
    return spec.replace(precisions={**spec.precisions, loss.key: {**loss.to_dict(), **more}})


def describe_effect(info: Mapping[str, Any]) -> str:
    """The effect of a reduced precision on a table in words.

    Args:
        info: `Scorer.info`, with the keys `precision` and, where the effect was measured, `band`.
    """
    name = info["precision"]
    if "band" in info:
        return (
            f"{name}: where measured, P(malignant) moved by at most {info['band']:.2g}; rows nearer than that to "
            "the threshold are marked near_threshold."
        )
    return f"The effect of {name} was not measured for this model and runtime, so no row is marked."
