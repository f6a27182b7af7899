"""Tuning on held-out predictions from Python: criteria, and the operating point in a bundle."""

from __future__ import annotations

import pytest
from support.decision_fixtures import write_small_bundle

from skinclf.decisions.held_out import read_held_out
from skinclf.decisions.store import store_operating_point
from skinclf.decisions.tune import Criterion, tune
from skinclf.errors import InvalidArgumentError
from skinclf.models.bundle import read_spec


@pytest.mark.parametrize(
    ("criterion", "grade", "name"),
    [
        (Criterion(target_sensitivity=0.9), "empirical", "sensitivity-0.9"),
        (Criterion(target_specificity=0.85), "guaranteed", "specificity-0.85-guaranteed"),
        (Criterion(cost_ratio=10), "empirical", "cost-ratio-10"),
        (Criterion(youden=True), "empirical", "youden"),
    ],
)
def test_a_criterion_names_its_operating_point(criterion, grade, name):
    assert criterion.name(grade) == name


@pytest.mark.parametrize("stated", [{}, {"target_sensitivity": 0.9, "youden": True}])
def test_exactly_one_criterion(stated):
    with pytest.raises(InvalidArgumentError, match="one criterion") as error:
        Criterion(**stated)
    assert error.value.parameter == "target_sensitivity"


def test_a_misspelt_criterion_is_refused():
    with pytest.raises(TypeError):
        Criterion(target_sensitvity=0.9)


def test_a_tuned_point_is_stored_in_the_bundle(tmp_path):
    bundle = tmp_path / "small"
    spec = write_small_bundle(bundle)
    held_out = read_held_out(model=str(bundle))
    first = tune(held_out, criterion=Criterion(target_sensitivity=0.9))
    assert first.threshold.model == spec.identity.to_dict()
    assert first.threshold.value == first.point.threshold
    store_operating_point(bundle, first.threshold)
    second = tune(held_out, criterion=Criterion(youden=True))
    store_operating_point(bundle, second.threshold, name="balanced")
    stored = read_spec(bundle)
    assert list(stored.operating_points) == ["sensitivity-0.9", "balanced"]
    assert stored.default_operating_point == "sensitivity-0.9"
    assert stored.operating_points["balanced"]["threshold"] == second.point.threshold
    assert stored.operating_points["balanced"]["tp"] == second.point.tp
    interval = stored.operating_points["balanced"]["intervals"]["sensitivity"]
    assert interval == second.point.sensitivity.to_dict()


def test_a_balanced_rule_is_stored_in_the_bundle(tmp_path):
    bundle = tmp_path / "small"
    write_small_bundle(bundle)
    tuned = tune(read_held_out(model=str(bundle)), criterion=Criterion(target_sensitivity=0.9), balanced=True)
    figures = tuned.threshold.data["balanced"]
    better, plain = figures["balanced_accuracy"], figures["balanced_accuracy_most_probable"]
    assert better["low"] < better["value"] < better["high"]
    assert better["value"] >= plain["value"]
    store_operating_point(bundle, tuned.threshold)
    stored = read_spec(bundle).decision
    assert stored is not None
    assert stored == tuned.threshold.decision
    plain_tuned = tune(read_held_out(model=str(bundle)), criterion=Criterion(youden=True))
    store_operating_point(bundle, plain_tuned.threshold)
    assert read_spec(bundle).decision == stored


def test_two_rules_for_the_predicted_class_are_refused(tmp_path):
    write_small_bundle(tmp_path / "small")
    held_out = read_held_out(model=str(tmp_path / "small"))
    with pytest.raises(InvalidArgumentError, match="each state the rule") as error:
        tune(held_out, criterion=Criterion(youden=True), balanced=True, per_class=True)
    assert error.value.parameter == "balanced"
