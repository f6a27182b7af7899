"""Predictions with age, sex and site against those of the picture alone: all images, then each subgroup."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skinclf.errors import InvalidArgumentError, MismatchError
from skinclf.evaluation.inputs import join_split, open_labels, open_predictions
from skinclf.evaluation.labelled_predictions import LabelledPredictions, label_predictions
from skinclf.evaluation.subgroups import AGE_BANDS, MISSING, age_band
from skinclf.inference.metadata.fused import fused_spec
from skinclf.metrics.intervals import check_confidence
from skinclf.metrics.paired_gain import WORDS, Gain, paired_gain
from skinclf.models.bundle import CONFIG, read_spec, write_spec
from skinclf.models.identity import ModelIdentity
from skinclf.models.metadata_terms import MetadataTerms
from skinclf.models.spec import ModelSpec
from skinclf.tables.patient_metadata import Patient, read_patients, wider_sites

#: A subgroup with fewer malignant or benign images is counted, and not judged.
LEAST = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupGain:
    """What metadata changes in a group of images.

    Attributes:
        name: `all`, or entry and value such as `site=torso`.
        images: Number of images.
        malignant: Number of malignant images.
        gains: Figure to its values before and after; None where fewer than `LEAST` images are malignant or benign.
    """

    name: str
    images: int
    malignant: int
    gains: Mapping[str, Gain] | None

    @property
    def verdict(self) -> str:
        """`better` or `worse` where the interval of the ROC-AUC's gain excludes 0, else `undecided`; `few`."""
        if self.gains is None:
            return "few"
        interval = self.gains["malignant_roc_auc"].difference
        if interval.low > 0:
            return "better"
        return "worse" if interval.high < 0 else "undecided"

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        gains = None if self.gains is None else {name: gain.to_dict() for name, gain in self.gains.items()}
        return {
            "name": self.name,
            "images": self.images,
            "malignant": self.malignant,
            "verdict": self.verdict,
            "gains": gains,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataGain:
    """A comparison of fused predictions with those of the picture alone.

    Attributes:
        model: Name of the model.
        terms: Fingerprint of the terms.
        split: Split under test, or None.
        confidence: Confidence level of the intervals, in (0, 1).
        groups: All images first, then the subgroups.
    """

    model: str
    terms: str
    split: str | None
    confidence: float
    groups: tuple[GroupGain, ...]

    @property
    def lower(self) -> tuple[str, ...]:
        """Subgroups whose ROC-AUC falls, whether or not the interval of the fall excludes 0."""
        return tuple(
            group.name
            for group in self.groups[1:]
            if group.gains is not None and group.gains["malignant_roc_auc"].difference.value < 0
        )

    def summary(self) -> str:
        """One paragraph: the gain over all images, and the subgroups that get worse."""
        gains = self.groups[0].gains or {}
        parts = [
            f"{WORDS[name]} {gain.before:.3f} to {gain.after:.3f} ({gain.difference.value:+.3f}, "
            f"{self.confidence:.0%} interval {gain.difference.low:+.3f} to {gain.difference.high:+.3f})"
            for name, gain in gains.items()
        ]
        worse = [group.name for group in self.groups[1:] if group.verdict == "worse"]
        unclear = [name for name in self.lower if name not in worse]
        text = (
            f"With metadata, on {self.groups[0].images:,} images: {'; '.join(parts) or 'too few to judge'}. "
        )
        text += (
            f"Worse beyond the interval: {', '.join(worse)}. "
            if worse
            else "No subgroup is worse beyond its interval. "
        )
        return text + (f"Lower within the interval: {', '.join(unclear)}." if unclear else "")

    def brief(self) -> dict[str, Any]:
        """What a bundle keeps: by group the figures before and after, and the bounds of their difference."""
        groups = [
            {
                "name": group.name,
                "images": group.images,
                "malignant": group.malignant,
                "verdict": group.verdict,
                **{name: _numbers(gain) for name, gain in (group.gains or {}).items()},
            }
            for group in self.groups
        ]
        about = {"split": self.split, "confidence": self.confidence, "summary": self.summary().strip()}
        return {**about, "groups": groups}

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "model": self.model,
            "terms": self.terms,
            "split": self.split,
            "confidence": self.confidence,
            "lower": list(self.lower),
            "summary": self.summary().strip(),
            "groups": [group.to_dict() for group in self.groups],
        }


