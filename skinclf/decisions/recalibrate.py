"""Recalibration of a bundle, with metrics before and after."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from skinclf._utils.arrays import Floats, RowWeights
from skinclf._utils.columns import read_columns
from skinclf._utils.files import replace_file, writing
from skinclf._utils.json import write_json
from skinclf.decisions.calibration import cross_fitted, fit_calibration, logits_from
from skinclf.decisions.held_out import PREDICTIONS, HeldOutPredictions
from skinclf.errors import InvalidArgumentError, OutputError
from skinclf.metrics import calibration as cm
from skinclf.metrics.bootstrap import bootstrap_replicates, inflated_interval, percentile_interval
from skinclf.metrics.estimate import Estimate
from skinclf.models.bundle import CONFIG, read_spec
from skinclf.models.spec import ModelSpec
from skinclf.tables.predictions import read_predictions

Choice: TypeAlias = Literal["temperature", "vector", "isotonic", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalibrated:
    """A new calibration and what it does to held-out predictions.

    Attributes:
        spec: The contract with the new calibration, without the operating points of the old one.
        before: Probabilities as they were given, shape (N, K).
        after: Probabilities of rows that took no part in fitting them (cross-fitted), shape (N, K).
        truth: Label index, shape (N,), or None when the labels only say 0 or 1.
        positive: Whether each is malignant, shape (N,).
        group: Indices of the malignant labels.
        metrics: Before and after: name to estimate.
        folds: Number of parts of the cross-fit.
    """

    spec: ModelSpec
    before: Floats
    after: Floats
    truth: npt.NDArray[np.intp] | None
    positive: npt.NDArray[np.bool_]
    group: tuple[int, ...]
    metrics: dict[str, dict[str, Estimate]]
    folds: int


def recalibrate(
    held_out: HeldOutPredictions,
    *,
    method: Choice = "temperature",
    folds: int = 5,
    replicates: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Recalibrated:
    """Fit a calibration on labelled predictions of a model.

    The figures `after` come from a cross-fit by lesion, so that they hold for new images; the calibration
    itself is fitted on all rows.

    Args:
        held_out: Labelled predictions of a known model, with its present calibration (as `predict` writes them).
        method: `temperature`, `vector`, `isotonic` (a curve for P(malignant)), or `none` to remove one.
        folds: Number of parts of the cross-fit.
        replicates: Number of resamples of the lesion bootstrap of every figure.
        confidence: Confidence level of the intervals, in (0, 1).
        seed: Seed of the folds and of the bootstrap.

    Raises:
        InvalidArgumentError: The model or its classes are unknown, or the data do not allow a fit.
    """
    spec, table = held_out.spec, held_out.joined.predictions
    if spec is None:
        raise InvalidArgumentError("A calibration belongs to a model; name it as `model`.", parameter="model")
    if spec.fused:
        raise InvalidArgumentError(
            f"{held_out.predictions}: made with metadata; a calibration belongs to the picture alone. Predict without "
            "metadata, calibrate, then fit the metadata terms again.",
            parameter="predictions",
        )
    group = spec.labels.malignant_indices
    if not group or len(group) == len(spec.labels):
        raise InvalidArgumentError(f"{spec.name} does not say which labels are malignant.")
    probabilities = table.in_order(spec.labels)
    positive = held_out.joined.labels.truth(None, spec.labels).astype(np.bool_)
    truth = _label_indices(held_out.class_codes, spec)
    groups = held_out.groups() or table.ids
    logits = logits_from(probabilities, spec.calibration)
    target: npt.NDArray[Any] | None = positive if truth is None and method == "isotonic" else truth
    calibration, after = None, softmax(logits, axis=1)
    if method != "none":
        if target is None:
            raise InvalidArgumentError(
                f"The {method} calibration needs labels that name the model's classes."
            )
        calibration = fit_calibration(logits, target, method=method, group=group)
        after = cross_fitted(logits, target, groups, folds=folds, seed=seed, method=method, group=group)

    def summary(values: Floats) -> dict[str, Estimate]:
        return calibration_summary(
            values,
            truth,
            positive,
            group=group,
            groups=groups,
            replicates=replicates,
            confidence=confidence,
            seed=seed,
        )

    metrics = {"before": summary(probabilities), "after": summary(after)}
    evidence = {
        "method": method,
        "images": len(held_out.joined),
        "predictions": held_out.predictions.name,
        "folds": folds,
        "ece_bins": cm.BINS,
        "confidence": confidence,
        "intervals": f"{replicates} resamples of lesions; the lower bound of an ECE allows for its noise",
        "before": {key: [e.value, e.low, e.high] for key, e in metrics["before"].items()},
        "after": {key: [e.value, e.low, e.high] for key, e in metrics["after"].items()},
    }
    return Recalibrated(
        spec=_without_calibration(spec).replace(
            calibration=calibration, training={**spec.training, "calibration": evidence}
        ),
        before=probabilities,
        after=after,
        truth=truth,
        positive=positive,
        group=group,
        metrics=metrics,
        folds=folds,
    )


def _label_indices(codes: Sequence[str] | None, spec: ModelSpec) -> npt.NDArray[np.intp] | None:
    """Label index of each row; None when the labels do not name this model's classes."""
    if codes is None or not set(codes) <= set(spec.labels.codes):
        return None
    return np.asarray([spec.labels.codes.index(code) for code in codes], np.intp)


