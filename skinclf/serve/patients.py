"""Age, sex and site in requests: read, applied as in predictions with metadata, and taken apart into shares."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from skinclf.errors import ImageError, InvalidArgumentError, MismatchError, ModelError
from skinclf.inference.engine import Batch
from skinclf.inference.metadata.joined import JoinedMetadata
from skinclf.inference.prediction import Prediction
from skinclf.inference.predictor import Predictor
from skinclf.inference.schema import Schema
from skinclf.models.metadata_terms import ENTRIES, MetadataTerms
from skinclf.serve.answers import RequestError
from skinclf.serve.batcher import Outcome
from skinclf.serve.thresholds import OfferedThreshold, Thresholds
from skinclf.tables.patient_metadata import OLDEST, SITES, Patient

_FORM = '`metadata` is a JSON list with one object for each file, such as [{"age": 45, "sex": "female"}, {}]'


class Fused:
    """The served model with age, sex and site beside the images.

    Args:
        predictor: Predictor of the picture alone, with the model's own threshold.
        threshold: Threshold of the server, as for `Thresholds`.
        force: Whether a threshold file that was made for another model is accepted.
        terms: Terms fitted for this model; None takes its own.

    Attributes:
        thresholds: Thresholds that were measured with metadata.
        no_default: Why requests have to name a threshold; empty where there is a default.
        schema: Columns of the rows.

    Raises:
        ModelError: The model has no metadata terms.
        MismatchError: Label sets in use belong to the picture alone, or the terms to another model.
    """

    def __init__(
        self,
        predictor: Predictor,
        threshold: str | None,
        *,
        force: bool = False,
        terms: MetadataTerms | None = None,
    ) -> None:
        self._predictor = predictor.with_metadata([], [], terms=terms)
        joined = self._predictor.metadata
        if joined is None or joined.terms is None:
            raise ModelError(f"{predictor.spec.name} has no metadata terms.")
        self._terms = joined.terms
        self.no_default = ""
        try:
            self.thresholds = Thresholds(self._predictor, threshold, force=force)
        except (MismatchError, InvalidArgumentError) as error:
            self.no_default = f"The threshold of this server is not for images with metadata: {error}"
            self.thresholds = Thresholds(self._predictor, default=False)
        self.schema = Schema(self._predictor.spec.labels, 0, self._predictor.columns)

    @property
    def terms(self) -> MetadataTerms:
        """What the entries add."""
        return self._terms

    @property
    def vocabulary(self) -> dict[str, Any]:
        """What entries may say: the object `metadata` of `/v1/models`."""
        return {
            "terms": self.terms.fingerprint,
            "age": {"min": 0, "max": OLDEST},
            "sex": ["female", "male"],
            "site": list(SITES),
        }

    def find(self, text: str | None) -> OfferedThreshold:
        """The threshold that a request names.

        Raises:
            InvalidArgumentError: The request names another one than those with metadata, or none where there is no
                default.
        """
        if text is None and self.no_default:
            names = ", ".join(entry.name for entry in self.thresholds.offered)
            raise InvalidArgumentError(
                f"{self.no_default} Name one in `threshold`: a number, or one of {names or 'none'}.",
                parameter="threshold",
            )
        return self.thresholds.find(text)

    def predictions(
        self,
        names: Sequence[str],
        outcomes: Sequence[Outcome],
        threshold: OfferedThreshold,
        patients: Sequence[Patient],
    ) -> list[Prediction]:
        """Predictions of one request, as `Predictor.predict(..., metadata=patients)` makes them."""
        places = self.terms.places(patients)
        base = self.thresholds.applied(threshold, self._predictor)
        made: list[Prediction] = []
        rows: dict[str, int] = {}
        joined = base.with_metadata(self._joined(rows, places))
        for i, (name, outcome) in enumerate(zip(names, outcomes, strict=True)):
            rows[name] = i  # two files of one name have each their own entries
            made += joined.predictions(batch_of(name, outcome))
        return made

    def contributions(
        self, outcomes: Sequence[Outcome], patients: Sequence[Patient]
    ) -> list[dict[str, float] | None]:
        """Shares of picture and entries in the log-odds of malignancy, of each image that has probabilities."""
        malignant = self._predictor.spec.labels.malignant_indices or ()
        return [
            None
            if isinstance(outcome, ImageError) or _refused(outcome) or not _some(malignant, self.terms)
            else self.terms.contributions(outcome.probabilities[0], patient, malignant)
            for outcome, patient in zip(outcomes, patients, strict=True)
        ]

    def _joined(self, rows: Mapping[str, int], places: Any) -> JoinedMetadata:
        return JoinedMetadata(self.terms, rows, places, {})


def offer(
    predictor: Predictor, threshold: str | None, *, force: bool = False, terms: MetadataTerms | None = None
) -> Fused | None:
    """The model with metadata; None where it has no terms, or label sets of the picture alone are in use.

    Raises:
        ModelError: `terms` are given, and the model takes none.
        MismatchError: `terms` are given for another model, or beside label sets of the picture alone.
    """
    if terms is not None:
        return Fused(predictor, threshold, force=force, terms=terms)
    try:
        return Fused(predictor, threshold, force=force)
    except (ModelError, MismatchError):
        return None


def batch_of(name: str, outcome: Outcome) -> Batch[str]:
    """One image as a batch."""
    if isinstance(outcome, ImageError):
        return Batch([name], [outcome], None)
    return Batch([name], [None], outcome)


def without_gate(outcome: Outcome) -> Outcome:
    """The same outcome with the probabilities of an image that the gate refuses."""
    return outcome if isinstance(outcome, ImageError) else replace(outcome, refusals=None)


def patients_of(text: str | None, query: Mapping[str, str], count: int) -> list[Patient] | None:
    """Entries of the images of a request; None where it has none.

    Args:
        text: Field `metadata` of a form, JSON; None where there is none.
        query: Parameters of the address; `age`, `sex` and `site` are the entries of a single image.
        count: Number of images.

    Raises:
        RequestError: The JSON is malformed, or has another number of objects.
        InvalidArgumentError: An entry is in no vocabulary.
    """
    stated = {name: query[name] for name in ENTRIES if name in query}
    if stated and (text is not None or count > 1):
        raise RequestError(
            422,
            "invalid_parameter",
            "The parameters `age`, `sex` and `site` are the entries of one image; for several files send the field "
            "`metadata`.",
        )
    if stated:
        return [Patient.of(stated)]
    if text is None:
        return None
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, list) or not all(one is None or isinstance(one, dict) for one in given):
        raise RequestError(422, "invalid_metadata", f"{_FORM}; received something else.")
    if len(given) != count:
        raise RequestError(422, "invalid_metadata", f"{_FORM}; received {len(given)} for {count} files.")
    found = []
    for number, one in enumerate(given, 1):
        try:
            found.append(Patient.of(one or {}))
        except InvalidArgumentError as error:
            raise InvalidArgumentError(f"Image {number} of {count}: {error}", parameter="metadata") from None
    return found


def _refused(outcome: Any) -> bool:
    return outcome.refusals is not None and bool(outcome.refusals[0])


def _some(malignant: Sequence[int], terms: MetadataTerms) -> bool:
    return 0 < len(malignant) < len(terms.codes)
