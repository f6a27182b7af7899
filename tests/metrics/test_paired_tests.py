"""McNemar and DeLong against their definitions."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from skinclf.errors import InvalidArgumentError
from skinclf.metrics.paired_tests import delong, delong_covariance, mcnemar


def covariance_by_definition(truth: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """DeLong 1988, equations 3 to 6, pair by pair."""
    xs = [s[truth == 1] for s in scores]
    ys = [s[truth == 0] for s in scores]
    m, n = len(xs[0]), len(ys[0])
    psi = [
        [[1.0 if x > y else 0.5 if x == y else 0.0 for y in b] for x in a]
        for a, b in zip(xs, ys, strict=True)
    ]
    area = [sum(map(sum, one)) / (m * n) for one in psi]
    v10 = [[sum(row) / n for row in one] for one in psi]
    v01 = [[sum(one[i][j] for i in range(m)) / m for j in range(n)] for one in psi]
    k = len(scores)
    total = np.zeros((k, k))
    for r in range(k):
        for s in range(k):
            s10 = sum((v10[r][i] - area[r]) * (v10[s][i] - area[s]) for i in range(m)) / (m - 1)
            s01 = sum((v01[r][j] - area[r]) * (v01[s][j] - area[s]) for j in range(n)) / (n - 1)
            total[r, s] = s10 / m + s01 / n
    return np.array(area), total


def draw(seed: int, n: int, *, ties: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = (rng.random(n) < 0.3).astype(int)
    truth[:4] = [0, 0, 1, 1]
    shared = rng.normal(size=n) + truth
    a, b = shared + rng.normal(size=n), shared + 0.6 * rng.normal(size=n) + 0.3 * truth
    return truth, *((np.round(a), np.round(b)) if ties else (a, b))


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_delong_equals_its_definition(seed: int, ties: bool) -> None:
    truth, a, b = draw(seed, 60, ties=ties)
    areas, covariance = delong_covariance(truth, [a, b])
    want_areas, want = covariance_by_definition(truth, np.array([a, b]))
    np.testing.assert_allclose(areas, want_areas, atol=1e-12)
    np.testing.assert_allclose(covariance, want, atol=1e-12)
    got = delong(truth, a, b)
    variance = want[0, 0] + want[1, 1] - 2 * want[0, 1]
    assert got.auc_a == pytest.approx(roc_auc_score(truth, a), abs=1e-12)
    assert got.difference == pytest.approx(want_areas[0] - want_areas[1], abs=1e-12)
    assert got.standard_error == pytest.approx(variance**0.5, abs=1e-9)
    assert got.p_value == pytest.approx(2 * stats.norm.cdf(-abs(got.difference) / variance**0.5), abs=1e-9)
    assert got.high - got.low == pytest.approx(2 * 1.959963984540054 * variance**0.5, abs=1e-9)


def test_delong_by_hand() -> None:
    # Two positives (3, 1) and two negatives (2, 0): the first beats both, the second one of them.
    areas, covariance = delong_covariance([1, 1, 0, 0], [[3.0, 1.0, 2.0, 0.0]])
    assert areas[0] == 0.75
    assert covariance[0, 0] == pytest.approx(0.125 / 2 + 0.125 / 2, abs=1e-15)


def test_delong_of_scores_that_rank_alike() -> None:
    truth, a, _ = draw(0, 60, ties=False)
    got = delong(truth, a, np.exp(a))
    assert (got.difference, got.standard_error, got.z, got.p_value) == (0, 0, None, 1.0)


def test_delong_says_when_a_class_is_too_small() -> None:
    with pytest.raises(InvalidArgumentError, match="two rows of either class; received 1 and 3"):
        delong([1, 0, 0, 0], [1, 2, 3, 4], [4, 3, 2, 1])


@pytest.mark.slow
def test_delong_rejects_at_its_nominal_rate() -> None:
    """Two equally good scores: p < 0.05 in 5 % of samples, within Monte-Carlo error."""
    rng = np.random.default_rng(7)
    below = 0
    for _ in range(1000):
        truth = np.r_[np.ones(60), np.zeros(140)]
        shared = rng.normal(size=200) + truth
        got = delong(truth, shared + rng.normal(size=200), shared + rng.normal(size=200))
        below += got.p_value is not None and got.p_value < 0.05
    assert 0.03 < below / 1000 < 0.075


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 0), (3, 3), (4, 12), (0, 9)])
def test_mcnemar_is_the_exact_binomial(b: int, c: int) -> None:
    right_a = np.r_[np.ones(b), np.zeros(c), np.ones(5), np.zeros(2)].astype(bool)
    right_b = np.r_[np.zeros(b), np.ones(c), np.ones(5), np.zeros(2)].astype(bool)
    got = mcnemar(right_a, right_b)
    tail = sum(comb(b + c, i) for i in range(min(b, c) + 1)) / 2 ** (b + c)
    assert (got.both, got.only_a, got.only_b, got.neither) == (5, b, c, 2)
    assert got.p_value == pytest.approx(min(1.0, 2 * tail), abs=1e-12)


def test_mcnemar_wants_equal_rows() -> None:
    with pytest.raises(InvalidArgumentError, match="row"):
        mcnemar([True], [True, False])
