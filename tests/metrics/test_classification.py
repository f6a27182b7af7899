"""Weighted, replicated metrics against scikit-learn, to 1e-9."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from skinclf.metrics import classification as metrics

K = 4


def draw(
    seed: int, n: int, *, ties: bool = True, classes: int = K
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, probabilities (with ties) and integer weights (3, n), the first row ones."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes)) + 1.2 * np.eye(classes)[truth]
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    if ties:
        p = np.round(p, 1) + 1e-3
        p /= p.sum(1, keepdims=True)
    weights = np.vstack([np.ones(n), rng.integers(0, 4, (2, n))]).astype(float)
    return truth, p, weights


SIZES = pytest.mark.parametrize("n", [30, 400])


@SIZES
@pytest.mark.parametrize("seed", range(4))
def test_confusion_metrics_equal_sklearn(seed: int, n: int) -> None:
    truth, p, weights = draw(seed, n)
    predicted = p.argmax(1)
    matrices = metrics.confusion(truth, predicted, K, weights)
    ours = metrics.from_confusion(matrices)
    for r, w in enumerate(weights):
        given_ = {"sample_weight": w}
        np.testing.assert_allclose(
            matrices[r], sk.confusion_matrix(truth, predicted, labels=range(K), **given_), atol=1e-9
        )
        for average in ("macro", "weighted"):
            theirs = sk.precision_recall_fscore_support(
                truth, predicted, labels=range(K), average=average, zero_division=0, **given_
            )
            for name, value in zip(("precision", "recall", "f1"), theirs, strict=False):
                assert ours[f"{average}_{name}"][r] == pytest.approx(value, abs=1e-9)
        per_class = sk.precision_recall_fscore_support(
            truth, predicted, labels=range(K), average=None, zero_division=np.nan, **given_
        )
        for name, values in zip(("precision", "recall", "f1"), per_class, strict=False):
            np.testing.assert_allclose(ours[name][r], values, atol=1e-9)
        assert ours["accuracy"][r] == pytest.approx(sk.accuracy_score(truth, predicted, **given_), abs=1e-9)
        assert ours["balanced_accuracy"][r] == pytest.approx(
            sk.balanced_accuracy_score(truth, predicted, **given_), abs=1e-9
        )
        assert ours["mcc"][r] == pytest.approx(sk.matthews_corrcoef(truth, predicted, **given_), abs=1e-9)
        assert ours["kappa"][r] == pytest.approx(sk.cohen_kappa_score(truth, predicted, **given_), abs=1e-9)


@SIZES
@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_ranking_equals_sklearn(seed: int, n: int, ties: bool) -> None:
    truth, p, weights = draw(seed, n, ties=ties)
    y = truth == 1
    targets = (0.5, 0.8, 0.9, 0.95)
    ours = metrics.Ranking.of(y, p[:, 1]).summary(weights, specificities=targets, sensitivities=targets)
    for r, w in enumerate(weights):
        assert ours["roc_auc"][r] == pytest.approx(sk.roc_auc_score(y, p[:, 1], sample_weight=w), abs=1e-9)
        assert ours["pr_auc"][r] == pytest.approx(
            sk.average_precision_score(y, p[:, 1], sample_weight=w), abs=1e-9
        )
        fpr, tpr, _ = sk.roc_curve(y, p[:, 1], sample_weight=w, drop_intermediate=False)
        for target in targets:
            assert ours[f"sensitivity_at_{target:g}"][r] == pytest.approx(
                tpr[1 - fpr >= target - 1e-9].max(), abs=1e-9
            )
            assert ours[f"specificity_at_{target:g}"][r] == pytest.approx(
                (1 - fpr)[tpr >= target - 1e-9].max(), abs=1e-9
            )


@pytest.mark.parametrize("k", [1, 2, 3])
def test_top_k_equals_sklearn(k: int) -> None:
    truth, p, weights = draw(0, 300, ties=False)
    ours = metrics.mean(metrics.top_k_hits(truth, p, k), weights)
    for r, w in enumerate(weights):
        theirs = sk.top_k_accuracy_score(truth, p, k=k, labels=range(K), sample_weight=w)
        assert ours[r] == pytest.approx(theirs, abs=1e-9)


def test_top_k_breaks_ties_by_label_order() -> None:
    p = np.array([[0.25, 0.25, 0.25, 0.25]])
    assert metrics.top_k_hits(np.array([1]), p, 2).tolist() == [True]
    assert metrics.top_k_hits(np.array([2]), p, 2).tolist() == [False]


def test_an_absent_class_is_undefined_not_zero() -> None:
    truth, predicted = np.array([0, 0, 1]), np.array([0, 2, 1])
    ours = metrics.from_confusion(metrics.confusion(truth, predicted, 4, np.ones((1, 3))))
    assert np.isnan(ours["recall"][0, 3])
    assert np.isnan(ours["precision"][0, 3])
    assert ours["precision"][0, 2] == 0
    assert ours["macro_recall"][0] == pytest.approx(0.75)  # over the two classes that occur
    one_class = metrics.Ranking.of([1, 1], [0.2, 0.9]).summary(np.ones((1, 2)), specificities=[0.9])
    assert np.isnan(one_class["roc_auc"][0])
    assert one_class["pr_auc"][0] == 1
    assert np.isnan(one_class["sensitivity_at_0.9"][0])


def test_no_weight_at_all_is_undefined() -> None:
    ours = metrics.from_confusion(np.zeros((1, 3, 3)))
    assert all(np.isnan(value).all() for value in ours.values())


def test_rates_by_hand() -> None:
    # The published test figures of devatreya's project imply this matrix.
    got = metrics.rates(np.array([[996.0, 221.0], [56.0, 232.0]]))
    assert got["sensitivity"] == pytest.approx(232 / 288)
    assert got["specificity"] == pytest.approx(996 / 1217)
    assert got["ppv"] == pytest.approx(232 / 453)
    assert got["npv"] == pytest.approx(996 / 1052)


def test_net_benefit_by_hand() -> None:
    truth, score = np.array([True, True, False, False, False]), np.array([0.9, 0.3, 0.5, 0.2, 0.1])
    got = metrics.net_benefit(truth, score, np.array([0.2, 0.5]), np.ones((1, 5)))
    # at 0.2: 2 true and 2 false positives; at 0.5: 1 and 1
    np.testing.assert_allclose(got, [[2 / 5 - 2 / 5 * 0.25, 1 / 5 - 1 / 5]], atol=1e-12)


def test_risk_coverage_by_hand() -> None:
    wrong, confidence = np.array([True, False, False, True]), np.array([0.6, 0.9, 0.8, 0.7])
    got = metrics.risk_coverage(wrong, confidence, np.array([0.25, 0.5, 0.75, 1.0]), np.ones((1, 4)))
    np.testing.assert_allclose(got, [[0, 0, 1 / 3, 0.5]], atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_weight_is_a_repetition(data: st.DataObject) -> None:
    """Counting a row w times equals having w copies of it."""
    n = data.draw(st.integers(1, 12))
    truth = np.array(data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)))
    score = np.array(
        data.draw(st.lists(st.sampled_from([0.0, 0.1, 0.5, 0.5000001, 1.0]), min_size=n, max_size=n))
    )
    times = np.array(data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)))
    again = np.repeat(np.arange(n), times)
    weighted, repeated = times[None].astype(float), np.ones((1, len(again)))
    targets = {"specificities": [0.5, 0.9], "sensitivities": [0.5, 0.9]}
    a = metrics.Ranking.of(truth == 0, score).summary(weighted, **targets)
    b = metrics.Ranking.of(truth[again] == 0, score[again]).summary(repeated, **targets) if len(again) else {}
    predicted = (score * 2).astype(int)
    a |= metrics.from_confusion(metrics.confusion(truth, predicted, 3, weighted))
    b |= metrics.from_confusion(metrics.confusion(truth[again], predicted[again], 3, repeated))
    for name, value in b.items():
        np.testing.assert_allclose(a[name], value, atol=1e-12, err_msg=name)
