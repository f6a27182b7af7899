"""Operating points: exact on the data, honest about the population."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from skinclf.decisions.guarantees import GRADES, allowed_misses, positives_needed
from skinclf.decisions.sample import decision_sample
from skinclf.decisions.thresholds import Curve, evaluate_threshold, operating_point_table, tune_threshold
from skinclf.errors import InsufficientDataError, InvalidArgumentError
from skinclf.metrics.intervals import clopper_pearson, one_sided_lower

# Few values, so that ties are common; the two that only differ in float64 are one float32.
SCORES = st.sampled_from([0.0, 0.1, 0.1 + 1e-12, 0.25, 0.5, 0.5000001, 0.75, 1.0]) | st.floats(0, 1)
CASES = st.lists(st.tuples(st.booleans(), SCORES), min_size=2, max_size=25).filter(
    lambda rows: len({y for y, _ in rows}) == 2
)
TARGETS = st.sampled_from([0.5, 0.8, 0.9, 1.0]) | st.floats(0.01, 1)


def brute_force(rows):
    """Sensitivity, specificity and PPV of every possible decision, by counting."""
    scores = [np.float32(s) for _, s in rows]
    for threshold in {*scores, np.float32(2)}:
        flagged = [s >= threshold for s in scores]
        tp = sum(f and y for f, (y, _) in zip(flagged, rows, strict=True))
        fp = sum(f and not y for f, (y, _) in zip(flagged, rows, strict=True))
        positives = sum(y for y, _ in rows)
        negatives = len(rows) - positives
        yield tp / positives, (negatives - fp) / negatives, tp / (tp + fp) if tp + fp else 0.0, tp, fp


@settings(deadline=None)
@given(CASES, TARGETS)
def test_target_sensitivity_is_met_by_the_most_specific_point(rows, target):
    y, score = zip(*rows, strict=True)
    point = tune_threshold(y, score, target_sensitivity=target)
    assert point.sensitivity.value >= target
    meeting = [(spec, sens) for sens, spec, *_ in brute_force(rows) if sens >= target]
    # Highest specificity, and among equals highest sensitivity.
    assert (point.specificity.value, point.sensitivity.value) == max(meeting)
    assert np.float32(point.threshold) in np.asarray(score, np.float32)


@settings(deadline=None)
@given(CASES, TARGETS)
def test_other_criteria_are_optimal_too(rows, target):
    y, score = zip(*rows, strict=True)
    every = list(brute_force(rows))
    point = tune_threshold(y, score, target_specificity=target)
    assert (point.sensitivity.value, point.specificity.value) == max(
        (a, b) for a, b, *_ in every if b >= target
    )
    point = tune_threshold(y, score, youden=True)
    best = max(a + b for a, b, *_ in every)
    assert point.sensitivity.value + point.specificity.value == pytest.approx(best, abs=1e-12)
    point = tune_threshold(y, score, cost_ratio=4)
    positives = sum(y)
    assert 4 * point.fn + point.fp == min(4 * (positives - tp) + fp for *_, tp, fp in every)
    ppvs = [(sens, spec) for sens, spec, ppv, *_ in every if ppv >= target]
    if ppvs:
        point = tune_threshold(y, score, target_ppv=target)
        assert point.ppv.value >= target
        assert (point.sensitivity.value, point.specificity.value) == max(ppvs)
    else:
        with pytest.raises(InsufficientDataError):
            tune_threshold(y, score, target_ppv=target)


@settings(deadline=None)
@given(CASES, st.randoms())
def test_the_order_of_rows_does_not_matter(rows, random):
    shuffled = random.sample(rows, len(rows))
    one, two = (tune_threshold(*zip(*r, strict=True), target_sensitivity=0.8) for r in (rows, shuffled))
    assert one == two


@settings(deadline=None, max_examples=50)
@given(CASES, st.lists(st.integers(0, 4), min_size=25, max_size=25), st.sampled_from(["max", "mean"]))
def test_lesions_equal_their_images_combined_by_hand(rows, groups, combine):
    y, score = zip(*rows, strict=True)
    groups = groups[: len(rows)]
    lesions = sorted(set(groups))
    hand_y = [max(a for a, g in zip(y, groups, strict=True) if g == x) for x in lesions]
    how = max if combine == "max" else lambda v: np.float32(np.mean(np.asarray(v, np.float64)))
    hand = [how([np.float32(s) for s, g in zip(score, groups, strict=True) if g == x]) for x in lesions]
    options = {"groups": groups, "unit": "lesion", "combine": combine}
    if len(set(hand_y)) < 2:
        with pytest.raises(InvalidArgumentError):
            tune_threshold(y, score, target_sensitivity=0.8, **options)
        return
    point = tune_threshold(y, score, target_sensitivity=0.8, **options)
    expected = tune_threshold(hand_y, hand, target_sensitivity=0.8)
    assert (point.threshold, point.tp, point.fp, point.n) == (
        expected.threshold,
        expected.tp,
        expected.fp,
        len(lesions),
    )


@pytest.mark.parametrize(
    ("y", "score", "options", "message"),
    [
        ([1, 1], [0.1, 0.2], {}, "both classes"),
        ([0, 0], [0.1, 0.2], {}, "both classes"),
        ([1], [0.5], {}, "both classes"),
        ([], [], {}, "both classes"),
        ([0, 1], [0.1, np.nan], {}, "no finite"),
        ([0, 1], [0.1, np.inf], {}, "no finite"),
        ([0, 1], [0.1, 1e300], {}, "no finite"),
        ([0, 2], [0.1, 0.2], {}, "0 or 1"),
        ([0, 1], [0.1], {}, "one entry per unit"),
        ([[0, 1]], [[0.1, 0.2]], {}, "one entry per unit"),
        ([0, 1], [0.1, 0.2], {"groups": [1]}, "one entry per image"),
        ([0, 1], [0.1, 0.2], {"unit": "lesion"}, "needs `groups`"),
        ([0, 1], [0.1, 0.2], {"confidence": 1.0}, "confidence"),
        ([0, 1], [0.1, 0.2], {"prevalence": 0.0}, "prevalence"),
        ([0, 1], [0.1, 0.2], {"grade": "certain"}, "grade"),
        ([0, 1], [0.1, 0.2], {"target_sensitivity": None}, "one criterion"),
        ([0, 1], [0.1, 0.2], {"youden": True}, "one criterion"),
        ([0, 1], [0.1, 0.2], {"target_sensitivity": 0.0}, "above 0"),
        ([0, 1], [0.1, 0.2], {"target_sensitivity": 1.1}, "above 0"),
        ([0, 1], [0.1, 0.2], {"target_sensitivity": np.nan}, "above 0"),
        ([0, 1], [0.1, 0.2], {"target_sensitivity": None, "cost_ratio": 0}, "positive number"),
        (
            [0, 1],
            [0.1, 0.2],
            {"target_sensitivity": None, "youden": True, "grade": "guaranteed"},
            "exists for",
        ),
    ],
)
def test_refuses(y, score, options, message):
    with pytest.raises(InvalidArgumentError, match=message):
        tune_threshold(y, score, **{"target_sensitivity": 0.9, **options})


def test_one_positive():
    point = tune_threshold([0, 1, 0], [0.2, 0.4, 0.6], target_sensitivity=0.9)
    assert (point.threshold, point.tp, point.fp) == (np.float32(0.4), 1, 1)
    assert not point.claimed
    assert point.sensitivity.low == pytest.approx(0.025)
    assert point.sensitivity.high == 1


def test_a_target_may_flag_nothing():
    point = tune_threshold([1, 0], [0.3, 0.3], target_specificity=0.5)
    assert (point.tp, point.fp) == (0, 0)
    assert point.threshold == np.nextafter(np.float32(0.3), np.float32(1))


def test_decisions_compare_float32():
    """A score printed as float32 stays on the threshold's side, as it does in `predict`."""
    score = np.float32([0.1, 0.3, 0.7])
    point = tune_threshold([0, 1, 1], score, target_sensitivity=1.0)
    assert point.threshold == float(np.float32(0.3)) != 0.3
    assert evaluate_threshold([0, 1, 1], score, 0.3).tp == 2


