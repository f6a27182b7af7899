"""Point estimates of the metrics from scikit-learn; NaN where a metric is undefined."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn import metrics as sk

from skinclf.metrics import calibration as cm

_NAMES = ("precision", "recall", "f1")


def ranking_values(
    truth: npt.NDArray[np.bool_], score: npt.NDArray[Any], targets: tuple[float, ...] = ()
) -> dict[str, float]:
    """`roc_auc`, `pr_auc` (average precision), and each rate where the other is at least a target.

    Args:
        truth: Shape (N,).
        score: Higher for the positive class, shape (N,).
        targets: Levels for `sensitivity_at_<x>` and `specificity_at_<x>`.
    """
    both = 0 < truth.sum() < truth.size
    result = {
        "roc_auc": float(sk.roc_auc_score(truth, score)) if both else np.nan,
        "pr_auc": float(sk.average_precision_score(truth, score)) if truth.any() else np.nan,
    }
    if not targets:
        return result
    fpr, tpr, _ = sk.roc_curve(truth, score, drop_intermediate=False) if both else ([np.nan],) * 3
    specificity, sensitivity = 1 - np.asarray(fpr), np.asarray(tpr)
    for target in targets:
        # The slack undoes the rounding of a quotient of whole numbers.
        good, found = specificity >= target - 1e-12, sensitivity >= target - 1e-12
        result[f"sensitivity_at_{target:g}"] = float(sensitivity[good].max()) if both else np.nan
        result[f"specificity_at_{target:g}"] = float(specificity[found].max()) if both else np.nan
    return result


def multiclass_values(truth: npt.NDArray[np.intp], predicted: npt.NDArray[np.intp]) -> dict[str, float]:
    """Averages over the classes that occur in the truth, Matthews' correlation and Cohen's kappa.

    Args:
        truth: Class index, shape (N,).
        predicted: Predicted class index, shape (N,).
    """
    present = np.unique(truth)
    result: dict[str, float] = {}
    for average in ("macro", "weighted"):
        scores = sk.precision_recall_fscore_support(
            truth, predicted, labels=present, average=average, zero_division=0
        )
        result |= {f"{average}_{name}": float(v) for name, v in zip(_NAMES, scores, strict=False)}
    result["balanced_accuracy"] = result["macro_recall"]
    varied = present.size > 1
    answered = np.unique(predicted).size > 1
    result["mcc"] = float(sk.matthews_corrcoef(truth, predicted)) if varied and answered else np.nan
    result["kappa"] = float(sk.cohen_kappa_score(truth, predicted)) if varied or answered else np.nan
    return result


def class_f1(truth: npt.NDArray[np.intp], predicted: npt.NDArray[np.intp], classes: int) -> npt.NDArray[Any]:
    """F1 of each class, shape (K,); NaN for one that neither occurs nor is predicted."""
    return np.asarray(
        sk.f1_score(truth, predicted, labels=range(classes), average=None, zero_division=np.nan)
    )


def probability_values(
    probability: npt.NDArray[np.float64], truth: npt.NDArray[Any], *, bins: int
) -> dict[str, float]:
    """Calibration of one probability: `brier`, `log_loss`, `ece`, `slope`, `intercept`, `observed_expected`.

    Args:
        probability: Probability of the positive class, shape (N,).
        truth: Shape (N,), bool.
        bins: Equal-width bins of the expected calibration error.
    """
    slope, intercept = cm.slope_and_intercept(probability, truth)
    clipped = probability.clip(cm.TINY, 1 - cm.TINY)
    return {
        "brier": float(sk.brier_score_loss(truth, probability, labels=[0, 1])),
        "log_loss": float(sk.log_loss(truth, clipped, labels=[0, 1])),
        "ece": float(cm.expected_calibration_error(probability, truth, bins=bins)[0]),
        "slope": float(slope[0]),
        "intercept": float(intercept[0]),
        "observed_expected": float(truth.mean() / probability.mean()) if probability.any() else np.nan,
    }


def confidence_values(
    probabilities: npt.NDArray[np.float64],
    truth: npt.NDArray[np.intp],
    predicted: npt.NDArray[np.intp],
    *,
    bins: int,
) -> dict[str, float]:
    """Calibration of all classes: `brier` (summed over them), `log_loss`, `ece_top_label`, `ece_classwise`.

    Args:
        probabilities: Shape (N, K).
        truth: Class index, shape (N,).
        predicted: Predicted class index, shape (N,); its probability is the confidence.
        bins: Equal-width bins of the expected calibration errors.
    """
    classes, confidence = probabilities.shape[1], probabilities[np.arange(truth.size), predicted]
    clipped = probabilities.clip(cm.TINY, 1)
    clipped /= clipped.sum(axis=1, keepdims=True)
    return {
        "brier": float(cm.brier(probabilities, truth)[0]),
        "log_loss": float(sk.log_loss(truth, clipped, labels=range(classes))),
        "ece_top_label": float(cm.expected_calibration_error(confidence, predicted == truth, bins=bins)[0]),
        "ece_classwise": float(cm.classwise_ece(probabilities, truth, bins=bins)[0]),
    }
