"""`ClassDecision`: rules among classes, their JSON form, and the order of their classes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinclf.errors import InvalidArgumentError, MismatchError
from skinclf.models.class_decision import ClassDecision

CODES = ("bcc", "mel", "nv")
COSTS = ClassDecision(codes=CODES, costs=((0, 3, 5), (9, 0, 20), (1, 2, 0)))
LIMITS = ClassDecision(codes=CODES, thresholds=(0.3, 0.05, 0.6))


def test_each_rule_decides_by_its_definition():
    rows = np.float32([[0.1, 0.1, 0.8], [0.5, 0.02, 0.48], [0.02, 0.01, 0.97]])
    assert LIMITS.decide(rows).tolist() == [1, 0, 2]
    expected = [[sum(row[i] * COSTS.costs[i][j] for i in range(3)) for j in range(3)] for row in rows]
    assert COSTS.decide(rows).tolist() == np.argmin(expected, axis=1).tolist()
    assert COSTS.decide(rows).tolist() != rows.argmax(axis=1).tolist()


@pytest.mark.parametrize("rule", [COSTS, LIMITS])
def test_the_json_form_gives_the_same_rule(rule: ClassDecision):
    assert ClassDecision.from_dict(json.loads(json.dumps(rule.to_dict()))) == rule
    assert hash(rule) == hash(ClassDecision.from_dict(rule.to_dict()))


@given(st.permutations(range(3)), st.integers(0, 2**32 - 1))
def test_another_order_of_classes_decides_the_same_class(order: list[int], seed: int):
    values = np.random.default_rng(seed).dirichlet(np.ones(3), 20).astype(np.float32)
    codes = [CODES[i].upper() for i in order]
    for rule in (COSTS, LIMITS):
        again = [codes[i].lower() for i in rule.in_order(codes).decide(values[:, order])]
        assert again == [CODES[i] for i in rule.decide(values)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"codes": CODES},
        {"codes": CODES, "costs": ((0.0, 1.0), (1.0, 0.0))},
        {"codes": CODES, "costs": ((0.0, 1.0, 1.0), (1.0, 0.0), (1.0, 1.0, 0.0))},
        {"codes": CODES, "costs": ((0.0, 1.0, 1.0), (1.0, float("nan"), 1.0), (1.0, 1.0, 0.0))},
        {"codes": CODES, "thresholds": (0.5, 0.5)},
        {"codes": CODES, "thresholds": (0.5, -0.5, 0.5)},
        {"codes": ("mel", "MEL"), "thresholds": (0.5, 0.5)},
        {"codes": CODES, "thresholds": (0.5, 0.5, 0.5), "costs": COSTS.costs},
    ],
)
def test_what_is_no_rule_is_refused(wrong: dict):
    with pytest.raises(InvalidArgumentError):
        ClassDecision(**wrong)


def test_other_classes_shapes_and_files_are_refused():
    for codes in (("bcc", "mel"), ("bcc", "mel", "bkl"), (*CODES, "bkl")):
        with pytest.raises(MismatchError, match="decision is among"):
            LIMITS.in_order(codes)
    for values in (np.zeros(3), np.zeros((2, 4))):
        with pytest.raises(InvalidArgumentError, match="shape"):
            LIMITS.decide(values)
    for data in (
        {},
        {"codes": 3},
        {**LIMITS.to_dict(), "rule": "least_cost"},
        {"codes": CODES, "costs": [1]},
    ):
        with pytest.raises(InvalidArgumentError):
            ClassDecision.from_dict(data)