# --- grades -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (117, (11, 5, 10, 4, 6, 1)),
        (175, (17, 8, 16, 7, 10, 3)),
        (293, (29, 14, 28, 13, 20, 8)),
        (1169, (116, 58, 116, 57, 99, 45)),
    ],
)
def test_allowed_misses(n, expected):
    assert tuple(allowed_misses(n, t, grade=g) for g in GRADES for t in (0.9, 0.95)) == expected


@given(st.integers(1, 400), st.floats(0.5, 0.99), st.sampled_from([0.8, 0.9, 0.95]))
def test_guaranteed_misses_are_the_most_that_the_binomial_allows(n, target, confidence):
    """Against the definition: P(Binomial(n, 1 - target) <= misses) <= 1 - confidence."""
    misses = allowed_misses(n, target, grade="guaranteed", confidence=confidence)
    tail = stats.binom.cdf(np.arange(-1, n + 1), n, 1 - target)
    assert tail[misses + 1] <= (1 - confidence) * (1 + 1e-9)
    if misses + 2 <= n + 1:
        assert tail[misses + 2] > (1 - confidence) * (1 - 1e-9)


def test_positives_needed():
    assert positives_needed(0.9) == 29
    assert positives_needed(0.95) == 59
    assert positives_needed(0.9, grade="expected") == 9
    assert positives_needed(0.9, observed=0.9) is None
    n = positives_needed(0.9, observed=0.93)
    assert one_sided_lower(0.93 * n, n) >= 0.9 > one_sided_lower(0.93 * (n - 1), n - 1)


