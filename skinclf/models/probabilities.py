"""From a network's raw outputs to probabilities.

One place for activations, so that every runtime returns the same raw scores and every caller
gets the same numbers. Probabilities are float32 everywhere: tables, thresholds and decisions compare float32.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from skinclf.models.calibration import Calibration

Activation: TypeAlias = Literal["softmax", "sigmoid", "identity"]
_TINY = 1e-12


def to_logits(scores: npt.NDArray[Any], activation: Activation) -> npt.NDArray[np.float64]:
    """Raw outputs as logits over labels.

    Args:
        scores: Shape (N, K); (N, 1) for a single sigmoid output.
        activation: `softmax` (scores are logits), `sigmoid` (one logit for the second of two labels)
            or `identity` (scores are probabilities already; (N, 1) means P(second label)).

    Returns:
        Shape (N, K) with K >= 2, float64; a softmax over them gives the probabilities.
    """
    values = np.asarray(scores, dtype=np.float64)
    if activation == "identity":
        if values.shape[1] == 1:
            values = np.concatenate([1.0 - values, values], axis=1)
        return np.asarray(np.log(np.clip(values, _TINY, 1.0)))
    if activation == "sigmoid":
        return np.concatenate([np.zeros_like(values), values], axis=1)
    return values


def softmax(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Row-wise softmax of shape (N, K), float64."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def probabilities(
    scores: npt.NDArray[Any], activation: Activation, calibration: Calibration | None = None
) -> npt.NDArray[np.float32]:
    """Probabilities by label, shape (N, K), float32; `calibration` is applied to the logits first."""
    if calibration is None and activation == "identity":
        values = np.asarray(scores, dtype=np.float64)
        if values.shape[1] == 1:
            values = np.concatenate([1.0 - values, values], axis=1)
        return values.astype(np.float32)
    logits = to_logits(scores, activation)
    result = softmax(logits) if calibration is None else calibration.apply(logits)
    return result.astype(np.float32)
