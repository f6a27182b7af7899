"""Softmax and sigmoid against scipy's."""

from __future__ import annotations

import warnings

import numpy as np
import scipy.special

from skinclf._utils.arrays import expit, log_softmax, softmax

VALUES = np.random.default_rng(0).normal(0, 30, (200, 7)).round(3)


def test_softmax_is_scipys_to_the_bit():
    np.testing.assert_array_equal(softmax(VALUES), scipy.special.softmax(VALUES, axis=1))
    np.testing.assert_array_equal(log_softmax(VALUES), scipy.special.log_softmax(VALUES, axis=1))


def test_the_sigmoid_is_scipys_and_never_overflows():
    values = np.array([-2000.0, -745.0, -40.0, -0.0, 0.0, 1e-9, 40.0, 2000.0, np.nan])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_allclose(expit(values), scipy.special.expit(values), rtol=1e-15, atol=1e-300)
        np.testing.assert_allclose(expit(VALUES), scipy.special.expit(VALUES), rtol=1e-15, atol=1e-300)
