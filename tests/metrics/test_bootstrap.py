"""Cluster bootstrap: weights, replicates, and the coverage of its intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from skinclf.errors import InvalidArgumentError
from skinclf.metrics.bootstrap import (
    bootstrap_replicates,
    cluster_bootstrap,
    cluster_weights,
    inflated_interval,
    percentile_interval,
    roc_auc_statistic,
)
from skinclf.metrics.calibration import expected_calibration_error


def test_cluster_weights_draw_whole_clusters():
    groups = np.array(["b", "a", "b", "c", "c", "c"])
    weights = np.concatenate(list(cluster_weights(groups, replicates=500, seed=3)))
    assert weights.shape == (500, 6)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, 3:] == weights[:, [3]]).all()
    assert (weights[:, 0] + weights[:, 1] + weights[:, 3] == 3).all()
    again = np.concatenate(list(cluster_weights(groups, replicates=500, seed=3)))
    assert (weights == again).all()
    assert weights[:, 1].mean() == pytest.approx(1, abs=0.1)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 3)), min_size=2, max_size=40))
def test_weighted_auc_equals_scikit_learn(rows):
    truth, score, weight = (np.asarray(x, float) for x in zip(*rows, strict=True))
    value = roc_auc_statistic(truth, score)(weight[None].astype(np.float32))[0]
    if (weight * truth).sum() == 0 or (weight * (1 - truth)).sum() == 0:
        assert np.isnan(value)
    else:
        assert value == pytest.approx(roc_auc_score(truth, score, sample_weight=weight), abs=1e-9)


def test_bootstrap_of_a_mean_is_its_standard_error():
    rng = np.random.default_rng(0)
    values = rng.normal(size=400)
    low, high = cluster_bootstrap(
        lambda w: (w @ values) / w.sum(axis=1), np.arange(400), replicates=4000, seed=0, confidence=0.9
    )
    half = stats.norm.ppf(0.95) * values.std() / 20
    assert float(low) == pytest.approx(values.mean() - half, abs=0.01)
    assert float(high) == pytest.approx(values.mean() + half, abs=0.01)


def test_bootstrap_in_chunks_equals_bootstrap_at_once(monkeypatch):
    def statistic(weights):
        return weights @ np.arange(50.0)

    at_once = bootstrap_replicates(statistic, np.arange(50), replicates=30, seed=1)
    monkeypatch.setattr("skinclf.metrics.bootstrap._CHUNK", 50 * 10)
    assert (bootstrap_replicates(statistic, np.arange(50), replicates=30, seed=1) == at_once).all()


def test_undefined_replicates_are_left_out():
    low, high = percentile_interval(
        np.array([[np.nan, np.nan], [1.0, np.nan], [3.0, np.nan]]), confidence=0.5
    )
    assert (low[0], high[0]) == (1.5, 2.5)
    assert np.isnan([low[1], high[1]]).all()


@pytest.mark.parametrize("options", [{"replicates": 0}, {"groups": []}])
def test_bootstrap_refuses_nothing(options):
    with pytest.raises(InvalidArgumentError):
        bootstrap_replicates(
            lambda w: w[:, 0], options.get("groups", [1, 2]), replicates=options.get("replicates", 5), seed=0
        )


def test_coverage_of_the_bootstrapped_auc():
    """Binormal scores, lesions of two agreeing images; AUC is known in closed form."""
    rng = np.random.default_rng(5)
    truth_auc, draws, hit = stats.norm.cdf(2 / np.sqrt(2)), 300, 0
    groups = np.repeat(np.arange(150), 2)
    for seed in range(draws):
        y = (np.arange(150) % 3 == 0).astype(float)
        score = np.repeat(rng.normal(size=150) + 2 * y, 2)
        low, high = cluster_bootstrap(
            roc_auc_statistic(np.repeat(y, 2), score), groups, replicates=400, seed=seed
        )
        hit += low <= truth_auc <= high
    assert hit / draws == pytest.approx(0.95, abs=3 * np.sqrt(0.05 * 0.95 / draws))


@pytest.mark.parametrize("power", [1.0, 1.1, 1.6])
def test_coverage_of_calibration_errors(power):
    """P(y) = p ** power: 1 is perfectly calibrated, where plain percentiles never cover."""
    rng = np.random.default_rng(2)
    many = rng.beta(0.6, 2, 400_000)
    true_error = expected_calibration_error(many, many**power)[0]
    draws, hit = 150, 0
    for seed in range(draws):
        p = rng.beta(0.6, 2, 600)
        y = rng.random(600) < p**power
        value = expected_calibration_error(p, y)[0]
        replicates = bootstrap_replicates(
            lambda w, p=p, y=y: expected_calibration_error(p, y, w), np.arange(600), replicates=300, seed=seed
        )
        low, high = inflated_interval(value, replicates)
        assert low <= value <= high
        hit += low <= true_error <= high
    assert hit / draws >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / draws)
