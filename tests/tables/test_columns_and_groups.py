"""Columns in label order, and groups of rows."""

from __future__ import annotations

import numpy as np
import pytest

from skinclf.errors import InvalidArgumentError
from skinclf.labels import HAM10000, MALIGNANT
from skinclf.tables.predictions import PredictionTable
from skinclf.tables.reference import groups_of


def table(codes, values, malignant=None):
    ids = tuple(map(str, range(len(values if values is not None else malignant))))
    return PredictionTable(ids, codes, values, malignant, ("ok",) * len(ids))


def test_columns_are_put_into_label_order_in_any_case_of_letters():
    values = np.random.default_rng(0).dirichlet(np.ones(7), 5).astype(np.float32)
    order = [3, 0, 6, 1, 5, 2, 4]
    shuffled = table(tuple(HAM10000.codes[i].upper() for i in order), values[:, order])
    ordered = shuffled.in_order(HAM10000)
    assert ordered.dtype == np.float64
    assert (ordered == values).all()


def test_a_malignant_probability_serves_two_labels():
    p = np.asarray([0.25, 1.0], np.float32)
    ordered = table(None, None, p).in_order(MALIGNANT)
    (malignant,) = MALIGNANT.malignant_indices
    assert ordered[:, malignant].tolist() == [0.25, 1.0]
    assert (ordered.sum(axis=1) == 1).all()
    with pytest.raises(InvalidArgumentError, match="A column p_<code>"):
        table(None, None, p).in_order(HAM10000)


def test_other_classes_are_refused():
    values = np.full((2, 2), 0.5, np.float32)
    with pytest.raises(InvalidArgumentError, match="the label set"):
        table(("mel", "nv"), values).in_order(HAM10000)


def test_a_row_without_a_group_is_its_own():
    assert groups_of(["a", "", "a", ""], ["1", "2", "3", "4"]) == ("a", "image:2", "a", "image:4")
