"""Clustered proportions: effective sample size, and the coverage of intervals on it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skinclf.metrics.clusters import effective_size
from skinclf.metrics.estimate import proportion
from skinclf.metrics.intervals import clopper_pearson


@settings(deadline=None)  # the first example imports scipy
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=1, max_size=60))
def test_effective_size_is_positive_and_at_most_that_of_independent_rows(rows):
    success, groups = zip(*rows, strict=True)
    assert 0 < effective_size(success, groups) <= len(rows)


def test_effective_size_is_that_of_korn_and_graubard():
    """By hand: 3 clusters, p = 1/2, residuals 1.5, -1 and -0.5, variance 3/2 * 3.5 / 36, t(5) and t(2) of 97.5 %."""
    size = effective_size([1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 2])
    assert size == pytest.approx(0.25 / (1.5 * 3.5 / 36) * (2.570582 / 4.302653) ** 2, rel=1e-6)
    # 36 / 14 is what clusters of full agreement are worth: no floor.
    assert size < 36 / 14
    # Student's t of the interval's own tail.
    wider = effective_size([1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 2], tail=0.005)
    assert wider == pytest.approx(0.25 / (1.5 * 3.5 / 36) * (4.032143 / 9.924843) ** 2, rel=1e-6)


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


def test_coverage_where_hard_lesions_have_more_images():
    """One lesion in ten is hard, has 12 images instead of 1, and is answered wrongly as a whole half the time.

    A floor at (sum m)^2 / (sum m^2) undercovers here, so the test can fail.
    """
    rng = np.random.default_rng(2)
    draws, hit, floored = 1500, 0, 0
    truth = (0.9 * 0.97 + 0.1 * 12 * 0.5) / (0.9 + 0.1 * 12)
    for _ in range(draws):
        hard = rng.random(150) < 0.1
        sizes = np.where(hard, 12, 1)
        groups = np.repeat(np.arange(150), sizes)
        success = (rng.random(150) < np.where(hard, 0.5, 0.97))[groups]
        estimate = proportion(success, groups, confidence=0.95)
        hit += estimate.low <= truth <= estimate.high
        size = max(effective_size(success, groups), sizes.sum() ** 2 / (sizes**2).sum())
        low, high = clopper_pearson(success.mean() * size, size)
        floored += low <= truth <= high
    error = 3 * np.sqrt(0.05 * 0.95 / draws)
    assert hit / draws >= 0.95 - error
    assert floored / draws < 0.95 - error
