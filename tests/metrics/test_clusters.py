"""Clustered proportions: effective sample size, and the coverage of intervals on it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinclf.metrics.clusters import effective_size
from skinclf.metrics.estimate import proportion
from skinclf.metrics.intervals import clopper_pearson


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