def test_too_few_positives_for_a_claim():
    y, score = np.repeat([0, 1], 20), np.linspace(0, 1, 40)
    with pytest.raises(InsufficientDataError, match=r"from 20 positives.*at least 29"):
        tune_threshold(y, score, target_sensitivity=0.9, grade="guaranteed")
    with pytest.raises(InsufficientDataError, match=r"on average from 20 positives.*at least 99"):
        tune_threshold(y, score, target_sensitivity=0.99, grade="expected")
    point = tune_threshold(y, score, target_sensitivity=0.9)
    assert not point.claimed
    assert "cannot be claimed" in point.claim
    assert "at least 29 positives without an error" in point.claim
    table = operating_point_table(y, score, targets=(0.8, 0.9), grade="guaranteed")
    assert table[0.8] is not None
    assert table[0.8].claimed
    assert table[0.9] is None


def test_guarantees_need_independent_units():
    rng = np.random.default_rng(0)
    y, groups = np.repeat(np.arange(200) % 2, 2), np.repeat(np.arange(200), 2)
    score = rng.random(400) + y
    for grade in ("guaranteed", "expected"):
        with pytest.raises(InvalidArgumentError, match="400 images show 200 lesions"):
            tune_threshold(y, score, target_sensitivity=0.9, grade=grade, groups=groups)
        assert (
            tune_threshold(y, score, target_sensitivity=0.9, grade=grade, groups=groups, unit="lesion").n
            == 200
        )
    point = tune_threshold(y, score, target_sensitivity=0.9, groups=groups)
    assert point.lesions == 200
    assert "one decision per lesion" in point.claim or point.claimed


def draw(rng, positives, negatives, shift=1.5):
    y = np.r_[np.ones(positives, int), np.zeros(negatives, int)]
    return y, (rng.normal(size=y.size) + shift * y).astype(np.float32)


@pytest.mark.parametrize(("target", "positives"), [(0.9, 100), (0.8, 60)])
def test_the_guarantee_holds_in_simulation(target, positives):
    """Scores are normal, so the true sensitivity of every threshold is known."""
    rng = np.random.default_rng(7)
    draws, delta = 2000, 0.1
    true = np.empty((2, draws))
    for i in range(draws):
        y, score = draw(rng, positives, 20)
        curve = Curve.of(y == 1, score)
        for row, grade in enumerate(("guaranteed", "expected")):
            misses = allowed_misses(positives, target, grade=grade, confidence=1 - delta)
            place = np.flatnonzero(curve.tp >= positives - misses)[-1]
            if i % 100 == 0:  # the shortcut above is what the function does, but for ties
                point = tune_threshold(y, score, target_sensitivity=target, grade=grade, confidence=1 - delta)
                assert point.threshold <= curve.thresholds[place]
                assert point.fp == curve.fp[place]
            true[row, i] = stats.norm.sf(curve.thresholds[place] - 1.5)
    assert (true[0] < target).mean() <= delta
    # Not vacuous: the guarantee is used up to its last whole case.
    exact = stats.binom.cdf(
        allowed_misses(positives, target, grade="guaranteed", confidence=1 - delta), positives, 1 - target
    )
    assert (true[0] < target).mean() == pytest.approx(exact, abs=3 * np.sqrt(delta / draws))
    assert true[1].mean() >= target - 3 * true[1].std() / np.sqrt(draws)
    assert (true[1] < target).mean() > delta