def compare_metadata(
    predictions: Path | str,
    labels: Path | str,
    metadata: Path | str,
    spec: ModelSpec,
    *,
    terms: MetadataTerms | None = None,
    split: str | None = None,
    replicates: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> MetadataGain:
    """Fuse predictions of the picture alone with metadata and compare both.

    Args:
        predictions: Predictions table of the model, made without metadata.
        labels: Reference labels, as for `skinclf.evaluate`.
        metadata: Table of age, sex and site.
        spec: Contract of the model.
        terms: Terms fitted for the model; None takes its own.
        split: Only rows of this split of the labels.
        replicates: Number of resamples of the paired lesion bootstrap.
        confidence: Confidence level of the intervals, in (0, 1).
        seed: Seed of the bootstrap.

    Raises:
        InvalidArgumentError: Tables that cannot be used or joined, or labels without the model's classes.
        MismatchError: The predictions come from another model, or were made with metadata.
        ModelError: The model has no terms.
    """
    check_confidence(confidence)
    fused = fused_spec(spec, terms)
    found = fused.metadata or terms
    source = open_predictions(predictions)
    made_by = ModelIdentity.from_dict(source.model or {})
    if other := made_by.differences(spec.identity):
        raise MismatchError(
            f"{predictions}: not made by {spec.name} from the picture alone: other {', '.join(other)}. Predict with "
            "this model and without metadata.",
            parameter="predictions",
        )
    joined = join_split(source.table, *open_labels(labels, spec.labels, split))
    cases = label_predictions(joined, labels=spec.labels)
    malignant = spec.labels.malignant_indices
    if cases.truth is None or cases.positive is None or not malignant or found is None:
        raise InvalidArgumentError(
            f"{labels}: the comparison needs labels that name the model's classes, of which some are malignant.",
            parameter="labels",
        )
    patients = [one or Patient() for one in read_patients(metadata).of_images(cases.reference_ids)]
    before = cases.probabilities.astype(np.float32)
    after = found.fuse(before, found.places(patients))

    def group(name: str, rows: npt.NDArray[np.bool_]) -> GroupGain:
        part = cases.take(rows)
        return _group(
            name,
            part,
            before[rows],
            after[rows],
            malignant=malignant,
            replicates=replicates,
            confidence=confidence,
            seed=seed,
        )

    groups = [group("all", np.ones(len(cases), bool))]
    groups += [group(name, rows) for name, rows in _subgroups(patients)]
    return MetadataGain(
        model=spec.name, terms=found.fingerprint, split=split, confidence=confidence, groups=tuple(groups)
    )


def store_comparison(bundle: Path, result: MetadataGain) -> Path:
    """Store a comparison beside the terms of a bundle, from where its card takes it.

    Args:
        bundle: Folder of the bundle, whose `config.json` is replaced.
        result: Comparison with the bundle's own terms.

    Raises:
        MismatchError: The bundle has other terms.
        OutputError: The configuration cannot be written.
    """
    spec = read_spec(bundle)
    terms = spec.metadata
    if terms is None or terms.fingerprint != result.terms:
        raise MismatchError(f"{bundle}: has other metadata terms than those that were compared.")
    evidence = {**terms.evidence, "comparison": result.brief()}
    write_spec(bundle, spec.replace(metadata=replace(terms, evidence=evidence)))
    return bundle / CONFIG


def _numbers(gain: Gain) -> list[float | None]:
    """Before, after, lower and upper bound of the difference."""
    values = (gain.before, gain.after, gain.difference.low, gain.difference.high)
    return [round(float(x), 6) if np.isfinite(x) else None for x in values]


def _group(
    name: str,
    cases: LabelledPredictions,
    before: npt.NDArray[np.float32],
    after: npt.NDArray[np.float32],
    **options: Any,
) -> GroupGain:
    positives = int(cases.positive.sum()) if cases.positive is not None else 0
    gains = None
    if min(positives, len(cases) - positives) >= LEAST and cases.truth is not None:
        gains = paired_gain(before, after, cases.truth, cases.groups, **options)
    return GroupGain(name=name, images=len(cases), malignant=positives, gains=gains)


def _subgroups(patients: list[Patient]) -> list[tuple[str, npt.NDArray[np.bool_]]]:
    """Rows of each age band, sex and widest site; `missing` for blanks."""
    values = {
        "age": ["" if p.age is None else str(p.age) for p in patients],
        "sex": [p.sex or MISSING for p in patients],
        "site": [MISSING if p.site is None else wider_sites(p.site)[0] for p in patients],
    }
    values["age"] = [age_band(text) for text in values["age"]]
    result = []
    for entry, cells in values.items():
        array = np.asarray(cells, dtype=object)
        levels = (
            [*AGE_BANDS, MISSING] if entry == "age" else sorted(set(cells), key=lambda v: (v == MISSING, v))
        )
        result += [
            (f"{entry}={level}", np.asarray(array == level, bool)) for level in levels if level in set(cells)
        ]
    return result
