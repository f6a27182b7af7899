"""The band of a reduced precision is the narrowest whose claim holds, at every threshold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from skinclf.conversion.doubt_band import CONFIDENCE, SHARE, doubt_band


def exceptions(exact: np.ndarray, reduced: np.ndarray, thresholds: np.ndarray, width: float) -> np.ndarray:
    """Decisions that change outside the band, by threshold."""
    t = thresholds[:, None]
    return (((exact >= t) != (reduced >= t)) & (np.abs(reduced - t) > width)).sum(axis=1)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([20, 150, 299, 700]))
def test_at_every_threshold_few_enough_change_outside(seed: int, count: int) -> None:
    draw = np.random.default_rng(seed)
    exact = draw.normal(-1, 2, count)
    reduced = exact + draw.normal(0, 0.2, count) * draw.choice([0.1, 1, 4], count)
    found = doubt_band(exact, reduced)
    bound = max(k for k in range(20) if k == 0 or binom.cdf(k, count, SHARE) <= 1 - CONFIDENCE)
    ends = np.concatenate([exact, reduced])
    thresholds = np.concatenate([ends - 1e-9, ends, ends + 1e-9])
    assert exceptions(exact, reduced, thresholds, found.width + 1e-12).max() <= bound
    assert found.share == pytest.approx(1 - binom_lower(count, bound))
    assert found.share <= SHARE or (count < 299 and bound == 0)


def binom_lower(count: int, misses: int) -> float:
    """Share p at which at most `misses` of `count` are seen with probability 5 %, as 1 - p."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if binom.cdf(misses, count, middle) > 1 - CONFIDENCE else (low, middle)
    return 1 - low


def test_it_is_the_narrowest() -> None:
    # 473 images allow one exception (confidence 95 %, 1 %); a threshold just above -1
    # parts all of them, each farther from its reduced value than the one before.
    exact, reduced = np.full(473, -1.0), np.linspace(0.001, 0.473, 473)
    found = doubt_band(exact, reduced)
    assert found.width == pytest.approx(1.472, abs=1e-6)
    assert found.share == pytest.approx(0.01, abs=1e-4)
    assert doubt_band(exact[:20], reduced[:20]).share == pytest.approx(1 - 0.05 ** (1 / 20))


def test_changes_that_part_at_different_thresholds_do_not_add_up() -> None:
    exact = np.arange(1000.0) * 10
    assert doubt_band(exact, exact + 3).width < 1e-6
    assert doubt_band(exact, exact).width == 0


def test_the_claim_holds_for_new_images() -> None:
    draw = np.random.default_rng(5)
    broken, runs, threshold = 0, 200, -1.5

    def both(count: int) -> tuple[np.ndarray, np.ndarray]:
        exact = draw.normal(-1.5, 0.4, count)
        return exact, exact + draw.standard_t(3, count) * 0.3

    fresh = both(100_000)
    for _ in range(runs):
        found = doubt_band(*both(400))
        changed = (fresh[0] >= threshold) != (fresh[1] >= threshold)
        broken += np.mean(changed & (np.abs(fresh[1] - threshold) > found.width)) > SHARE
    assert broken <= binom.ppf(0.999, runs, 1 - CONFIDENCE)