def test_every_interval_of_a_tuned_point_covers():
    """2,000 draws; the population's figures at the tuned threshold are known."""
    rng = np.random.default_rng(11)
    draws, prevalence, hits = 2000, 0.05, {}
    for _ in range(draws):
        y = (rng.random(150) < 0.3).astype(int)
        score = (rng.normal(size=150) + 1.5 * y).astype(np.float32)
        point = tune_threshold(y, score, target_sensitivity=0.85, prevalence=prevalence)
        sens, spec = stats.norm.sf(point.threshold - 1.5), stats.norm.cdf(point.threshold)

        def ppv(share, sens=sens, spec=spec):
            return share * sens / (share * sens + (1 - share) * (1 - spec))

        def npv(share, sens=sens, spec=spec):
            return (1 - share) * spec / ((1 - share) * spec + share * (1 - sens))

        truth = {
            "sensitivity": sens,
            "specificity": spec,
            "ppv": ppv(0.3),
            "npv": npv(0.3),
            "accuracy": 0.3 * sens + 0.7 * spec,
            "lr_positive": sens / (1 - spec),
            "lr_negative": (1 - sens) / spec,
            "ppv_at_prevalence": ppv(prevalence),
            "npv_at_prevalence": npv(prevalence),
        }
        for name, value in truth.items():
            estimate = getattr(point, name)
            hits[name] = hits.get(name, 0) + (estimate.low <= value <= estimate.high)
        region = all(e.low <= v <= e.high for e, v in zip(point.region, (sens, spec), strict=True))
        hits["region"] = hits.get("region", 0) + region
        hits["lower_bound"] = hits.get("lower_bound", 0) + (point.lower_bound <= sens)
    error = 3 * np.sqrt(0.05 * 0.95 / draws)
    assert {name: n / draws for name, n in hits.items() if n / draws < 0.95 - error} == {}


# --- figures ----------------------------------------------------------------------------------


def test_a_worked_example():
    """231 of 258 diseased and 32 of 27 + 32 healthy: the two by two table of the CLSI EP12 kind, by hand."""
    y = np.r_[np.ones(258), np.zeros(59)]
    score = np.r_[np.full(231, 0.9), np.full(27, 0.1), np.full(32, 0.1), np.full(27, 0.9)]
    point = evaluate_threshold(y, score, 0.5, prevalence=0.1)
    assert (point.tp, point.fn, point.tn, point.fp) == (231, 27, 32, 27)
    assert point.sensitivity.value == pytest.approx(231 / 258)
    assert (point.sensitivity.low, point.sensitivity.high) == tuple(map(float, clopper_pearson(231, 258)))
    assert point.ppv.value == pytest.approx(231 / 258)
    assert point.lr_positive.value == pytest.approx((231 / 258) / (27 / 59))
    assert point.lr_negative.value == pytest.approx((27 / 258) / (32 / 59))
    assert point.ppv_at_prevalence.value == pytest.approx(0.1 * 231 / 258 / (0.1 * 231 / 258 + 0.9 * 27 / 59))
    assert point.npv_at_prevalence.value == pytest.approx(0.9 * 32 / 59 / (0.9 * 32 / 59 + 0.1 * 27 / 258))
    assert point.lr_positive.low < point.lr_positive.value < point.lr_positive.high
    assert point.f1_score == pytest.approx(2 * 231 / (2 * 231 + 27 + 27))


def test_undefined_figures_are_nan_and_unbounded_ones_infinite():
    point = evaluate_threshold([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], 0.95)
    assert np.isnan(point.ppv.value)
    assert (point.ppv.low, point.ppv.high) == (0, 1)
    point = evaluate_threshold([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], 0.5)
    assert np.isinf(point.lr_positive.value)
    assert np.isinf(point.lr_positive.high)
    assert point.lr_negative.value == 0


def test_clusters_widen_intervals():
    rng = np.random.default_rng(0)
    y, score = draw(rng, 150, 150)
    y, score, groups = np.repeat(y, 3), np.repeat(score, 3), np.repeat(np.arange(300), 3)
    alone = tune_threshold(y, score, target_sensitivity=0.9)
    grouped = tune_threshold(y, score, target_sensitivity=0.9, groups=groups)
    assert alone.threshold == grouped.threshold
    assert grouped.sensitivity.low < alone.sensitivity.low
    assert (alone.lesions, grouped.lesions) == (None, 300)
    assert decision_sample(y, score, groups=np.arange(900)).clusters is None
