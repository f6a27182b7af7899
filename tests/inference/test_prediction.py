"""`Prediction`: sums, thresholds and labels are float32 and declared, never guessed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinclf.errors import ImageError
from skinclf.inference.prediction import Prediction
from skinclf.labels import HAM10000, MALIGNANT, parse_labels

VALUES = tuple(float(np.float32(v)) for v in (0.1, 0.2, 0.3, 0.05, 0.15, 0.1, 0.1))


def test_malignancy_is_the_float32_sum_over_malignant_classes():
    p = Prediction("x", HAM10000, VALUES, 0.45)
    total = np.float32(VALUES[0]) + np.float32(VALUES[1]) + np.float32(VALUES[4])
    assert p.probability_malignant == pytest.approx(float(total), abs=6e-8)
    assert p.probability_malignant == float(np.float32(p.probability_malignant))
    assert p.label == "bkl"
    assert p.index == 2
    assert p.name == "Benign keratosis"


@given(st.floats(0, 1, width=32))
def test_at_the_threshold_means_flagged(value):
    benign = float(np.float32(1) - np.float32(value))
    p = Prediction("x", MALIGNANT, (benign, value), value)
    assert p.flagged is True
    assert p.label == "malignant"
    above = float(np.nextafter(np.float32(value), np.float32(2)))
    assert Prediction("x", MALIGNANT, (benign, value), above).flagged is False


def test_a_threshold_that_is_no_float32_is_compared_as_one():
    value = float(np.float32(0.1))  # slightly above the double 0.1
    assert Prediction("x", MALIGNANT, (1 - value, value), 0.1).flagged is True


def test_two_labels_follow_the_threshold_many_follow_the_largest():
    assert Prediction("x", MALIGNANT, (0.7, 0.3), 0.2).label == "malignant"
    assert Prediction("x", HAM10000, VALUES, 0.0).label == "bkl"


def test_undeclared_malignancy_is_none():
    p = Prediction("x", parse_labels("a,b,c"), (0.2, 0.5, 0.3), 0.5)
    assert p.probability_malignant is None
    assert p.flagged is None
    assert "P(malignant)" not in str(p)


def test_top_k_prints_and_becomes_json():
    p = Prediction("x.jpg", HAM10000, VALUES, 0.45, extra={"spread": 0.1})
    assert [code for code, _ in p.top_k(2)] == ["bkl", "bcc"]
    assert str(p).startswith("x.jpg: Benign keratosis (bkl 0.300")
    assert ">= 0.450, flagged" in str(p)
    assert "flagged" not in str(Prediction("x.jpg", HAM10000, VALUES, 0.99))
    data = p.to_dict()
    assert data["probabilities"]["nv"] == VALUES[5]
    assert data["spread"] == 0.1
    assert data["flagged"] is True


def test_a_failure_says_why_and_gives_no_numbers():
    p = Prediction("x.jpg", HAM10000, None, 0.5, "truncated", "x.jpg: cut off.")
    assert not p.ok
    assert p.to_dict() == {"image": "x.jpg", "status": "truncated", "error": "x.jpg: cut off."}
    assert "truncated" in str(p)
    with pytest.raises(ImageError, match="cut off"):
        _ = p.probabilities
