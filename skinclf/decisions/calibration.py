"""Calibration methods fitted to held-out predictions: temperature, vector scaling, isotonic.

Logits are needed only up to a constant per row, which the softmax ignores; hence logarithms of stored
probabilities serve as well (`logits_from`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax

from skinclf._utils.arrays import Floats
from skinclf.errors import InvalidArgumentError
from skinclf.metrics.clusters import cluster_index
from skinclf.models.probabilities import Calibration, Method

#: Keeps factors and offsets of rare or perfectly separated classes finite; weighs little beside the data.
_RIDGE = 1e-3
_LIMITS = (1e-3, 1e3)
_PRECISE = {"ftol": 1e-15, "gtol": 1e-10, "maxiter": 1000}


def logits_from(probabilities: npt.ArrayLike, calibration: Calibration | None = None) -> Floats:
    """Logits, up to a constant per row, from probabilities that `calibration` produced.

    Args:
        probabilities: Shape (N, K); zeros count as the smallest float32 above 0.
        calibration: What was applied to make them; None when nothing was.

    Returns:
        Shape (N, K), float64.

    Raises:
        InvalidArgumentError: A vector or isotonic calibration, which cannot be undone.
    """
    values = np.asarray(probabilities, np.float64)
    logits = np.log(np.maximum(values, float(np.finfo(np.float32).smallest_subnormal)))
    if calibration is None:
        return np.asarray(logits)
    if calibration.method != "temperature":
        raise InvalidArgumentError(
            f"These predictions carry a {calibration.method} calibration, which cannot be undone. Write the "
            "model without calibration (`method` none), predict with it, and calibrate on these predictions.",
            parameter="method",
        )
    offset = np.asarray(calibration.offset or (0.0,))
    return np.asarray((logits - offset) / calibration.scale[0])


def fit_calibration(
    logits: npt.ArrayLike,
    truth: npt.ArrayLike,
    *,
    method: Method = "temperature",
    group: Sequence[int] = (1,),
) -> Calibration:
    """Fit a calibration by maximum likelihood (isotonic: by least squares).

    Args:
        logits: Held-out logits, shape (N, K); a constant per row does not matter.
        truth: Label index, shape (N,); for `isotonic` whether the label is in `group` (bool) will do, and
            then the factor on the logits stays 1.
        method: `temperature` keeps the order of classes; `vector` and `isotonic` need more data and may not.
        group: For `isotonic`: indices of the labels whose summed probability is corrected.

    Raises:
        InvalidArgumentError: Wrong shapes, a class that does not occur (`vector`, `isotonic`), or predictions
            without a single error, as those on training data are.
    """
    values, labels = np.asarray(logits, np.float64), np.asarray(truth)
    if (
        values.ndim != 2
        or labels.shape != values.shape[:1]
        or not np.isfinite(values).all()
        or not labels.size
    ):
        raise InvalidArgumentError(
            f"Calibration needs finite logits (N, K), N labels; received {values.shape}, {labels.shape}."
        )
    if method == "isotonic" and labels.dtype == np.bool_:
        return _fit_isotonic(values, labels, 1.0, tuple(group))
    if (values.argmax(axis=1) == labels).all():
        raise InvalidArgumentError(
            f"All {labels.size} predictions are right: the best temperature would be 0. Use held-out predictions."
        )
    scale = _fit_temperature(values, labels)
    if method == "temperature":
        return Calibration("temperature", (scale,))
    if method == "vector":
        return _fit_vector(values, labels, scale)
    if method == "isotonic":
        return _fit_isotonic(values, np.isin(labels, group), scale, tuple(group))
    raise InvalidArgumentError(
        f"`method` is 'temperature', 'vector' or 'isotonic'; received {method!r}.", parameter="method"
    )


def cross_fitted(
    logits: npt.ArrayLike,
    truth: npt.ArrayLike,
    groups: npt.ArrayLike,
    *,
    folds: int = 5,
    seed: int = 0,
    **options: Any,
) -> Floats:
    """Calibrated probabilities of rows that took no part in fitting them, shape (N, K).

    Lesions are dealt to folds at random; each fold is calibrated by a fit on the others.

    Args:
        logits: Shape (N, K).
        truth: As for `fit_calibration`.
        groups: Lesion of each row, shape (N,).
        folds: How many.
        seed: Seed of the random assignment to folds.
        **options: As for `fit_calibration`.

    Raises:
        InvalidArgumentError: Fewer lesions than folds, or a fold that leaves nothing to fit.
    """
    values, labels, index = np.asarray(logits, np.float64), np.asarray(truth), cluster_index(groups)
    lesions = int(index.max()) + 1
    if not 2 <= folds <= lesions:
        raise InvalidArgumentError(
            f"`folds` is at least 2 and at most the number of lesions ({lesions}); received {folds}.",
            parameter="folds",
        )
    fold = (np.random.default_rng(seed).permutation(lesions) % folds)[index]
    result = np.empty_like(values)
    for part in range(folds):
        out = fold == part
        result[out] = fit_calibration(values[~out], labels[~out], **options).apply(values[out])
    return result


def _fit_temperature(logits: Floats, truth: npt.NDArray[Any]) -> float:
    """The factor (1 / temperature) of highest likelihood; the likelihood is concave in it."""
    from scipy.optimize import minimize

    right = logits[np.arange(truth.size), truth]

    def loss(log_scale: Floats) -> tuple[float, Floats]:
        scale = float(np.exp(log_scale[0]))
        likelihood, weights = _log_likelihood(logits * scale, truth)
        gradient = ((weights * logits).sum(axis=1) - right).mean()
        return -likelihood, np.asarray([gradient * scale])

    bounds = [tuple(np.log(_LIMITS))]
    fit = minimize(loss, np.zeros(1), jac=True, method="L-BFGS-B", bounds=bounds, options=_PRECISE)
    return float(np.exp(fit.x[0]))


def _fit_vector(logits: Floats, truth: npt.NDArray[Any], start: float) -> Calibration:
    """A factor and an offset per label, drawn slightly towards the temperature and to no offset."""
    from scipy.optimize import minimize

    k = logits.shape[1]
    missing = sorted(set(range(k)) - set(np.unique(truth).tolist()))
    if missing:
        raise InvalidArgumentError(f"Vector scaling needs every label; none of the rows has label {missing}.")
    values = log_softmax(logits, axis=1)
    target = np.eye(k)[truth]

    def loss(both: Floats) -> tuple[float, Floats]:
        scale, offset = both[:k], both[k:]
        likelihood, weights = _log_likelihood(values * scale + offset, truth)
        error = (weights - target) / truth.size
        pull = _RIDGE * np.concatenate([scale - start, offset])
        penalty = float(pull @ pull) / (2 * _RIDGE)
        return penalty - likelihood, np.concatenate([(error * values).sum(axis=0), error.sum(axis=0)]) + pull

    first = np.concatenate([np.full(k, start), np.zeros(k)])
    fit = minimize(loss, first, jac=True, method="L-BFGS-B", options=_PRECISE)
    return Calibration("vector", tuple(fit.x[:k].tolist()), tuple(fit.x[k:].tolist()))


def _fit_isotonic(
    logits: Floats, inside: npt.NDArray[np.bool_], scale: float, group: tuple[int, ...]
) -> Calibration:
    """A monotone curve for the group's probability, kept away from 0 and 1 by half a case in all."""
    from sklearn.isotonic import IsotonicRegression

    if inside.all() or not inside.any():
        raise InvalidArgumentError(
            f"Isotonic regression needs both kinds; {int(inside.sum())} of {inside.size} are in."
        )
    before = np.exp(log_softmax(logits * scale, axis=1))[:, list(group)].sum(axis=1)
    margin = 0.5 / inside.size
    fit = IsotonicRegression(y_min=margin, y_max=1 - margin).fit(before, inside.astype(np.float64))
    curve = tuple(zip(fit.X_thresholds_.tolist(), fit.y_thresholds_.tolist(), strict=True))
    return Calibration("isotonic", (scale,), curve=curve, group=group)


def _log_likelihood(logits: Floats, truth: npt.NDArray[Any]) -> tuple[float, Floats]:
    """Mean log-likelihood, and the softmax of the logits, shape (N, K)."""
    log_p = log_softmax(logits, axis=1)
    return float(log_p[np.arange(truth.size), truth].mean()), np.asarray(np.exp(log_p))
