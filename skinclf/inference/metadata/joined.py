"""Age, sex and site beside the images of a run: joined with their names once, applied batch by batch."""

from __future__ import annotations

import hashlib
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from skinclf._utils.arrays import Float32, expit
from skinclf.errors import InvalidArgumentError, ModelError
from skinclf.inference.metadata.fused import fused_spec
from skinclf.inference.scorer import Pixels, ScoredBatch
from skinclf.models.metadata_encoding import MetadataEncoding
from skinclf.models.metadata_terms import MetadataTerms, Places, malignant_log_odds
from skinclf.models.spec import ModelSpec
from skinclf.tables.names import listed
from skinclf.tables.patient_metadata import COLUMNS, Patient, PatientTable, read_patients
from skinclf.tables.predictions import P_IMAGE

#: Column of what the entries add to the log-odds of malignancy.
SHIFT = "metadata_shift"
Entries: TypeAlias = "Mapping[str, Any] | Patient"
#: Metadata as a user gives it: a table or its path, the entries of one image, or those of each image.
Metadata: TypeAlias = "PatientTable | str | os.PathLike[str] | Entries | Sequence[Entries]"


@dataclass(frozen=True, slots=True)
class JoinedMetadata:
    """Entries of the images of a run, ready to be applied.

    Attributes:
        terms: Terms of the model; None for networks that take the entries themselves.
        rows: Row of `places` and `vectors` for each image name.
        places: Entries of the rows, shape (M, 3).
        description: Columns, file and counts, for the manifest.
        notices: Sentences for the user.
        vectors: What networks take beside the image, shape (M, `width`) for each of `Scorer.encodings`.
        absent: The same for an image without entries, shape (1, `width`) each.
    """

    terms: MetadataTerms | None
    rows: Mapping[str, int]
    places: Places
    description: Mapping[str, Any]
    notices: tuple[str, ...] = ()
    vectors: tuple[Float32, ...] = ()
    absent: tuple[Float32, ...] = ()

    @property
    def columns(self) -> Mapping[str, type]:
        """Columns of the predictions table that stand beside the fused probabilities.

        None for networks that take the entries themselves, which have no number for the picture alone.
        """
        return {} if self.terms is None else {P_IMAGE: float, SHIFT: float}

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """What it adds to that of a scorer, whose own says how its networks take entries."""
        return {} if self.terms is None else {"metadata": self.terms.fingerprint}

    def beside(self, keys: Sequence[Any], size: int) -> Pixels:
        """Vectors that networks take beside the images of a batch.

        Args:
            keys: Names of the N images, or tuples that begin with them.
            size: Images of the batch, at least N; the rest is filled with absent entries.

        Raises:
            InvalidArgumentError: A name that was not joined.
        """
        if not self.vectors:
            return ()
        names = [key if isinstance(key, str) else key[0] for key in keys]
        at, rest = self._at(names), size - len(names)
        return tuple(
            np.concatenate([vectors[at], np.repeat(absent, rest, axis=0)]) if rest else vectors[at]
            for vectors, absent in zip(self.vectors, self.absent, strict=True)
        )

    def _at(self, names: Sequence[str]) -> npt.NDArray[np.intp]:
        try:
            return np.fromiter((self.rows[name] for name in names), np.intp, len(names))
        except KeyError as error:
            raise InvalidArgumentError(
                f"{error.args[0]}: not among the images that the metadata was joined with; state all in `names`.",
                parameter="names",
            ) from None

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the numbers that come of it: the terms, and a hash of the entries."""
        return {**self.fingerprint, "sha256": self.description["sha256"]}

    def contributions(
        self, name: str, probabilities: Sequence[float], malignant: Sequence[int]
    ) -> dict[str, float]:
        """What picture and entries of one image contribute; see `MetadataTerms.contributions`.

        Args:
            name: Name of the image.
            probabilities: Calibrated probabilities of the picture alone, in label order.
            malignant: Indices of the malignant classes.

        Raises:
            ModelError: All classes are malignant, or none is; or the network takes the entries itself.
        """
        if self.terms is None:
            raise ModelError("A network that takes age, sex and site itself has no share of each entry.")
        return self.terms.contributions(probabilities, self.places[self.rows[name]], malignant)

    def fuse(self, names: Sequence[str], scored: ScoredBatch, spec: ModelSpec) -> ScoredBatch:
        """The batch with fused probabilities, those of the picture beside them.

        Args:
            names: Names of the N images.
            scored: Their scores from the picture alone; rows beyond them fill the last batch, and are dropped.
            spec: Contract of the model, for its malignant classes.

        Raises:
            InvalidArgumentError: A name that was not joined.
        """
        if self.terms is None:
            return scored
        at = self._at(names)
        if len(scored.probabilities) > len(names):
            scored = scored.take(range(len(names)))
        fused = self.terms.fuse(scored.probabilities, self.places[at])
        image = spec.labels.malignant(scored.probabilities)
        blank = np.full(len(names), np.nan, np.float32)
        shift = blank
        malignant = spec.labels.malignant_indices
        if image is not None and malignant and len(malignant) < len(spec.labels):
            moved = (fused != scored.probabilities).any(axis=1)
            before, after = (
                malignant_log_odds(values, malignant) for values in (scored.probabilities, fused)
            )
            shift = np.where(moved, after - before, 0.0).astype(np.float32)
        extra = {P_IMAGE: blank if image is None else np.asarray(image, np.float32), SHIFT: shift}
        return replace(scored, probabilities=fused, columns={**scored.columns, **extra})


def join_for(
    spec: ModelSpec,
    metadata: Metadata | JoinedMetadata,
    names: Iterable[str | os.PathLike[str]],
    terms: MetadataTerms | None = None,
    encodings: Sequence[MetadataEncoding] = (),
) -> tuple[ModelSpec, JoinedMetadata]:
    """The contract of a model's predictions with metadata, and the metadata joined with the images.

    Args:
        spec: Contract of the model.
        metadata: As for `join_metadata`; joined already, it brings its terms.
        names: Names of all images of the run.
        terms: Terms of the model; None takes its own.
        encodings: Those of the scorer, whose networks then take the entries themselves.

    Raises:
        InvalidArgumentError: The metadata cannot be read or joined.
        ModelError: The model has no terms.
        MismatchError: The terms were fitted for another model.
    """
    if isinstance(metadata, JoinedMetadata):
        return (spec if metadata.terms is None else fused_spec(spec, metadata.terms)), metadata
    if encodings:
        if terms is not None:
            raise ModelError(
                f"{spec.name} takes age, sex and site itself; leave out `metadata_terms`.",
                parameter="metadata_terms",
            )
        return spec, join_metadata(metadata, names, None, encodings=encodings)
    fused = fused_spec(spec, terms)
    return fused, join_metadata(metadata, names, cast("MetadataTerms", fused.metadata))


def join_metadata(
    metadata: Metadata,
    names: Iterable[str | os.PathLike[str]],
    terms: MetadataTerms | None,
    *,
    encodings: Sequence[MetadataEncoding] = (),
) -> JoinedMetadata:
    """Join metadata with the images of a run.

    Args:
        metadata: Table, its path, or the entries of each image in the order of `names`.
        names: Names of all images of the run, as predictions name them.
        terms: Terms of the model; None for networks that take the entries themselves.
        encodings: How those take them.

    Raises:
        InvalidArgumentError: The metadata cannot be read or joined: see `skinclf.tables.patient_metadata`.
    """
    listed_names = [os.fspath(name) for name in names]
    if isinstance(metadata, (str, os.PathLike)):
        metadata = read_patients(os.fspath(metadata))
    if isinstance(metadata, PatientTable):
        return _of_table(metadata, tuple(dict.fromkeys(listed_names)), terms, encodings)
    patients = [Patient.of(one) for one in _several(metadata)]
    if len(patients) != len(listed_names):
        raise InvalidArgumentError(
            f"`metadata` has the entries of {len(patients)} images; {len(listed_names)} images were given.",
            parameter="metadata",
        )
    found: dict[str, Patient] = {}
    for name, patient in zip(listed_names, patients, strict=True):
        if found.setdefault(name, patient) != patient:
            raise InvalidArgumentError(
                f"`metadata`: two different entries of one image, {name}.", parameter="metadata"
            )
    digest = hashlib.sha256(repr(sorted(found.items(), key=lambda item: item[0])).encode()).hexdigest()
    about = {"file": None, "sha256": digest, "columns": dict.fromkeys(COLUMNS)}
    return _joined(found, terms, encodings, about, ())


def before_fusion(extra: Mapping[str, Any], p: float, threshold: float) -> tuple[float, float]:
    """P(malignant) of the picture, and the threshold on it that is worth `threshold` on the fused one of this row.

    Bands of reduced precision are those of the picture's probability. A row without metadata stays as it is.

    Args:
        extra: Further columns of the row.
        p: P(malignant) of the row.
        threshold: Threshold on it.
    """
    shift = extra.get(SHIFT)
    if not shift or not math.isfinite(shift) or not 0 < threshold < 1:
        return p, threshold
    return float(extra[P_IMAGE]), float(expit(np.asarray(math.log(threshold / (1 - threshold)) - shift)))


def _of_table(
    table: PatientTable,
    names: Sequence[str],
    terms: MetadataTerms | None,
    encodings: Sequence[MetadataEncoding],
) -> JoinedMetadata:
    patients = dict(zip(names, table.of_images(names), strict=True))
    without = [name for name, patient in patients.items() if patient is None]
    blank = sum(patient is not None and patient.blank for patient in patients.values())
    notices = list(table.notices)
    if without:
        kept = "which keep the probabilities of the picture" if terms else "whose entries count as missing"
        notices.append(
            f"{table.source}: no row for {len(without)} of {len(names)} images, {kept}: {listed(without, 3)}."
        )
    about = {
        "file": table.source,
        "sha256": table.sha256,
        "columns": dict(table.columns),
        "images": len(names),
        "without_row": len(without),
        "all_blank": blank,
    }
    return _joined(patients, terms, encodings, about, tuple(notices))


def _joined(
    patients: Mapping[str, Patient | None],
    terms: MetadataTerms | None,
    encodings: Sequence[MetadataEncoding],
    about: Mapping[str, Any],
    notices: tuple[str, ...],
) -> JoinedMetadata:
    rows = {name: i for i, name in enumerate(patients)}
    given = list(patients.values())
    if terms is not None:
        return JoinedMetadata(terms, rows, terms.places(given), about, notices)
    words = sum((encoding.without_column(given) for encoding in encodings), Counter[str]())
    if words:
        counted = listed([f"{word!r} ({n})" for word, n in words.most_common()])
        notices = (*notices, f"The model has no column for these words, which count as missing: {counted}.")
    return JoinedMetadata(
        None,
        rows,
        np.empty((0, 3), np.int16),
        about,
        notices,
        tuple(encoding.encode(given) for encoding in encodings),
        tuple(encoding.encode([None]) for encoding in encodings),
    )


def _several(metadata: Any) -> list[Any]:
    """Entries by image; those of one image are a list of one."""
    return [metadata] if isinstance(metadata, (Mapping, Patient)) else list(metadata)
