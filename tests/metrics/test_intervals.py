"""Exact intervals of proportions: published values, independent libraries, and coverage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from skinclf.errors import InvalidArgumentError
from skinclf.metrics.intervals import clopper_pearson, one_sided_lower

# Newcombe, Statistics in Medicine 17 (1998), table I: k, n, Clopper-Pearson.
NEWCOMBE = [
    (81, 263, (0.2527, 0.3676)),
    (15, 148, (0.0578, 0.1617)),
    (0, 20, (0.0, 0.1684)),
    (1, 29, (0.0009, 0.1776)),
]


@pytest.mark.parametrize(("k", "n", "exact"), NEWCOMBE)
def test_published_values(k, n, exact):
    assert clopper_pearson(k, n) == pytest.approx(exact, abs=5e-5)


@given(st.integers(1, 500), st.floats(0, 1), st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_equal_to_scipy(n, share, confidence):
    k = round(share * n)
    expected = stats.binomtest(k, n).proportion_ci(confidence, "exact")
    found = clopper_pearson(k, n, confidence=confidence)
    assert found == pytest.approx((expected.low, expected.high), abs=1e-9)
    lower = stats.binomtest(k, n, alternative="greater").proportion_ci(confidence, "exact").low
    assert float(one_sided_lower(k, n, confidence=confidence)) == pytest.approx(lower, abs=1e-9)


def test_vectorised_and_empty():
    low, high = clopper_pearson([0, 3, 10, 0], [10, 10, 10, 0])
    assert low.shape == (4,)
    assert low[0] == 0
    assert high[2] == 1
    assert (low[3], high[3]) == (0, 1)
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
