"""Measured effect of reduced precision, or of scaled decoding, on a model's probabilities, as its specification has it.

A record is bound to the model's specification, its runtime and its precision. A prediction that is nearer to the
threshold than `band_log_odds`, in log-odds of the probability of malignancy, might have been decided otherwise in
float32, and is marked; of the rows outside, at most the share `band_share` changes its decision, with the confidence
`band_confidence` (an exact binomial bound for images like those measured, drawn independently). `band` is the largest
change of the probability that was seen. It bounds averages as well (views, members of ensembles), which the band in
log-odds does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from skinclf._utils.arrays import Floats
from skinclf.models.identity import ModelIdentity
from skinclf.models.spec import DECODING, SCALED, ModelSpec

# Float32 resolves probabilities near 1 no finer.
_TAIL = 1e-7
#: Entries of a scorer's `info` that hold for one look of one network only.
PER_LOOK = ("band_log_odds", "band_share", "band_confidence")


def log_odds(p: npt.ArrayLike) -> Floats:
    """Log-odds of probabilities, float64; below 1e-7 and above 1 - 1e-7 those of the limit."""
    inside = np.clip(np.asarray(p, np.float64), _TAIL, 1 - _TAIL)
    return np.asarray(np.log(inside) - np.log1p(-inside), np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionLoss:
    """The difference between one precision and float32 on the same images and the same runtime.

    Attributes:
        runtime: Name of the runtime that was measured; `DECODING` where JPEGs were decoded down and in full.
        precision: `bf16`, `fp16` or `int8`; `SCALED` for decoding.
        images: Number of images that were measured, without unreadable ones.
        band: Largest absolute change of the probability of malignancy; None when the labels declare none.
        mean_change: Mean of that change (of the largest change of any probability, when there is no band).
        largest_change: Largest absolute change of the probability of any class.
        agreement: Share of images whose most probable class stays the same.
        band_log_odds: Distance from a threshold, in log-odds, up to which rows are marked; None without `band`.
        band_share: Largest share of rows that lie farther away and change their decision.
        band_confidence: Confidence of `band_share`, one-sided.
        marked: Share of the measured images that are marked at `threshold`.
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
    band_log_odds: float | None = None
    band_share: float | None = None
    band_confidence: float | None = None
    marked: float | None = None

    @property
    def key(self) -> str:
        """Key of the record in `ModelSpec.precisions`, such as `openvino:bf16`."""
        return f"{self.runtime}:{self.precision}"

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)

    def __str__(self) -> str:
        what = "JPEGs decoded down" if self.runtime == DECODING else self.key
        text = f"{what} on {self.images:,} images: "
        if self.band is not None:
            text += f"P(malignant) moves by {self.mean_change:.2g} on average and {self.band:.2g} at most; "
            one = self.decisions_changed == 1
            text += f"{self.decisions_changed:,} decision{'' if one else 's'} at {self.threshold:.3f} "
            text += f"change{'s' if one else ''}; "
        if self.marked is not None:
            text += f"{_claim(self.to_dict())} ({self.marked:.1%} of these images); "
        return text + f"the most probable class is the same in {self.agreement:.1%}"


def measured(spec: ModelSpec, runtime: str, precision: str) -> Mapping[str, Any] | None:
    """The record for a runtime and precision; None for float32, and where none fits the specification."""
    record = spec.precisions.get(f"{runtime}:{precision}")
    if record is None or not record.get("model"):
        return None
    return None if ModelIdentity.from_dict(record["model"]).differences(spec.identity) else record


def band(spec: ModelSpec, runtime: str, precision: str) -> float | None:
    """Largest measured change of the probability of malignancy; None when unknown."""
    return reduced_info(spec, runtime, precision).get("band")


def reduced_info(spec: ModelSpec, runtime: str, precision: str) -> dict[str, Any]:
    """Entries `band` and, where the record has them, those of `PER_LOOK` of a scorer's `info`."""
    record = measured(spec, runtime, precision)
    if record is None or record.get("band") is None:
        return {}
    return {key: float(record[key]) for key in ("band", *PER_LOOK) if record.get(key) is not None}


def in_doubt(
    effects: Sequence[Mapping[str, Any]], p: float, threshold: float, *, fused: bool = False
) -> bool:
    """Whether a decision might be another one in float32, or with a picture decoded in full.

    Args:
        effects: The effects that the row is under, each with the key `band`; their bands add up.
        p: Probability of malignancy.
        threshold: Threshold on it.
        fused: Whether the threshold is one of this row alone, for which the band in log-odds claims nothing.
    """
    if not effects:
        return False
    if fused or any("band_log_odds" not in effect for effect in effects):
        return bool(abs(p - threshold) <= sum(effect["band"] for effect in effects))
    width = sum(effect["band_log_odds"] for effect in effects)
    return bool(abs(log_odds(p) - log_odds(threshold)) <= width)


def scaled_decoding_info(spec: ModelSpec) -> dict[str, Any]:
    """The same entries for JPEGs that are decoded down; empty where the model declares or records nothing."""
    return reduced_info(spec, DECODING, SCALED) if spec.preprocess.scaled_decoding else {}


def reduced_fingerprint(spec: ModelSpec, runtime: str, precision: str) -> dict[str, Any]:
    """Fingerprint of a reduced precision: its bands and the files of the quantised network."""
    record = spec.precisions.get(f"{runtime}:{precision}", {}) if precision == "int8" else {}
    files = record.get("quantized", {}).get("files")
    return reduced_info(spec, runtime, precision) | ({} if files is None else {"quantized": dict(files)})


def with_record(spec: ModelSpec, loss: PrecisionLoss, **more: Any) -> ModelSpec:
    """The specification with a record added, and with `more` keys in the record."""
    return spec.replace(precisions={**spec.precisions, loss.key: {**loss.to_dict(), **more}})


def describe_effect(info: Mapping[str, Any]) -> str:
    """The effect of a reduced precision on a table in words.

    Args:
        info: `Scorer.info`, with the keys `precision` and, where the effect was measured, the bands.
    """
    name = info["precision"]
    if "band_log_odds" in info:
        return f"{name}: {_claim(info)}."
    if "band" in info:
        return (
            f"{name}: where measured, P(malignant) moved by at most {info['band']:.2g}; rows nearer than that to "
            "the threshold are marked near_threshold."
        )
    return f"The effect of {name} was not measured for this model and runtime, so no row is marked."


def _claim(record: Mapping[str, Any]) -> str:
    width, share = f"{record['band_log_odds']:.2g}", f"{record['band_share']:.1%}"
    return (
        f"rows within {width} of the threshold in log-odds are marked near_threshold; at most "
        f"{share} of rows change their decision unmarked (confidence {record['band_confidence']:.0%})"
    )
