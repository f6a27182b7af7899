"""Confidence intervals: published values, independent libraries, and the coverage that they promise."""

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
from skinclf.metrics.clusters import effective_size
from skinclf.metrics.estimate import proportion
from skinclf.metrics.intervals import clopper_pearson, one_sided_lower, wilson

# Newcombe, Statistics in Medicine 17 (1998), table I: k, n, Clopper-Pearson, Wilson.
NEWCOMBE = [
    (81, 263, (0.2527, 0.3676), (0.2553, 0.3662)),
    (15, 148, (0.0578, 0.1617), (0.0624, 0.1605)),
    (0, 20, (0.0, 0.1684), (0.0, 0.1611)),
    (1, 29, (0.0009, 0.1776), (0.0061, 0.1718)),
]


@pytest.mark.parametrize(("k", "n", "exact", "score"), NEWCOMBE)
def test_published_values(k, n, exact, score):
    assert clopper_pearson(k, n) == pytest.approx(exact, abs=5e-5)
    assert wilson(k, n) == pytest.approx(score, abs=5e-5)


@given(st.integers(1, 500), st.floats(0, 1), st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_equal_to_scipy(n, share, confidence):
    k = round(share * n)
    for ours, theirs in ((clopper_pearson, "exact"), (wilson, "wilson")):
        expected = stats.binomtest(k, n).proportion_ci(confidence, theirs)
        assert ours(k, n, confidence=confidence) == pytest.approx((expected.low, expected.high), abs=1e-9)
    lower = stats.binomtest(k, n, alternative="greater").proportion_ci(confidence, "exact").low
    assert float(one_sided_lower(k, n, confidence=confidence)) == pytest.approx(lower, abs=1e-9)


def test_vectorised_and_empty():
    low, high = clopper_pearson([0, 3, 10, 0], [10, 10, 10, 0])
    assert low.shape == (4,)
    assert low[0] == 0
    assert high[2] == 1
    assert (low[3], high[3]) == (0, 1)
    assert [x[()] for x in wilson(0, 0)] == [0, 1]
    assert low[1] == clopper_pearson(3, 10)[0]


@pytest.mark.parametrize(
    ("k", "n", "confidence"), [(-1, 5, 0.95), (6, 5, 0.95), (1, 5, 1.0), (1, 5, 0.0), (np.nan, 5, 0.9)]
)
def test_refuses(k, n, confidence):
    with pytest.raises(InvalidArgumentError):
        clopper_pearson(k, n, confidence=confidence)


def test_exact_coverage_of_exact_intervals():
    """Summed over the binomial distribution, so without Monte-Carlo error."""
    n, truth = 40, np.linspace(0.01, 0.99, 99)
    k = np.arange(n + 1)
    weight = stats.binom.pmf(k, n, truth[:, None])
    low, high = clopper_pearson(k, n)
    assert (weight * ((low <= truth[:, None]) & (truth[:, None] <= high))).sum(axis=1).min() >= 0.95
    below = one_sided_lower(k, n) <= truth[:, None]
    assert (weight * below).sum(axis=1).min() >= 0.95
    low, high = wilson(k, n)
    assert (weight * ((low <= truth[:, None]) & (truth[:, None] <= high))).sum(
        axis=1
    ).mean() == pytest.approx(0.95, abs=0.01)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=1, max_size=60))
def test_effective_size_lies_between_full_agreement_and_independence(rows):
    success, groups = zip(*rows, strict=True)
    sizes = np.unique(groups, return_counts=True)[1]
    size = effective_size(success, groups)
    assert sizes.sum() ** 2 / (sizes**2).sum() - 1e-9 <= size <= len(rows)


def test_effective_size_of_the_extremes():
    assert effective_size([1, 0, 1, 0], ["a", "b", "c", "d"]) == 4
    agreeing = np.repeat(np.arange(200) % 2, 3)
    assert effective_size(agreeing, np.repeat(np.arange(200), 3)) == pytest.approx(200, rel=0.02)
    assert effective_size(np.ones(6), [0, 0, 0, 1, 1, 1]) == 2


def test_coverage_of_clustered_proportions():
    """Beta-binomial lesions of 1 to 5 images; ignoring the lesions undercovers, so the test can fail."""
    rng = np.random.default_rng(1)
    draws, hit, naive = 2000, 0, 0
    for _ in range(draws):
        sizes = rng.integers(1, 6, 60)
        groups = np.repeat(np.arange(60), sizes)
        success = rng.random(sizes.sum()) < rng.beta(0.9 * 1.5, 0.1 * 1.5, 60)[groups]
        estimate = proportion(success, groups, confidence=0.95)
        hit += estimate.low <= 0.9 <= estimate.high
        low, high = clopper_pearson(success.sum(), success.size)
        naive += low <= 0.9 <= high
    error = 3 * np.sqrt(0.05 * 0.95 / draws)
    assert hit / draws >= 0.95 - error
    assert naive / draws < 0.95 - error


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
    monkeypatch.setattr("skinclf.metrics.intervals._CHUNK", 50 * 10)
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