def calibration_summary(
    probabilities: Floats,
    truth: npt.NDArray[np.intp] | None,
    positive: npt.NDArray[np.bool_],
    *,
    group: Sequence[int],
    groups: npt.ArrayLike,
    replicates: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Calibration figures with intervals from resampled lesions.

    Args:
        probabilities: Shape (N, K).
        truth: Label index, shape (N,), or None to leave out the figures over all classes.
        positive: Whether each row is malignant, shape (N,).
        group: Indices of the malignant labels.
        groups: Lesion of each row, shape (N,).
        replicates: Number of resamples of the bootstrap.
        confidence: Confidence level of the intervals, in (0, 1).
        seed: Seed of the bootstrap.

    Returns:
        `nll`, `brier`, `ece_top_label`, `ece_classwise` over all classes; `malignant_nll`,
        `malignant_brier`, `malignant_ece`, `malignant_slope`, `malignant_intercept` of P(malignant).
    """
    score = np.minimum(probabilities[:, list(group)].sum(axis=1), 1.0)
    names = ["malignant_nll", "malignant_brier", "malignant_ece", "malignant_slope", "malignant_intercept"]
    if truth is not None:
        names = ["nll", "brier", "ece_top_label", "ece_classwise", *names]

    def statistic(weights: RowWeights) -> Floats:
        values = [
            cm.log_loss(score, positive, weights),
            cm.brier(score, positive, weights),
            cm.expected_calibration_error(score, positive, weights),
            *cm.slope_and_intercept(score, positive, weights),
        ]
        if truth is not None:
            right = probabilities.argmax(axis=1) == truth
            values = [
                cm.log_loss(probabilities, truth, weights),
                cm.brier(probabilities, truth, weights),
                cm.expected_calibration_error(probabilities.max(axis=1), right, weights),
                cm.classwise_ece(probabilities, truth, weights),
                *values,
            ]
        return np.stack(values, axis=1)

    value = statistic(np.ones((1, len(score)), np.float32))[0]
    draws = bootstrap_replicates(statistic, groups, replicates=replicates, seed=seed)
    low, high = percentile_interval(draws, confidence=confidence)
    inflated = inflated_interval(value, draws, confidence=confidence)
    noisy = np.asarray(["ece" in name for name in names])
    low, high = np.where(noisy, inflated[0], low), np.where(noisy, inflated[1], high)
    return {name: Estimate(*map(float, row)) for name, *row in zip(names, value, low, high, strict=True)}


def write_recalibrated(source: Path, output: Path, result: Recalibrated) -> None:
    """Copy a bundle and give the copy the new calibration.

    The held-out predictions that travel with it are recomputed, so that thresholds tuned on them fit;
    operating points of the old calibration are gone. `calibration.json` holds the evidence.

    Args:
        source: The bundle.
        output: Folder of the copy, which must not hold anything yet; or `source` itself.
        result: From `recalibrate` for this bundle.

    Raises:
        OutputError: The folder is not empty or cannot be written.
    """
    old = read_spec(source)
    with writing(output):
        _copy(source, output, result.spec)
        carried = output / PREDICTIONS
        if carried.is_file():
            replace_file(carried, _recomputed(carried, old, result.spec).encode())
    write_json(output / "calibration.json", result.spec.training["calibration"])


def write_uncalibrated(source: Path, output: Path) -> ModelSpec:
    """Copy a bundle without a calibration that cannot be undone in a table, and without what was fitted after it.

    Operating points, the rule for the predicted class, metadata terms and the held-out predictions stay behind.

    Args:
        source: The bundle.
        output: Folder of the copy, which must not hold anything yet; or `source` itself.

    Returns:
        The contract as written.

    Raises:
        OutputError: The folder is not empty or cannot be written.
    """
    spec = _without_calibration(read_spec(source))
    with writing(output):
        _copy(source, output, spec)
        (output / PREDICTIONS).unlink(missing_ok=True)
    return spec


def _copy(source: Path, output: Path, spec: ModelSpec) -> None:
    in_place = output.resolve() == source.resolve()
    if not in_place and output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise OutputError(f"{output}: not empty; name a new folder, or the bundle itself.")
    if not in_place:
        shutil.copytree(source, output, dirs_exist_ok=True)
    if spec.recipe is not None:
        spec = spec.replace(recipe=spec.recipe.moved(source, output))
    replace_file(output / CONFIG, (json.dumps(spec.to_config(), indent=2) + "\n").encode())


def _without_calibration(spec: ModelSpec) -> ModelSpec:
    return spec.replace(
        calibration=None, operating_points={}, default_operating_point=None, decision=None, metadata=None
    )


def _recomputed(path: Path, old: ModelSpec, new: ModelSpec) -> str:
    """A predictions table with the new calibration in its `p_` columns; other columns as they were."""
    columns, table = read_columns(path), read_predictions(path)
    logits = logits_from(table.in_order(new.labels), old.calibration)
    values = softmax(logits, axis=1) if new.calibration is None else new.calibration.apply(logits)
    for code, column in zip(new.labels.codes, values.astype(np.float32).T, strict=True):
        columns[f"p_{code}"] = [str(p) for p in column]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return buffer.getvalue()
