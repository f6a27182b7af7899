"""Calibration metrics against scikit-learn, torchmetrics-free definitions and repeated rows."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.linear_model import LogisticRegression

from skinclf.metrics import calibration as cm


def draw(seed: int, n: int = 500) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, 3)) * 2
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = (p.cumsum(1) > rng.random((n, 1))).argmax(1)
    return truth, p, rng.integers(0, 4, (3, n)).astype(np.float32)


def ece_by_loop(p: np.ndarray, y: np.ndarray, bins: int) -> float:
    total = 0.0
    for b in range(bins):
        low, high = b / bins, (b + 1) / bins
        inside = (p >= low) & ((p < high) | (b == bins - 1))
        if inside.any():
            total += inside.sum() * abs(p[inside].mean() - y[inside].mean())
    return total / len(p)


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_ece_equals_its_definition(bins: int) -> None:
    truth, p, weights = draw(0)
    confidence, right = p.max(1), p.argmax(1) == truth
    assert cm.expected_calibration_error(confidence, right, bins=bins)[0] == pytest.approx(
        ece_by_loop(confidence, right, bins), abs=1e-12
    )
    got = cm.expected_calibration_error(confidence, right, weights, bins=bins)
    for r, w in enumerate(weights.astype(int)):
        again = np.repeat(np.arange(len(p)), w)
        assert got[r] == pytest.approx(ece_by_loop(confidence[again], right[again], bins), abs=1e-9)
    each = [ece_by_loop(p[:, k], truth == k, bins) for k in range(3)]
    assert cm.classwise_ece(p, truth, bins=bins)[0] == pytest.approx(np.mean(each), abs=1e-12)


def test_certainty_has_a_bin() -> None:
    # A seed left confidence 1.0 out of its last bin, and ten wrong answers at 1.0 gave 0.
    assert cm.expected_calibration_error(np.ones(10), np.zeros(10))[0] == 1
    assert cm.bin_index([0.0, 1 / 15, 0.999, 1.0]).tolist() == [0, 1, 14, 14]


def test_brier_and_log_loss_equal_sklearn() -> None:
    truth, p, weights = draw(1)
    y = truth == 2
    for w in weights:
        given = {"sample_weight": w}
        assert cm.brier(p[:, 2], y, w[None])[0] == pytest.approx(
            sk.brier_score_loss(y, p[:, 2], **given), abs=1e-9
        )
        assert cm.log_loss(p[:, 2], y, w[None])[0] == pytest.approx(
            sk.log_loss(y, p[:, 2], **given), abs=1e-9
        )
        assert cm.log_loss(p, truth, w[None])[0] == pytest.approx(sk.log_loss(truth, p, **given), abs=1e-9)
        per_class = [sk.brier_score_loss(truth == k, p[:, k], **given) for k in range(3)]
        assert cm.brier(p, truth, w[None])[0] == pytest.approx(sum(per_class), abs=1e-9)


def test_slope_and_intercept_equal_sklearn() -> None:
    truth, p, weights = draw(2, n=2000)
    y, score = truth == 0, p[:, 0] ** 1.5
    slope, intercept = cm.slope_and_intercept(score, y, weights)
    logit = np.log(score / (1 - score))
    for r, w in enumerate(weights):
        fit = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000, solver="newton-cholesky")
        fit.fit(logit[:, None], y, sample_weight=w)
        assert slope[r] == pytest.approx(fit.coef_[0, 0], abs=1e-7)
        # At the maximum, expected and observed events agree.
        expected = 1 / (1 + np.exp(-(logit + intercept[r])))
        assert (w * (y - expected)).sum() == pytest.approx(0, abs=1e-6)


def test_true_probabilities_are_calibrated() -> None:
    truth, p, _ = draw(3, n=20_000)
    slope, intercept = cm.slope_and_intercept(p[:, 1], truth == 1)
    assert slope[0] == pytest.approx(1, abs=0.05)
    assert intercept[0] == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize(
    ("p", "y"), [([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1]), ([0.1, 0.7], [1, 1]), ([0.3, 0.3, 0.3], [0, 1, 1])]
)
def test_no_finite_slope_is_nan(p: list[float], y: list[int]) -> None:
    assert np.isnan(cm.slope_and_intercept(p, y)[0]).all()
    assert np.isnan(cm.slope_and_intercept(p, y, np.ones((3, len(y))))[0]).all()


def test_thousands_of_regressions_at_once() -> None:
    """Every replicate of a bootstrap finds its slope."""
    truth, p, _ = draw(4, n=2000)
    weights = np.random.default_rng(0).integers(0, 3, (2000, 2000)).astype(np.float32)
    slope, intercept = cm.slope_and_intercept(p[:, 0], truth == 0, weights)
    assert np.isfinite(slope).all()
    assert np.isfinite(intercept).all()
