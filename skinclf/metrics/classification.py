"""Classification metrics over many weightings of the same rows at once.

A cluster bootstrap asks for every metric a few thousand times. Here one replicate is one row of
`weights`, shape (R, n): how often each image counts. Everything is vectorised over R. With weights of
one, each function equals its scikit-learn counterpart (tests hold them together to 1e-9); the values
that a report prints come from scikit-learn itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from skinclf._utils.arrays import Bools, Floats, Ints, RowWeights


def ratio(top: npt.ArrayLike, bottom: npt.ArrayLike) -> Floats:
    """Element-wise quotient, NaN (no warning) where the denominator is 0: undefined is not zero."""
    top, bottom = np.broadcast_arrays(np.asarray(top, np.float64), np.asarray(bottom, np.float64))
    out = np.full(top.shape, np.nan)
    np.divide(top, bottom, out=out, where=bottom != 0)
    return out


def confusion(truth: Ints, predicted: Ints, classes: int, weights: RowWeights) -> Floats:
    """Weighted confusion matrices.

    Args:
        truth: Class index by row, shape (n,).
        predicted: Predicted class index, shape (n,).
        classes: Number of classes K.
        weights: Shape (R, n).

    Returns:
        Shape (R, K, K): rows are the truth, columns the prediction.
    """
    n = len(truth)
    cells = sparse.csr_matrix((np.ones(n), (truth * classes + predicted, np.arange(n))), (classes**2, n))
    return np.asarray((cells @ weights.T).T.reshape(len(weights), classes, classes))


def from_confusion(matrix: Floats) -> dict[str, Floats]:
    """Every metric that a confusion matrix determines.

    Args:
        matrix: Shape (..., K, K), rows the truth.

    Returns:
        By class, shape (..., K): `precision`, `recall`, `specificity`, `f1` (NaN where undefined).
        Overall, shape (...): `accuracy`, `balanced_accuracy`, `macro_*` and `weighted_*` of precision,
        recall and f1, `mcc` (Gorodkin 2004) and `kappa` (Cohen, unweighted). Averages run over the
        classes that occur in the truth; there a class that is never predicted has precision 0.
    """
    total = matrix.sum((-2, -1))
    hit = np.diagonal(matrix, axis1=-2, axis2=-1)
    support, predicted_count = matrix.sum(-1), matrix.sum(-2)
    rest = total[..., None] - support
    precision, recall = ratio(hit, predicted_count), ratio(hit, support)
    present = support > 0
    by_class = {
        "precision": precision,
        "recall": recall,
        "specificity": ratio(rest - predicted_count + hit, rest),
        "f1": ratio(2 * hit, support + predicted_count),
    }
    result = dict(by_class)
    for name in ("precision", "recall", "f1"):
        values = np.where(present, np.nan_to_num(by_class[name]), 0.0)
        result[f"macro_{name}"] = ratio(values.sum(-1), present.sum(-1))
        result[f"weighted_{name}"] = ratio((values * support).sum(-1), total)
    agree, chance = hit.sum(-1), (support * predicted_count).sum(-1)
    result["accuracy"] = ratio(agree, total)
    result["balanced_accuracy"] = result["macro_recall"]
    spread = np.sqrt((total**2 - (predicted_count**2).sum(-1)) * (total**2 - (support**2).sum(-1)))
    result["mcc"] = ratio(agree * total - chance, spread)
    result["kappa"] = ratio(agree * total - chance, total**2 - chance)
    return result


def top_k_hits(truth: Ints, probabilities: Floats, k: int) -> Bools:
    """Whether the true class is among the `k` most probable, shape (n,); of equal ones the later loses.

    Ties follow `Prediction.top_k`: the class that comes first in label order ranks first.
    """
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return np.asarray((best == truth[:, None]).any(axis=1))


def mean(values: npt.ArrayLike, weights: RowWeights) -> Floats:
    """Weighted mean of one value by row, shape (R,)."""
    return ratio(weights @ np.asarray(values, np.float64), weights.sum(1))


@dataclass(frozen=True, slots=True)
class Ranking:
    """Rows in order of falling score, prepared once for any number of weightings.

    Attributes:
        order: Row indices by falling score.
        positive: Truth in that order.
        ends: Last position of each group of equal scores: the points at which a threshold can separate rows.
        scores: The distinct scores, falling.
    """

    order: Ints
    positive: Floats
    ends: Ints
    scores: Floats

    @classmethod
    def of(cls, truth: npt.ArrayLike, score: npt.ArrayLike) -> Ranking:
        """Sort once; `truth` is 0/1 and `score` higher for the positive class, both of shape (n,)."""
        values = np.asarray(score, np.float64)
        order = np.argsort(-values, kind="stable")
        falling = values[order]
        ends = np.flatnonzero(np.append(np.diff(falling) != 0, True))
        return cls(order, np.asarray(truth, np.float64)[order], ends, falling[ends])

    def counts(self, weights: RowWeights) -> tuple[Floats, Floats]:
        """Weighted true and false positives when every row down to each distinct score is flagged.

        Both have shape (R, G + 1); the first column is 0, nothing flagged.
        """
        # float32 counts exactly up to 2**24, and sums twice as fast.
        exact = np.float32 if self.order.size < 1 << 22 else np.float64
        ordered = weights[:, self.order].astype(exact, copy=False)
        both = np.cumsum(ordered, axis=1)[:, self.ends]
        hits = np.cumsum(ordered * self.positive.astype(exact), axis=1)[:, self.ends]
        start = np.zeros((len(weights), 1))
        return np.hstack([start, hits]), np.hstack([start, both - hits])

    def summary(
        self, weights: RowWeights, *, specificities: Sequence[float] = (), sensitivities: Sequence[float] = ()
    ) -> dict[str, Floats]:
        """Metrics of the whole curve, each of shape (R,); NaN where a class is absent.

        `roc_auc` is the trapezoid (ties count half), `pr_auc` the average precision
        (sum of precision times the rise in recall, no interpolation). `sensitivity_at_<x>` is the highest
        sensitivity of any threshold whose specificity is at least x, `specificity_at_<x>` the reverse.
        """
        hits, false = self.counts(weights)
        positives, negatives = hits[:, -1], false[:, -1]
        rise = np.diff(hits, axis=1)
        area = (np.diff(false, axis=1) * (hits[:, 1:] + hits[:, :-1])).sum(1) / 2
        precise = np.divide(hits[:, 1:], (hits + false)[:, 1:], out=np.zeros_like(rise), where=rise > 0)
        both = (positives > 0) & (negatives > 0)
        result = {
            "roc_auc": ratio(area, positives * negatives),
            "pr_auc": ratio((rise * precise).sum(1), positives),
        }
        rows = np.arange(len(weights))
        for target in specificities:
            # Counts are whole numbers; the slack only undoes the rounding of target * total.
            last = (false <= (1 - target) * negatives[:, None] + 1e-9).sum(1) - 1
            value = ratio(hits[rows, last], positives)
            result[f"sensitivity_at_{target:g}"] = np.where(both, value, np.nan)
        for target in sensitivities:
            first = (hits < target * positives[:, None] - 1e-9).sum(1)
            value = 1 - ratio(false[rows, np.minimum(first, hits.shape[1] - 1)], negatives)
            result[f"specificity_at_{target:g}"] = np.where(both, value, np.nan)
        return result


def rates(matrix: Floats) -> Mapping[str, Floats]:
    """Rates of a two-class confusion matrix, shape (..., 2, 2), rows the truth, 1 the positive class.

    Returns:
        `sensitivity`, `specificity`, `ppv`, `npv`, `accuracy`; NaN where undefined.
    """
    tn, fp, fn, tp = (matrix[..., i, j] for i in (0, 1) for j in (0, 1))
    return {
        "sensitivity": ratio(tp, tp + fn),
        "specificity": ratio(tn, tn + fp),
        "ppv": ratio(tp, tp + fp),
        "npv": ratio(tn, tn + fn),
        "accuracy": ratio(tp + tn, tp + fp + fn + tn),
    }


def net_benefit(truth: Bools, score: Floats, thresholds: Floats, weights: RowWeights) -> Floats:
    """Net benefit of acting on `score >= t`, shape (R, T).

    TP/n - FP/n * t/(1 - t). Source: Vickers and Elkin, Med. Decis. Making 2006.
    """
    predicted_count = (score[:, None] >= thresholds[None, :]).astype(np.float64)
    hits = weights @ (predicted_count * truth[:, None])
    false = weights @ (predicted_count * ~truth[:, None])
    return np.asarray((hits - false * (thresholds / (1 - thresholds))) / weights.sum(1, keepdims=True))


def risk_coverage(wrong: Bools, confidence: Floats, coverages: Floats, weights: RowWeights) -> Floats:
    """Error rate among the most confident share of rows, shape (R, C).

    Args:
        wrong: Whether the answer is wrong, shape (n,).
        confidence: Rows are kept from the highest down, shape (n,).
        coverages: Shares of rows kept, in (0, 1], shape (C,).
        weights: Shape (R, n).
    """
    order = np.argsort(-confidence, kind="stable")
    kept = np.cumsum(weights[:, order], axis=1)
    missed = np.cumsum(weights[:, order] * wrong[order], axis=1)
    wanted = coverages * kept[:, -1:]
    last = np.empty(wanted.shape, np.int64)
    for r in range(len(weights)):
        last[r] = np.searchsorted(kept[r], wanted[r] - 1e-9)
    rows = np.arange(len(weights))[:, None]
    return ratio(missed[rows, last], kept[rows, last])
