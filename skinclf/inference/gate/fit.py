"""Fitting the image gate of a model: its training images give the Gaussians, others the p-values and the limit."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skinclf._utils.arrays import Float32, Floats
from skinclf.errors import InvalidArgumentError
from skinclf.images.decode import ImageSource
from skinclf.inference.decode_workers import default_workers
from skinclf.inference.engine import stream
from skinclf.inference.gate.familiarity import fit_calibration, fit_gaussian
from skinclf.inference.gate.gate import CLASSES, Gate, blocks, classes_by, strangeness, unit_length
from skinclf.inference.gate.patches import fit_patches
from skinclf.inference.gate.picture import LOOKS, NAMES, PATCHES
from skinclf.inference.gate.scorer import LoadMeasured
from skinclf.inference.scorer import ModelScorer, Pixels, ScoredBatch, Slot
from skinclf.metrics.intervals import clopper_pearson
from skinclf.models.loaded import LoadedModel
from skinclf.models.metadata_encoding import need_picture_alone
from skinclf.models.spec import ModelSpec
from skinclf.runtimes.create import create_runtime
from skinclf.tables.reference import read_labels

#: Largest p-value at which an image is unfamiliar.
ALPHA = 0.012
#: Largest share of malignant calibration images that the limit may hold back.
MALIGNANT_REFUSED = 0.02

Progress = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class Measured:
    """What the gate needs of images: features (N, D), measures (N, M), most probable class (N,), positions (N,)."""

    features: Float32
    measures: Float32
    predicted: npt.NDArray[np.intp]
    rows: npt.NDArray[np.intp]


class _Keep(ModelScorer):
    """A scorer that hands the measures on as a part of the embeddings."""

    @property
    def layout(self) -> tuple[Slot, ...]:
        return (*super().layout, Slot((len(NAMES) + LOOKS,), np.float32))

    def stage(self, batch: Pixels) -> Pixels:
        pixels, measures = batch
        return (*super().stage((pixels,)), measures)

    def score(self, batch: Pixels) -> ScoredBatch:
        pixels, measures = batch
        scored = super().score((pixels,))
        if scored.embeddings is None:
            raise AssertionError("This scorer returns embeddings.")
        return ScoredBatch(scored.probabilities, {}, np.hstack([scored.embeddings, measures]))


def measure_images(
    model: LoadedModel,
    images: Sequence[ImageSource],
    *,
    runtime: str = "auto",
    device: str = "auto",
    workers: int | None = None,
    marks: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Measured:
    """Features and measures of images; those that cannot be read are left out.

    Args:
        model: The model.
        images: Paths, or whatever `skinclf.images.decode.load_picture` takes.
        runtime: Runtime, as for `create_runtime`.
        device: Device, as for `create_runtime`.
        workers: Number of decode workers; None: one per core.
        marks: Whether to look for hair, rulers, bubbles and text too.
        progress: Function of the number of images that are done.
    """
    need_picture_alone(model.spec.encoding, model.spec.name, "the image gate")
    made = create_runtime(model, runtime=runtime, device=device, embeddings=True)
    scorer = _Keep(model.spec, made, embeddings=True)
    scorer.prepare = LoadMeasured(model.spec.preprocess, marks)
    rows: list[int] = []
    values: list[Float32] = []
    predicted: list[int] = []
    batches = stream(
        enumerate(images),
        scorer,
        batch_size=scorer.batch_size,
        workers=default_workers() if workers is None else workers,
        continued=True,
    )
    for batch in batches:
        good = [i for i, error in enumerate(batch.errors) if error is None]
        if batch.scored is not None and batch.scored.embeddings is not None:
            rows += [batch.keys[i] for i in good]
            values += [batch.scored.embeddings[i] for i in good]
            predicted += batch.scored.probabilities[good].argmax(axis=1).tolist()
        if progress is not None:
            progress(batch.keys[-1] + 1)
    split = -(len(NAMES) + LOOKS)
    both = np.asarray(values, np.float32) if values else np.empty((0, -split + 1), np.float32)
    return Measured(
        both[:, :split], both[:, split:], np.asarray(predicted, np.intp), np.asarray(rows, np.intp)
    )


def fit_gate(
    model: LoadedModel,
    images: Sequence[ImageSource],
    calibration: Sequence[ImageSource],
    *,
    malignant: Sequence[bool] | None = None,
    alpha: float = ALPHA,
    runtime: str = "auto",
    device: str = "auto",
    workers: int | None = None,
    progress: Progress | None = None,
) -> Gate:
    """Fit the gate of a model.

    Args:
        model: The model, with the hash of its weights.
        images: Images that the model was trained on.
        calibration: Images of the same kind that it was not trained on.
        malignant: Whether each calibration image is of a malignant lesion; None where that is unknown.
        alpha: Largest p-value at which an image is unfamiliar; lowered until at most `MALIGNANT_REFUSED` of the
            malignant calibration images are.
        runtime: Runtime, as for `create_runtime`.
        device: Device, as for `create_runtime`.
        workers: Number of decode workers; None: one per core.
        progress: Function of the current step (text) and the number of images it has done.

    Raises:
        InvalidArgumentError: Too few images can be read, `alpha` is out of range, or `malignant` has another length.
        ModelError: The model has no weights hash to bind the gate to, or gives no embeddings.
    """
    if not 0 < alpha < 1:
        raise InvalidArgumentError(f"`alpha` lies between 0 and 1; received {alpha}.", parameter="alpha")
    if malignant is not None and len(malignant) != len(calibration):
        raise InvalidArgumentError(
            f"{len(calibration)} calibration images and {len(malignant)} entries of `malignant`.",
            parameter="malignant",
        )
    if model.spec.weights_sha256 is None:
        raise InvalidArgumentError(
            f"{model.spec.name}: no hash of the weights is known, and an image gate is bound to it; make a bundle of "
            "the model first.",
            parameter="model",
        )
    report = progress or (lambda _what, _done: None)
    how: dict[str, Any] = {"runtime": runtime, "device": device, "workers": workers}
    train = measure_images(model, images, progress=lambda n: report("fitting", n), **how)
    held = measure_images(model, calibration, progress=lambda n: report("calibrating", n), **how)
    return fit_measured(
        model,
        train,
        held,
        malignant=None if malignant is None else np.asarray(malignant)[held.rows],
        alpha=alpha,
    )


def malignant_images(images: Sequence[str], labels: str | os.PathLike[str], spec: ModelSpec) -> list[bool]:
    """Whether each image is of a malignant lesion, by a table of reference labels.

    Args:
        images: Paths; an image is found in the table by its path, its name, or its name without the ending.
        labels: Table or folder, as for `skinclf.tables.reference.read_labels`.
        spec: Contract of the model, for its labels.

    Raises:
        InvalidArgumentError: The table cannot be read, or an image is not in it.
    """
    table = read_labels(Path(labels), spec.labels)
    known = dict(zip(table.ids, table.truth(labels=spec.labels).tolist(), strict=True))
    result = []
    for image in images:
        names = (image, Path(image).name, Path(image).stem)
        found = next((name for name in names if name in known), None)
        if found is None:
            raise InvalidArgumentError(
                f"{image}: no label in {labels}; every calibration image needs one.", parameter="labels"
            )
        result.append(bool(known[found]))
    return result


def fit_measured(
    model: LoadedModel,
    train: Measured,
    held: Measured,
    *,
    malignant: npt.NDArray[np.bool_] | None,
    alpha: float = ALPHA,
) -> Gate:
    """Fit the gate from what was measured of training and calibration images; see `fit_gate`."""
    features = fit_gaussian(unit_length(train.features), scaled=False)
    looks = {
        block: fit_patches(train.measures[:, columns])
        if block == PATCHES
        else fit_gaussian(train.measures[:, columns], scaled=True)
        for block, columns in blocks().items()
    }
    strange = strangeness(features, looks, held.features, held.measures)
    calibration = fit_calibration(strange, held.predicted, classes=len(model.spec.labels))
    own = _left_out(strange, held.predicted, calibration.groups)
    chosen = alpha if malignant is None else _lowered(own[malignant], alpha)
    evidence: dict[str, Any] = {
        "images": len(train.features),
        "calibration_images": len(held.features),
        "refused": _share(int((own <= chosen).sum()), len(own)),
    }
    if malignant is not None:
        evidence["malignant_refused"] = _share(int((own[malignant] <= chosen).sum()), int(malignant.sum()))
    made_from = {
        "weights_sha256": model.spec.weights_sha256,
        "preprocess": model.spec.preprocess.fingerprint,
        CLASSES: classes_by(model.spec),
    }
    return Gate(features, looks, calibration, chosen, made_from, evidence)


def _left_out(strange: Floats, predicted: npt.NDArray[np.intp], groups: Sequence[int]) -> Floats:
    """p-value of each calibration image among the others of its group."""
    group = np.asarray(groups, np.intp)[predicted]
    result = np.empty(len(strange))
    for g in np.unique(group):
        at = np.flatnonzero(group == g)
        ranked = np.sort(strange[at])
        result[at] = (len(at) - np.searchsorted(ranked, strange[at], side="left")) / len(at)
    return result


def _lowered(p: Floats, alpha: float) -> float:
    """The largest limit up to `alpha` that holds back at most `MALIGNANT_REFUSED` of images with these p-values."""
    allowed = int(np.floor(MALIGNANT_REFUSED * len(p)))
    ranked = np.sort(p)
    if len(p) <= allowed or ranked[allowed] > alpha:
        return alpha
    return float(np.nextafter(np.float32(ranked[allowed]), np.float32(0)))


def _share(k: int, n: int) -> Mapping[str, float | int]:
    low, high = clopper_pearson(k, n)
    return {"k": k, "n": n, "low": float(low), "high": float(high)}
