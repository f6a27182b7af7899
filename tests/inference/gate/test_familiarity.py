"""Distances and their p-values: the formulae, and uniformity on exchangeable data."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from skinclf.errors import InvalidArgumentError, ModelError
from skinclf.inference.gate.familiarity import (
    LEAST_CLASS,
    Calibration,
    Gaussian,
    conformal_p,
    fit_calibration,
    fit_gaussian,
)


def cloud(count: int, *, seed: int, width: int = 40) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(width, width)) * np.geomspace(3, 0.05, width)
    return rng.standard_t(6, size=(count, width)) @ mixing.T + 2


def test_distance_is_mahalanobis_under_ledoit_wolf():
    from sklearn.covariance import LedoitWolf

    train, new = cloud(400, seed=0), cloud(30, seed=1)
    gaussian = fit_gaussian(train, scaled=False, components=39)
    oracle = LedoitWolf().fit(train).mahalanobis(new)
    assert gaussian.distance(new) == pytest.approx(oracle, rel=0.02)


def test_fewer_components_keep_what_is_far_far():
    gaussian = fit_gaussian(cloud(400, seed=0), scaled=True, components=8)
    assert gaussian.basis.shape == (40, 8)
    assert gaussian.distance(cloud(30, seed=1) + 50).min() > gaussian.distance(cloud(30, seed=1)).max()


def test_a_distance_does_not_depend_on_the_other_images():
    gaussian, new = fit_gaussian(cloud(400, seed=0), scaled=True), cloud(30, seed=1)
    together = gaussian.distance(new)
    assert [gaussian.distance(row[None])[0] for row in new] == together.tolist()


def test_distances_are_computed_in_the_calling_thread_alone():
    # Threads of a BLAS library that spin between batches cost a third of a run.
    code = (
        "import time, numpy as np\n"
        "from skinclf.inference.gate.familiarity import Gaussian\n"
        "x = np.random.default_rng(0).normal(size=(64, 1280)).astype(np.float32)\n"
        "one = np.ones(1280, np.float32)\n"
        "g = Gaussian(one, one, x[:, :128].repeat(20, axis=0), one[:128], 1.0)\n"
        "g.distance(x)\n"
        "whole, own = time.process_time(), time.thread_time()\n"
        "for _ in range(20):\n"
        "    g.distance(x)\n"
        "print(time.process_time() - whole, time.thread_time() - own)\n"
    )
    env = {**os.environ, "OMP_NUM_THREADS": "4", "OPENBLAS_NUM_THREADS": "4"}
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    whole, own = map(float, run.stdout.split())
    assert whole < 1.2 * own + 0.01


def test_p_values_are_conformal():
    calibration = np.array([1.0, 2.0, 3.0, 4.0])
    assert conformal_p(calibration, 9.0) == pytest.approx(1 / 5)
    assert conformal_p(calibration, 0.0) == 1.0
    assert conformal_p(calibration, 3.0) == pytest.approx((1 + 2) / 5)  # ties count as as strange


def test_p_values_are_uniform_on_exchangeable_images_of_every_class():
    gaussian = fit_gaussian(cloud(500, seed=0), scaled=True)

    def strange(count, seed):
        values = cloud(count, seed=seed)
        predicted = (values[:, 0] > np.median(values[:, 0])).astype(np.intp)
        values[predicted == 1] *= 1.3  # stranger as a class, and no less familiar
        return gaussian.strangeness(values), predicted

    calibration = fit_calibration(*strange(3000, 1), classes=2)
    new, predicted = strange(3000, 2)
    p = calibration.p_values(new, predicted)
    for group in (0, 1):
        assert stats.kstest(p[predicted == group], "uniform").pvalue > 0.01
        assert abs((p[predicted == group] <= 0.05).mean() - 0.05) < 0.015
    assert (
        stats.kstest(Calibration((0, 0), calibration.values[:1]).p_values(new, predicted), "uniform").pvalue
        < 1e-6
    )


def test_rare_classes_are_calibrated_together():
    predicted = np.repeat([0, 1, 2, 3], [LEAST_CLASS, LEAST_CLASS + 50, 30, 5])
    calibration = fit_calibration(np.arange(len(predicted), dtype=float), predicted, classes=5)
    # The class without any image and the rare ones need a fellow of their size.
    assert calibration.groups == (1, 0, 1, 1, 1)
    assert [len(v) for v in calibration.values] == [LEAST_CLASS + 50, LEAST_CLASS + 35]


def test_too_few_images_are_refused():
    with pytest.raises(InvalidArgumentError, match="49 readable images"):
        fit_gaussian(cloud(49, seed=0), scaled=False)
    with pytest.raises(InvalidArgumentError, match="to calibrate"):
        fit_calibration(np.zeros(3), np.zeros(3, np.intp), classes=2)


def test_statistics_survive_storing_and_damaged_ones_are_refused():
    gaussian = fit_gaussian(cloud(100, seed=0), scaled=True, components=8)
    stored = {f"x.{k}": v for k, v in gaussian.tensors().items()}
    again = Gaussian.from_tensors(stored, "x")
    assert again.distance(cloud(5, seed=3)).tobytes() == gaussian.distance(cloud(5, seed=3)).tobytes()
    for name, value in (
        ("mean", np.zeros(3)),
        ("rest", np.array([-1.0, 1.0])),
        ("scale", np.full(40, np.nan)),
    ):
        with pytest.raises(ModelError, match="statistics"):
            Gaussian.from_tensors({**stored, f"x.{name}": value}, "x")
    with pytest.raises(ModelError, match="incomplete"):
        Gaussian.from_tensors({}, "x")
    with pytest.raises(ModelError, match="values of an image"):
        gaussian.distance(np.zeros((2, 3)))
