"""`MetadataTerms`: what age, sex and site add to the log-probabilities of the classes (late fusion).

Bayes' rule in log-odds: where picture and entries are independent given the class, log p(class | picture, entries) is
log p(class | picture) + log p(entries | class), up to a constant. They are not quite independent, so the sum of the
terms is shrunk by one fitted exponent. An absent entry adds exactly 0. The terms are a table in `config.json`, and
their application needs numpy alone.
"""

from __future__ import annotations

import hashlib
import json
import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, permutations
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from skinclf._utils.arrays import Float32, Floats, softmax
from skinclf.errors import MismatchError, ModelError
from skinclf.models.identity import BOUND, ModelIdentity
from skinclf.tables.patient_metadata import SITES, Patient, wider_sites

#: Place of each entry in its table of terms, shape (N, 3): age, sex, site; -1 for an absent one.
Places: TypeAlias = npt.NDArray[np.int16]
ENTRIES = ("age", "sex", "site")
#: Keys of `BOUND` that decide the probabilities which the terms correct.
_CORRECTED = tuple(key for key in BOUND if key != "metadata")
_ABSENT = -1
_TINY = float(np.finfo(np.float32).smallest_subnormal)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataTerms:
    """Additive terms per class for age bands, sex and site.

    Attributes:
        codes: Class codes in label order, K of them.
        exponent: Factor on the sum of the terms, from 0 (they count nothing) up.
        age_from: First year of each age band, rising from 0.
        age: Terms of each age band, K numbers each.
        sex: Terms by `female` and `male`.
        site: Terms by site of `skinclf.tables.patient_metadata.SITES`; a site without terms takes those of the
            nearest wider one.
        model: Identity of the image model whose probabilities they correct.
        operating_points: Named thresholds on the fused P(malignant), as in `ModelSpec.operating_points`.
        default_operating_point: Name of the one that is used by default; None means 0.5.
        evidence: What they were fitted on, and what they change there.
    """

    codes: tuple[str, ...]
    exponent: float
    age_from: tuple[float, ...]
    age: tuple[tuple[float, ...], ...]
    sex: Mapping[str, tuple[float, ...]]
    site: Mapping[str, tuple[float, ...]]
    model: Mapping[str, Any] = field(default_factory=dict)
    operating_points: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    default_operating_point: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rows = [*self.age, *self.sex.values(), *self.site.values()]
        if not all(len(row) == len(self.codes) and all(map(math.isfinite, row)) for row in rows):
            raise ModelError("Metadata terms are finite numbers, one for each class.")
        if not (math.isfinite(self.exponent) and self.exponent >= 0):
            raise ModelError(
                f"The exponent of metadata terms is a number from 0 up; received {self.exponent}."
            )
        rising = all(a < b for a, b in zip(self.age_from, self.age_from[1:], strict=False))
        if len(self.age_from) != len(self.age) or not rising or (self.age_from and self.age_from[0] != 0):
            raise ModelError("Age bands of metadata terms rise from 0, one row of terms each.")
        unknown = [word for word in self.site if word not in SITES]
        if unknown or not set(self.sex) <= {"female", "male"}:
            raise ModelError(f"Metadata terms for words outside the vocabulary: {[*unknown, *self.sex]}.")

    @property
    def fingerprint(self) -> str:
        """Short hash of what decides the fused probabilities; thresholds and tables are bound to it."""
        decisive = {
            k: v
            for k, v in self.to_dict().items()
            if k in {"codes", "exponent", "age_from", "age", "sex", "site"}
        }
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]

    def check(self, identity: ModelIdentity, codes: Sequence[str]) -> None:
        """Refuse a model that these terms were not fitted for.

        Args:
            identity: Identity of the model, without terms.
            codes: Its class codes.

        Raises:
            MismatchError: Other classes, weights, preprocessing or calibration.
        """
        made_for = {key: value for key, value in self.model.items() if key in {"name", *_CORRECTED}}
        other = ModelIdentity.from_dict(made_for).differences(identity)
        if tuple(codes) != self.codes or other:
            raise MismatchError(
                f"The metadata terms were fitted for {self.model.get('name') or 'another model'}, not for "
                f"{identity.name}: other {', '.join(other) or 'classes'}. Fit terms for this model "
                "(`skinclf.decisions.metadata.fit.fit_metadata`).",
                parameter="metadata_terms",
            )

    def places(self, patients: Sequence[Patient | None]) -> Places:
        """Places of the entries in the tables, shape (N, 3), int16; None stands for a row without any."""
        sexes = {word: i for i, word in enumerate(self.sex)}
        sites = {word: i for i, word in enumerate(self.site)}
        nearest = {
            word: next((sites[w] for w in reversed(wider_sites(word)) if w in sites), _ABSENT)
            for word in SITES
        }

        def place(patient: Patient) -> tuple[int, int, int]:
            age = _ABSENT if patient.age is None else bisect_right(self.age_from, patient.age) - 1
            site = _ABSENT if patient.site is None else nearest[patient.site]
            return age, sexes.get(patient.sex or "", _ABSENT), site

        known = {patient: place(patient or Patient()) for patient in set(patients)}
        return np.asarray([known[patient] for patient in patients], np.int16).reshape(-1, 3)

    def offsets(self, places: Places) -> Floats:
        """What the entries add to the log-probabilities, shape (N, K); exactly 0 where all are absent."""
        total = np.zeros((len(places), len(self.codes)))
        tables = (self.age, tuple(self.sex.values()), tuple(self.site.values()))
        for column, rows in zip(places.T, tables, strict=True):
            # The last row is that of an absent entry.
            total += np.asarray([*rows, (0.0,) * len(self.codes)])[column]
        return np.asarray(total * self.exponent)

    def fuse(self, probabilities: npt.NDArray[Any], places: Places) -> Float32:
        """Fused probabilities, shape (N, K), float32; a row that gets nothing added stays as it is, to the bit.

        Args:
            probabilities: Calibrated probabilities of the picture, shape (N, K), float32.
            places: Entries of the same N images, from `places`.
        """
        result = np.array(probabilities, np.float32)
        offsets = self.offsets(places)
        rows = offsets.any(axis=1) & np.isfinite(result).all(axis=1)
        if rows.any():
            result[rows] = softmax(_logs(result[rows]) + offsets[rows])
        return result

    def contributions(
        self, probabilities: npt.ArrayLike, entries: Patient | Places, malignant: Sequence[int]
    ) -> dict[str, float]:
        """Log-odds of malignancy that come from the picture and from each entry.

        Where several classes are malignant, the share of an entry depends on the others; it is the mean over all
        orders in which they can be added (Shapley value), so that the parts sum to the fused log-odds.

        Args:
            probabilities: Calibrated probabilities of the picture, shape (K,).
            entries: Entries of the image, or their row of `places`, shape (3,).
            malignant: Indices of the malignant classes.

        Returns:
            `image`, `age`, `sex`, `site`, `total`; an absent entry has exactly 0.

        Raises:
            ModelError: All classes are malignant, or none is.
        """
        if not 0 < len(malignant) < len(self.codes):
            raise ModelError(
                "Contributions are shares of the log-odds of malignancy, so some classes are malignant and others "
                f"are not; malignant are {len(malignant)} of {len(self.codes)}."
            )
        logs = _logs(np.asarray(probabilities, np.float32)[None])
        places = self.places([entries])[0] if isinstance(entries, Patient) else np.asarray(entries, np.int16)
        present = [i for i in range(len(ENTRIES)) if places[i] != _ABSENT]
        inside = np.isin(np.arange(len(self.codes)), list(malignant))
        subsets = [frozenset(s) for n in range(len(present) + 1) for s in combinations(present, n)]
        kept = [[places[i] if i in known else _ABSENT for i in range(len(ENTRIES))] for known in subsets]
        values = logs + self.offsets(np.asarray(kept, np.int16))
        odds = np.logaddexp.reduce(values[:, inside], axis=1) - np.logaddexp.reduce(
            values[:, ~inside], axis=1
        )
        of = dict(zip(subsets, odds.tolist(), strict=True))
        parts = dict.fromkeys(ENTRIES, 0.0)
        orders = list(permutations(present))
        for order in orders:
            for step, entry in enumerate(order):
                gain = of[frozenset(order[: step + 1])] - of[frozenset(order[:step])]
                parts[ENTRIES[entry]] += gain / len(orders)
        image = of[frozenset()]
        return {"image": image, **parts, "total": image + sum(parts.values())}

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "codes": list(self.codes),
            "exponent": self.exponent,
            "age_from": list(self.age_from),
            "age": [list(row) for row in self.age],
            "sex": {word: list(row) for word, row in self.sex.items()},
            "site": {word: list(row) for word, row in self.site.items()},
            "model": dict(self.model),
            "operating_points": {name: dict(point) for name, point in self.operating_points.items()},
            "default_operating_point": self.default_operating_point,
            "evidence": dict(self.evidence),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> MetadataTerms:
        """Read the JSON form.

        Raises:
            ModelError: A field is missing or wrong.
        """
        try:
            return cls(
                codes=tuple(map(str, data["codes"])),
                exponent=float(data["exponent"]),
                age_from=tuple(map(float, data["age_from"])),
                age=tuple(tuple(map(float, row)) for row in data["age"]),
                sex={str(word): tuple(map(float, row)) for word, row in data["sex"].items()},
                site={str(word): tuple(map(float, row)) for word, row in data["site"].items()},
                model=dict(data.get("model") or {}),
                operating_points={str(k): dict(v) for k, v in (data.get("operating_points") or {}).items()},
                default_operating_point=data.get("default_operating_point"),
                evidence=dict(data.get("evidence") or {}),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(f"Metadata terms: {error!r}.") from None


def malignant_log_odds(probabilities: npt.NDArray[Any], malignant: Sequence[int]) -> Floats:
    """Log-odds of the malignant classes, shape (N,), float64; a probability of 0 counts as the smallest float32.

    Args:
        probabilities: Shape (N, K).
        malignant: Indices of the malignant classes, not all of them.
    """
    values = np.asarray(probabilities, np.float64)
    inside = np.zeros(values.shape[1], bool)
    inside[list(malignant)] = True
    return np.asarray(_logs(values[:, inside].sum(axis=1)) - _logs(values[:, ~inside].sum(axis=1)))


def _logs(values: npt.NDArray[Any]) -> Floats:
    return np.asarray(np.log(np.maximum(values.astype(np.float64), _TINY)))
