"""Fitting of `MetadataTerms` for a model: terms from labelled lesions, their exponent from held-out predictions.

The exponent takes back what the independence assumption of the terms (`skinclf.decisions.metadata.likelihood`)
overstates beside the picture. It is fitted by maximum likelihood on predictions of images that neither the network nor
the terms have seen; terms and exponent see different lesions, and figures are cross-fitted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax

from skinclf._utils.arrays import Floats
from skinclf.decisions.held_out import HeldOutPredictions
from skinclf.decisions.metadata.likelihood import fit_terms
from skinclf.decisions.store import EVIDENCE
from skinclf.decisions.threshold_file import Threshold
from skinclf.decisions.thresholds import tune_threshold
from skinclf.errors import InsufficientDataError, InvalidArgumentError
from skinclf.metrics.clusters import cluster_index
from skinclf.metrics.paired_gain import Gain, paired_gain
from skinclf.models.bundle import CONFIG, read_spec, write_spec
from skinclf.models.identity import ModelIdentity
from skinclf.models.metadata_terms import MetadataTerms, Places
from skinclf.tables.diagnosis_names import map_classes
from skinclf.tables.names import pair_names
from skinclf.tables.patient_metadata import PatientTable
from skinclf.tables.reference import LabelTable

#: Largest exponent; 1 takes picture and entries for independent.
_MOST = 2.0
_FOLDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedMetadata:
    """Terms, and what they change on held-out images.

    Attributes:
        terms: The terms, with their operating points.
        gains: Figure to its values before (the picture alone) and after (fused, with an exponent from other lesions).
        wins: Whether the interval of the malignant ROC-AUC's gain lies above 0 and balanced accuracy is not lower
            beyond its interval.
        fused: Cross-fitted fused probabilities, shape (N, K).
    """

    terms: MetadataTerms
    gains: Mapping[str, Gain]
    wins: bool
    fused: npt.NDArray[np.float32]


def fit_metadata(
    held_out: HeldOutPredictions,
    training: LabelTable,
    patients: PatientTable,
    *,
    smoothing: float = 3.0,
    replicates: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> FittedMetadata:
    """Fit terms for a model.

    Args:
        held_out: Labelled predictions of the model from the picture alone, on images that it was not trained on.
        training: Class of each image of other lesions; images and lesions of `held_out` in it are left out.
        patients: Age, sex and site of the images of both.
        smoothing: Number of lesions, above 0, that is added to the observed and to the expected number of each class.
        replicates: Number of resamples of the lesion bootstrap.
        confidence: Confidence level of the intervals, in (0, 1).
        seed: Seed of the folds and of the bootstrap.

    Raises:
        InvalidArgumentError: Predictions without classes or made with metadata, or no labelled lesions but theirs.
    """
    if smoothing <= 0:
        raise InvalidArgumentError(f"`smoothing` is above 0; received {smoothing}.", parameter="smoothing")
    labels, codes = held_out.classes, held_out.class_codes
    malignant = labels.malignant_indices
    if codes is None or not malignant or len(malignant) == len(labels):
        raise InvalidArgumentError(
            "Metadata terms need labels that name the model's classes, of which some are malignant.",
            parameter="labels",
        )
    identity = held_out.model or {}
    if identity.get("metadata"):
        raise InvalidArgumentError(
            f"{held_out.predictions}: made with metadata; terms are fitted on predictions from the picture alone.",
            parameter="predictions",
        )
    groups = held_out.groups() or held_out.joined.labels.ids
    others = _others(training, held_out, groups)
    known = map_classes(others.codes or (), labels).codes
    tables = fit_terms(
        [known[code] for code in others.codes or ()],
        patients.of_images(others.ids),
        others.lesion_id or others.ids,
        labels,
        smoothing=smoothing,
    )
    base = MetadataTerms(
        codes=labels.codes,
        exponent=1.0,
        model=ModelIdentity.from_dict(identity).to_dict(),
        evidence={},
        **tables,
    )
    places = base.places(patients.of_images(held_out.joined.predictions.ids))
    image = held_out.joined.predictions.in_order(labels)
    truth = np.asarray([labels.position(code) for code in codes], np.intp)
    index = cluster_index(np.asarray(groups, dtype=object).astype(str))
    fused = _cross_fitted(base, image, places, truth, index, seed)
    gains = paired_gain(
        image,
        fused,
        truth,
        index,
        malignant=malignant,
        replicates=replicates,
        confidence=confidence,
        seed=seed,
    )
    wins = gains["malignant_roc_auc"].difference.low > 0 and gains["balanced_accuracy"].difference.high >= 0
    terms = replace(base, exponent=fit_exponent(base, image, places, truth, index))
    points, default = _operating_points(held_out, terms, fused, truth, malignant)
    evidence = {
        "method": "naive Bayes terms, exponent by maximum likelihood",
        "smoothing": smoothing,
        "metadata": patients.source,
        "columns": dict(patients.columns),
        "term_lesions": len(set(others.lesion_id or others.ids)),
        "held_out_images": len(truth),
        "held_out_lesions": int(index.max()) + 1,
        "held_out_predictions": held_out.predictions.name,
        "folds": _FOLDS,
        "confidence": confidence,
        "wins": wins,
        "gains": {name: gain.to_dict() for name, gain in gains.items()},
    }
    terms = replace(terms, operating_points=points, default_operating_point=default, evidence=evidence)
    return FittedMetadata(terms=terms, gains=gains, wins=wins, fused=fused)


def fit_exponent(
    terms: MetadataTerms,
    probabilities: Floats,
    places: Places,
    truth: npt.NDArray[np.intp],
    groups: npt.ArrayLike,
) -> float:
    """The exponent of highest likelihood, from 0 to 2; the likelihood is concave in it.

    Args:
        terms: Terms whose exponent is fitted; the present one does not matter.
        probabilities: Held-out probabilities from the picture alone, shape (N, K).
        places: Entries of the images, from `MetadataTerms.places`.
        truth: Class index, shape (N,).
        groups: Lesion of each image; each counts once.
    """
    from scipy.optimize import minimize_scalar

    index = cluster_index(groups)
    votes = (1 / np.bincount(index))[index]
    logs = np.log(np.maximum(probabilities, float(np.finfo(np.float32).smallest_subnormal)))
    offsets = replace(terms, exponent=1.0).offsets(places)

    def loss(exponent: float) -> float:
        values = log_softmax(logs + exponent * offsets, axis=1)
        return -float(votes @ values[np.arange(truth.size), truth])

    fit = minimize_scalar(loss, bounds=(0.0, _MOST), method="bounded", options={"xatol": 1e-4})
    return round(float(fit.x), 4)


def _others(training: LabelTable, held_out: HeldOutPredictions, groups: Sequence[str]) -> LabelTable:
    """Labelled images of other lesions than the held-out ones."""
    if training.codes is None:
        raise InvalidArgumentError(
            "Metadata terms need labels that name the model's classes; these say 0 or 1.", parameter="labels"
        )
    partners = pair_names(training.ids, held_out.joined.labels.ids).partners
    taken = set(groups)
    lesions = training.lesion_id or training.ids
    rows = [
        i
        for i, (partner, lesion) in enumerate(zip(partners, lesions, strict=True))
        if partner is None and lesion not in taken
    ]
    if not rows:
        raise InvalidArgumentError(
            "All labelled lesions are those of the held-out predictions; terms need others, which they do not correct.",
            parameter="labels",
        )
    return training.take(rows)


def _cross_fitted(
    terms: MetadataTerms,
    image: Floats,
    places: Places,
    truth: npt.NDArray[np.intp],
    index: npt.NDArray[np.intp],
    seed: int,
) -> npt.NDArray[np.float32]:
    """Fused probabilities of rows that took no part in fitting their exponent, shape (N, K)."""
    lesions = int(index.max()) + 1
    if lesions < _FOLDS:
        raise InsufficientDataError(
            f"Held-out predictions of {lesions} lesions; at least {_FOLDS} are needed to fit an exponent."
        )
    fold = (np.random.default_rng(seed).permutation(lesions) % _FOLDS)[index]
    result = image.astype(np.float32)
    for part in range(_FOLDS):
        out = fold == part
        exponent = fit_exponent(terms, image[~out], places[~out], truth[~out], index[~out])
        result[out] = replace(terms, exponent=exponent).fuse(image[out].astype(np.float32), places[out])
    return result


def _operating_points(
    held_out: HeldOutPredictions,
    terms: MetadataTerms,
    fused: npt.NDArray[np.float32],
    truth: npt.NDArray[np.intp],
    malignant: Sequence[int],
) -> tuple[dict[str, dict[str, Any]], str | None]:
    """The model's operating points of a target sensitivity per image, tuned again on the fused predictions."""
    spec = held_out.spec
    score = np.ascontiguousarray(fused[:, list(malignant)]).sum(axis=1, dtype=np.float32)
    positive = np.isin(truth, list(malignant))
    result: dict[str, dict[str, Any]] = {}
    for name, point in (spec.operating_points if spec else {}).items():
        target = point.get("target")
        if not isinstance(target, (int, float)) or point.get("unit") != "image" or "sensitivity" not in name:
            continue
        tuned = tune_threshold(positive, score, target_sensitivity=float(target), groups=held_out.groups())
        data = Threshold.of(tuned, name=name, model=terms.model).data
        result[name] = {
            "threshold": tuned.threshold,
            **{key: data[key] for key in EVIDENCE if key in data},
        }
    default = spec.default_operating_point if spec else None
    return result, default if default in result else None


def store_terms(bundle: Path, fitted: FittedMetadata) -> Path:
    """Store terms that win on held-out images in a bundle; they count only where a user gives metadata.

    Args:
        bundle: Folder of the bundle, whose `config.json` is replaced.
        fitted: Terms with their gains.

    Returns:
        Path of the configuration that was written.

    Raises:
        InsufficientDataError: The terms do not win.
        MismatchError: The terms were fitted for another model.
        OutputError: The configuration cannot be written.
    """
    if not fitted.wins:
        raise InsufficientDataError(
            "The terms are not stored: on the held-out images the interval of the gain in malignant ROC-AUC does not "
            "lie above 0, or balanced accuracy is lower beyond its interval."
        )
    spec = read_spec(bundle)
    fitted.terms.check(spec.identity, spec.labels.codes)
    write_spec(bundle, spec.replace(metadata=fitted.terms))
    return bundle / CONFIG
