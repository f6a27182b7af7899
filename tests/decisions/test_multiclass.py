"""Several classes: per-class thresholds and decisions of least cost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from support.decision_fixtures import simulate

from skinclf.decisions.multiclass import balanced_decision, read_costs, tune_class_thresholds
from skinclf.decisions.thresholds import tune_threshold
from skinclf.errors import InvalidArgumentError
from skinclf.labels import HAM10000
from skinclf.models.class_decision import decide_by_cost, decide_by_thresholds


def test_each_class_is_tuned_against_the_rest():
    logits, truth, _ = simulate()
    values = softmax(logits, axis=1).astype(np.float32)
    codes = [HAM10000.codes[i] for i in truth]
    points = tune_class_thresholds(codes, values, HAM10000.codes, target_sensitivity=0.9)
    assert list(points) == list(HAM10000.codes)
    assert points["mel"] == tune_threshold(truth == 4, values[:, 4], target_sensitivity=0.9)
    with pytest.raises(InvalidArgumentError, match="Class scc"):
        tune_class_thresholds(
            codes, np.c_[values, values[:, 0]], (*HAM10000.codes, "scc"), target_sensitivity=0.9
        )


@given(
    st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3),
    st.lists(st.floats(0.01, 1), min_size=3, max_size=3),
)
def test_the_only_class_above_its_threshold_wins(row, thresholds):
    values = np.asarray([row], np.float32)
    chosen = int(decide_by_thresholds(values, thresholds)[0])
    above = [i for i in range(3) if values[0, i].astype(float) >= thresholds[i]]
    if len(above) == 1:
        assert chosen == above[0]
    multiples = values[0].astype(float) / thresholds
    assert multiples[chosen] == multiples.max()


def test_equal_thresholds_and_zero_thresholds():
    values = np.float32([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]])
    assert decide_by_thresholds(values, [0.4, 0.4, 0.4]).tolist() == [1, 0]
    assert decide_by_thresholds(values, [0.0, 0.4, 0.4]).tolist() == [0, 0]
    for wrong in ([0.5, 0.5], [-1, 0.5, 0.5], [np.nan, 0.5, 0.5]):
        with pytest.raises(InvalidArgumentError):
            decide_by_thresholds(values, wrong)


def test_least_cost_is_least_cost():
    rng = np.random.default_rng(0)
    values, costs = rng.dirichlet(np.ones(4), 50).astype(np.float32), rng.random((4, 4))
    chosen = decide_by_cost(values, costs)
    for row, decided in zip(values.astype(float), chosen, strict=True):
        expected = [sum(row[i] * costs[i, j] for i in range(4)) for j in range(4)]
        assert expected[decided] == pytest.approx(min(expected))
    assert (decide_by_cost(values, 1 - np.eye(4)) == values.argmax(axis=1)).all()
    for wrong in (np.eye(3), np.full((4, 4), np.nan)):
        with pytest.raises(InvalidArgumentError):
            decide_by_cost(values, wrong)


def test_two_classes_agree_with_the_cost_ratio():
    """A miss that costs nine false alarms means deciding for melanoma from a probability of 0.1."""
    values = np.float32([[0.91, 0.09], [0.89, 0.11]])
    assert decide_by_cost(values, np.array([[0.0, 1.0], [9.0, 0.0]])).tolist() == [0, 1]


def test_read_costs(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text("truth,nv,MEL\nmel,20,0\nnv,0,1\n")
    assert read_costs(path, ("mel", "nv")).tolist() == [[0, 20], [1, 0]]
    for text in (
        "truth,nv\nmel,20\nnv,0\n",
        "truth,nv,mel\nmel,20,0\n",
        "truth,nv,mel\nmel,x,0\nnv,0,1\n",
        "truth,nv,mel\nmel,,0\nnv,0,1\n",
    ):
        path.write_text(text)
        with pytest.raises(InvalidArgumentError):
            read_costs(path, ("mel", "nv"))


def _balanced_accuracy(decided, truth):
    return float(np.mean([(decided[truth == k] == k).mean() for k in np.unique(truth)]))


def test_a_balanced_decision_gains_on_rare_classes_of_other_data():
    logits, truth, _ = simulate(4000, sharpness=1.0)
    values = softmax(logits, axis=1).astype(np.float32)
    rule = balanced_decision([HAM10000.codes[i] for i in truth], values, HAM10000.codes)
    other, labels, _ = simulate(4000, seed=1, sharpness=1.0)
    probabilities = softmax(other, axis=1).astype(np.float32)
    plain = _balanced_accuracy(probabilities.argmax(axis=1), labels)
    assert _balanced_accuracy(rule.decide(probabilities), labels) > plain + 0.02


def test_a_balanced_decision_of_balanced_classes_is_the_most_probable_class():
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(3), 40)
    values = softmax(rng.normal(size=(120, 3)) + 2 * np.eye(3)[truth], axis=1).astype(np.float32)
    rule = balanced_decision([("a", "b", "c")[i] for i in truth], values, ("a", "b", "c"))
    assert (rule.decide(values) == values.argmax(axis=1)).all()


def test_a_balanced_decision_does_not_depend_on_the_order_of_the_classes():
    logits, truth, _ = simulate()
    values = softmax(logits, axis=1).astype(np.float32)
    labels = [HAM10000.codes[i] for i in truth]
    order = np.array([3, 0, 6, 1, 5, 2, 4])
    codes = tuple(HAM10000.codes[i] for i in order)
    turned = balanced_decision(labels, values[:, order], codes)
    assert turned.in_order(HAM10000.codes) == balanced_decision(labels, values, HAM10000.codes)


def test_a_balanced_decision_needs_every_class():
    with pytest.raises(InvalidArgumentError, match="missing: c"):
        balanced_decision(["a", "b"], np.full((2, 3), 1 / 3, np.float32), ("a", "b", "c"))
