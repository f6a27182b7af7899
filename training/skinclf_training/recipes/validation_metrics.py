"""Validation figures during training; `skinclf.evaluate` has the full set with intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from skinclf.labels import LabelSet

#: Names of the figures; the last two exist where the labels say which are malignant.
_HALF = 0.5
FIGURES = ("loss", "accuracy", "balanced_accuracy", "macro_auc", "malignant_auc", "malignant_pr_auc")


def validation_metrics(
    probabilities: npt.NDArray[Any], targets: npt.NDArray[np.int64], labels: LabelSet
) -> dict[str, float]:
    """Accuracy, balanced accuracy, macro one-vs-rest AUC; AUC, average precision and positive rate of P(malignant).

    Args:
        probabilities: Probabilities, shape (N, K), rows sum to 1.
        targets: Label indices, shape (N,).
        labels: Labels in column order.

    Returns:
        Value by name: those of `FIGURES`, and `predicted_positive_rate`, the share of images with P(malignant) of at
        least 0.5, which chooses no epoch. A class that is absent is left out of the averages, and a malignant AUC
        without both classes is NaN.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    predicted = probabilities.argmax(axis=1)
    present = [k for k in range(len(labels)) if 0 < (targets == k).sum() < len(targets)]
    recalls = [float((predicted[targets == k] == k).mean()) for k in present]
    aucs = [float(roc_auc_score(targets == k, probabilities[:, k])) for k in present]
    result = {
        "loss": float(-np.log(np.clip(probabilities[np.arange(len(targets)), targets], 1e-12, 1)).mean()),
        "accuracy": float((predicted == targets).mean()),
        "balanced_accuracy": float(np.mean(recalls)) if recalls else float("nan"),
        "macro_auc": float(np.mean(aucs)) if aucs else float("nan"),
    }
    malignant = labels.malignant_indices
    if malignant:
        truth, score = np.isin(targets, malignant), probabilities[:, list(malignant)].sum(axis=1)
        both = 0 < truth.sum() < len(truth)
        result["malignant_auc"] = float(roc_auc_score(truth, score)) if both else float("nan")
        result["predicted_positive_rate"] = float((score >= _HALF).mean())
        result["malignant_pr_auc"] = float(average_precision_score(truth, score)) if both else float("nan")
    return result
