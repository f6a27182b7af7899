"""Targets: the same log-odds from logits and from probabilities; unknown ones are refused with what is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from skinclf.errors import InvalidArgumentError
from skinclf.explanation.target import check_target, default_target, make_target
from skinclf.labels import HAM10000, MALIGNANT, parse_labels

LOGITS = np.random.default_rng(1).normal(0, 3, (5, 7))


@pytest.mark.parametrize("text", ["malignant", "predicted", "mel", "MEL", "mel-nv", "nv-mel"])
def test_logits_and_probabilities_give_the_same_number(text):
    target = make_target(text, HAM10000, predicted=5)
    probabilities = torch.from_numpy(LOGITS).softmax(dim=1).numpy()
    np.testing.assert_allclose(
        target.of_probabilities(probabilities), target.of_logits(torch.from_numpy(LOGITS)).numpy(), atol=1e-9
    )


def test_the_number_is_the_log_odds_of_the_malignant_sum():
    p = torch.from_numpy(LOGITS).softmax(dim=1).numpy()[:, [0, 1, 4]].sum(axis=1)
    target = make_target("malignant", HAM10000, predicted=0)
    np.testing.assert_allclose(
        target.of_logits(torch.from_numpy(LOGITS)).numpy(), np.log(p / (1 - p)), atol=1e-9
    )


def test_a_contrast_ignores_the_other_classes():
    target = make_target("mel-nv", HAM10000, predicted=0)
    other = LOGITS.copy()
    other[:, [0, 1, 2, 3, 6]] += 4
    for values in (LOGITS, other):
        expected = values[:, 4] - values[:, 5]
        np.testing.assert_allclose(target.of_logits(torch.from_numpy(values)).numpy(), expected, atol=1e-9)


def test_predicted_follows_the_prediction():
    assert make_target("predicted", HAM10000, predicted=5).name == "nv"
    assert make_target("predicted", HAM10000, predicted=4).above == (4,)


def test_codes_with_hyphens_are_read_whole():
    labels = parse_labels("a-b,c,a,b-c")
    assert make_target("a-b", labels, predicted=0).above == (0,)
    contrast = make_target("a-b-c", labels, predicted=0)  # "a-b" against "c" as well as "a" against "b-c"
    assert contrast.above in {(0,), (2,)}


def test_saturated_probabilities_stay_finite():
    assert np.isfinite(
        make_target("malignant", MALIGNANT, predicted=0).of_probabilities(np.array([[0.0, 1.0]]))
    )[0]


@pytest.mark.parametrize("text", ["melanoma", "mel-mel", "mel-", "", "-nv", "mel-nv-bcc"])
def test_unknown_targets_name_the_known_ones(text):
    with pytest.raises(InvalidArgumentError, match=r"malignant, predicted, one of akiec, bcc") as caught:
        check_target(text, HAM10000)
    assert caught.value.parameter == "target"


def test_labels_without_declared_malignancy_need_another_target():
    labels = parse_labels("red,green,blue")
    assert default_target(labels) == "predicted"
    assert default_target(HAM10000) == "malignant"
    with pytest.raises(InvalidArgumentError, match="do not say which classes are malignant"):
        check_target("malignant", labels)
    assert make_target("predicted", labels, predicted=1).describe(labels) == "log-odds of green"
