"""Calibrations: what they do to logits, how they are fitted, and that stored numbers give the same again."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from support.decision_fixtures import simulate, spec_of

from skinclf.decisions.calibration import _RIDGE, cross_fitted, fit_calibration, logits_from
from skinclf.errors import InvalidArgumentError, ModelError
from skinclf.metrics.calibration import expected_calibration_error, log_loss
from skinclf.models.probabilities import Calibration, probabilities

GROUP = (0, 1, 4)
LOGITS, TRUTH, LESIONS = simulate()
FITTED = {
    m: fit_calibration(LOGITS, TRUTH, method=m, group=GROUP) for m in ("temperature", "vector", "isotonic")
}
ROWS = st.lists(st.lists(st.floats(-30, 30), min_size=7, max_size=7), min_size=1, max_size=5)


@pytest.mark.parametrize("method", FITTED)
def test_json_gives_the_same_calibration(method):
    calibration = FITTED[method]
    again = Calibration.from_dict(json.loads(json.dumps(calibration.to_dict())))
    assert again == calibration
    assert again.fingerprint == calibration.fingerprint
    spec = spec_of(calibration=calibration)
    assert (
        type(spec).from_config(json.loads(json.dumps(spec.to_config())), source="x").calibration
        == calibration
    )
    assert len({c.fingerprint for c in FITTED.values()}) == 3


@pytest.mark.parametrize("method", FITTED)
@given(rows=ROWS, shift=st.floats(-50, 50))
def test_results_are_probabilities_and_ignore_a_constant(method, rows, shift):
    logits = np.asarray(rows)
    values = FITTED[method].apply(logits)
    assert ((values >= 0) & (values <= 1)).all()
    assert values.sum(axis=1) == pytest.approx(1)
    assert FITTED[method].apply(logits + shift) == pytest.approx(values, abs=1e-9)


@given(rows=ROWS)
def test_temperature_keeps_the_order_of_classes_and_isotonic_that_of_the_group(rows):
    logits = np.asarray(rows)
    scaled = FITTED["temperature"].apply(logits)
    for before, after in zip(logits, scaled, strict=True):
        assert after[before.argmax()] == after.max()
    before, after = (f(logits)[:, list(GROUP)].sum(axis=1) for f in (softmax, FITTED["isotonic"].apply))
    order = np.argsort(FITTED["temperature"].apply(logits)[:, list(GROUP)].sum(axis=1))
    assert before.shape == after.shape
    assert (np.diff(after[order]) >= -1e-12).all()


@pytest.mark.parametrize("method", FITTED)
def test_stored_probabilities_serve_as_well_as_logits(method):
    """From float32 as `predict` prints it, the fit is that of the logits."""
    stored = logits_from(softmax(LOGITS, axis=1).astype(np.float32))
    again = fit_calibration(stored, TRUTH, method=method, group=GROUP)
    assert again.apply(stored) == pytest.approx(FITTED[method].apply(LOGITS), abs=1e-6)


def test_a_temperature_can_be_undone_the_others_not():
    old = Calibration("temperature", (0.37,))
    values = probabilities(LOGITS, "softmax", old)
    assert softmax(logits_from(values, old), axis=1) == pytest.approx(softmax(LOGITS, axis=1), abs=1e-6)
    for method in ("vector", "isotonic"):
        with pytest.raises(InvalidArgumentError, match="cannot be undone"):
            logits_from(values, FITTED[method])
    assert np.isfinite(logits_from(np.float32([[0, 1]]))).all()


def test_temperature_is_the_maximum_likelihood_one():
    best = minimize_scalar(
        lambda s: log_loss(softmax(LOGITS * s, axis=1), TRUTH)[0],
        bounds=(0.01, 5),
        method="bounded",
        options={"xatol": 1e-10},
    )
    assert FITTED["temperature"].scale[0] == pytest.approx(best.x, rel=1e-5)
    # The simulated logits are twice what they should be.
    assert FITTED["temperature"].scale[0] == pytest.approx(0.5, abs=0.08)


def test_temperature_equals_logistic_regression_for_two_classes():
    x, y = LOGITS[:, 4] - LOGITS[:, 5], (TRUTH == 4).astype(int)
    reference = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10).fit(x[:, None], y)
    ours = fit_calibration(np.stack([np.zeros_like(x), x], axis=1), y)
    assert ours.scale[0] == pytest.approx(reference.coef_[0, 0], rel=1e-4)


def test_vector_scaling_is_a_stationary_point_and_better():
    losses = {m: log_loss(c.apply(LOGITS), TRUTH)[0] for m, c in FITTED.items()}
    assert losses["vector"] <= losses["temperature"] < log_loss(softmax(LOGITS, axis=1), TRUTH)[0]
    vector = FITTED["vector"]
    numbers = np.r_[vector.scale, vector.offset]

    def objective(both):
        pull = both - np.r_[np.full(7, FITTED["temperature"].scale[0]), np.zeros(7)]
        calibrated = Calibration("vector", tuple(both[:7]), tuple(both[7:])).apply(LOGITS)
        return log_loss(calibrated, TRUTH)[0] + _RIDGE / 2 * (pull**2).sum()

    for i in range(14):
        for change in (-0.01, 0.01):
            assert objective(numbers + change * np.eye(14)[i]) > objective(numbers)


def test_isotonic_is_scikit_learns_after_the_temperature():
    calibration = FITTED["isotonic"]
    before = softmax(LOGITS * calibration.scale[0], axis=1)
    score = before[:, list(GROUP)].sum(axis=1)
    margin = 0.5 / TRUTH.size
    reference = IsotonicRegression(y_min=margin, y_max=1 - margin, out_of_bounds="clip")
    reference.fit(score, np.isin(TRUTH, GROUP))
    after = calibration.apply(LOGITS)
    assert after[:, list(GROUP)].sum(axis=1) == pytest.approx(reference.predict(score), abs=1e-9)
    # Inside the group, proportions stay.
    assert after[:, 0] * before[:, 4] == pytest.approx(after[:, 4] * before[:, 0], abs=1e-12)
    # Truth by malignancy alone gives a curve as well.
    alone = fit_calibration(LOGITS, np.isin(TRUTH, GROUP), method="isotonic", group=GROUP)
    assert alone.scale == (1.0,)


def test_calibration_improves_held_out_errors():
    logits, truth, _ = simulate(3000, seed=9)
    p = softmax(logits, axis=1)
    raw = expected_calibration_error(p.max(axis=1), p.argmax(axis=1) == truth)[0]
    for calibration in FITTED.values():
        q = calibration.apply(logits)
        assert expected_calibration_error(q.max(axis=1), q.argmax(axis=1) == truth)[0] < raw / 1.5
        assert log_loss(q, truth)[0] < log_loss(p, truth)[0]


def test_cross_fitting_never_uses_a_lesions_own_images():
    values = cross_fitted(LOGITS, TRUTH, LESIONS, folds=5, method="isotonic", group=GROUP)
    assert values.sum(axis=1) == pytest.approx(1)
    changed = TRUTH.copy()
    mine = np.asarray(LESIONS) == LESIONS[0]
    changed[mine] = (changed[mine] + 1) % 7
    again = cross_fitted(LOGITS, changed, LESIONS, folds=5, method="isotonic", group=GROUP)
    assert (again[mine] == values[mine]).all()
    assert not (again == values).all()
    with pytest.raises(InvalidArgumentError, match="folds"):
        cross_fitted(LOGITS[:3], TRUTH[:3], ["a", "a", "a"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits": LOGITS[:, 0]}, "finite logits"),
        ({"logits": np.full_like(LOGITS, np.nan)}, "finite logits"),
        ({"truth": TRUTH[:-1]}, "finite logits"),
        ({"truth": LOGITS.argmax(axis=1)}, "are right"),
        ({"truth": np.where(TRUTH == 3, 5, TRUTH), "method": "vector"}, "every label"),
        ({"truth": np.zeros(TRUTH.size, bool), "method": "isotonic"}, "both kinds"),
        ({"method": "beta"}, "`method` is"),
    ],
)
def test_fit_refuses(change, message):
    options = {"method": "temperature", "logits": LOGITS, "truth": TRUTH, **change}
    with pytest.raises(InvalidArgumentError, match=message):
        fit_calibration(options["logits"], options["truth"], method=options["method"], group=GROUP)


@pytest.mark.parametrize(
    "data",
    [
        {"method": "temperature", "scale": []},
        {"method": "temperature", "scale": [-1.0]},
        {"method": "temperature", "scale": [float("nan")]},
        {"method": "temperature"},
        {"method": "platt", "scale": [1.0]},
        {"method": "isotonic", "scale": [1.0], "curve": [], "group": [1]},
        {"method": "isotonic", "scale": [1.0], "curve": [[0.5, 0.5], [0.2, 0.6]], "group": [1]},
        {"method": "isotonic", "scale": [1.0], "curve": [[0.2, 0.6], [0.5, 0.5]], "group": [1]},
        {"method": "isotonic", "scale": [1.0], "curve": [[0.2, 0.6], [0.5, 1.5]], "group": [1]},
        {"method": "isotonic", "scale": [1.0], "curve": [[0.2, 0.6]], "group": []},
        {"method": "isotonic", "scale": [1.0], "curve": [[0.2]], "group": [1]},
    ],
)
def test_malformed_calibrations_are_refused(data):
    with pytest.raises(ModelError):
        Calibration.from_dict(data)


@pytest.mark.parametrize(
    "calibration",
    [
        Calibration("vector", (1.0, 1.0)),
        Calibration("vector", (1.0,) * 7, (0.0,) * 6),
        Calibration("temperature", (1.0,) * 7),
        Calibration("isotonic", (1.0,), curve=((0.1, 0.1),), group=(7,)),
        Calibration("isotonic", (1.0,), curve=((0.1, 0.1),), group=(1, 1)),
        Calibration("isotonic", (1.0,), curve=((0.1, 0.1),), group=tuple(range(7))),
    ],
)
def test_a_calibration_must_fit_the_labels(calibration):
    with pytest.raises(ModelError):
        spec_of(calibration=calibration)


def test_degenerate_probabilities_stay_finite():
    """All the mass outside the group, and all inside it."""
    logits = np.array([[-800.0, 0, -800, 0, -800, 800, 0], [0.0, 0, -800, -800, 800, -800, -800]])
    values = FITTED["isotonic"].apply(logits)
    assert np.isfinite(values).all()
    assert values.sum(axis=1) == pytest.approx(1)
