"""Label sets: coverage within groups, too few images, files, and an independent implementation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from skinclf.decisions.conformal import coverage_by, fit_conformal, read_conformal, write_conformal
from skinclf.errors import InvalidArgumentError, MismatchError
from skinclf.images.preprocess import scaling
from skinclf.inference.annotations import LabelSets, Referral
from skinclf.inference.conformal_sets import ConformalSets
from skinclf.labels import HAM10000, parse_labels
from skinclf.models.spec import ModelSpec


def simulate(rng: np.random.Generator, n: int) -> tuple[list[str], np.ndarray]:
    """An informative but imperfect model of an imbalanced problem."""
    truth = rng.choice(7, n, p=[0.05, 0.06, 0.11, 0.02, 0.11, 0.62, 0.03])
    logits = rng.normal(size=(n, 7)) + 2.0 * np.eye(7)[truth]
    p = np.exp(logits)
    return [HAM10000.codes[t] for t in truth], (p / p.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("group", ["malignant", "class"])
def test_coverage_holds_on_average_within_every_group(group: str) -> None:
    rng = np.random.default_rng(0)
    malignant = {code for code, label in zip(HAM10000.codes, HAM10000, strict=True) if label.malignant}
    rates: dict[str, list[float]] = {}
    for _ in range(60):
        sets = fit_conformal(*simulate(rng, 600), HAM10000, coverage=0.9, group=group)
        truth, p = simulate(rng, 600)
        inside = sets.members(p)
        hit = inside[np.arange(600), [HAM10000.position(c) for c in truth]]
        keys = truth if group == "class" else ["malignant" if c in malignant else "benign" for c in truth]
        for key in set(keys):
            mine = np.array([k == key for k in keys])
            rates.setdefault(key, []).append(float(hit[mine].mean()))
    for key, values in rates.items():
        error = 4 * np.std(values) / np.sqrt(len(values))
        assert np.mean(values) >= 0.9 - error, key
        if np.isfinite(error) and group == "malignant":
            assert np.mean(values) <= 0.9 + 0.01 + error, f"{key} covers more than it should"


def test_the_limit_is_the_stated_order_statistic() -> None:
    truth, p = simulate(np.random.default_rng(1), 200)
    sets = fit_conformal(truth, p, HAM10000, coverage=0.8, group="class")
    score = sorted(np.float32(1) - row[5] for row, code in zip(p, truth, strict=True) if code == "nv")
    rank = int(np.ceil((len(score) + 1) * 0.8))
    assert sets.limits[5] == float(score[rank - 1])


def test_too_few_images_exclude_nothing() -> None:
    truth, p = simulate(np.random.default_rng(2), 300)
    keep = [i for i, code in enumerate(truth) if code != "df"] + [
        i for i, c in enumerate(truth) if c == "df"
    ][:3]
    sets = fit_conformal([truth[i] for i in keep], p[keep], HAM10000, coverage=0.9, group="class")
    df = HAM10000.position("df")
    assert sets.limits[df] == np.inf
    assert sets.counts[df] == 3
    assert sets.members(p)[:, df].all()


def test_text_names_the_most_probable_first() -> None:
    sets = ConformalSets(0.9, "class", ("a", "b", "c"), (0.9, 0.9, 0.9), (9, 9, 9))
    assert list(sets.text([[0.2, 0.7, 0.1], [0.05, 0.05, 0.9]])) == ["b|a|c", "c"]
    columns = LabelSets(sets)(np.array([[0.2, 0.7, 0.05]], np.float32))
    assert (columns["label_set"][0], columns["label_set_size"][0]) == ("b|a", 2)


def test_file_round_trip_and_binding(tmp_path: Path) -> None:
    spec = ModelSpec("x", "none", HAM10000, scaling("unit"), weights_sha256="ab")
    sets = fit_conformal(
        *simulate(np.random.default_rng(3), 60), HAM10000, group="class", model=spec.fingerprint
    )
    write_conformal(tmp_path / "c.json", sets)
    assert "Infinity" not in (tmp_path / "c.json").read_text()
    again = read_conformal(tmp_path / "c.json")
    assert again == sets
    again.check(spec)
    with pytest.raises(MismatchError, match="other weights"):
        again.check(spec.replace(weights_sha256="cd"))
    with pytest.raises(MismatchError, match="label sets are for"):
        again.check(spec.replace(labels=parse_labels("a,b")))
    (tmp_path / "bad.json").write_text(json.dumps({"coverage": 0.9}))
    with pytest.raises(InvalidArgumentError, match="not a file of label sets"):
        read_conformal(tmp_path / "bad.json")


@pytest.mark.parametrize("change", [{"coverage": 1.0}, {"coverage": 0.0}, {"group": "sex"}])
def test_unusable_arguments(change: dict[str, object]) -> None:
    truth, p = simulate(np.random.default_rng(4), 50)
    with pytest.raises(InvalidArgumentError):
        fit_conformal(truth, p, HAM10000, **change)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match="shape"):
        fit_conformal(truth[1:], p, HAM10000)


def test_agreement_with_mapie() -> None:
    mapie = pytest.importorskip("mapie.classification")
    rng = np.random.default_rng(5)
    truth, p = simulate(rng, 400)
    _, fresh = simulate(rng, 100)
    y = np.array([HAM10000.position(c) for c in truth])

    from sklearn.base import BaseEstimator, ClassifierMixin

    class Given(ClassifierMixin, BaseEstimator):
        """Passes probabilities through, as a fitted classifier does."""

        classes_ = np.arange(7)
        is_fitted_ = True

        def fit(self, X, y):
            return self

        def predict_proba(self, X):
            return np.asarray(X, np.float64)

        def predict(self, X):
            return np.asarray(X).argmax(axis=1)

        def __sklearn_is_fitted__(self):
            return True

    # Marginal sets of MAPIE within one class equal ours for that class.
    nv = y == 5
    reference = mapie.SplitConformalClassifier(
        estimator=Given(), confidence_level=0.9, conformity_score="lac", prefit=True
    ).conformalize(p[nv].astype(np.float64), y[nv])
    _, sets = reference.predict_set(fresh.astype(np.float64))
    ours = fit_conformal(truth, p, HAM10000, coverage=0.9, group="class").members(fresh)[:, 5]
    np.testing.assert_array_equal(ours, sets[:, 5, 0])


def test_coverage_table_counts_and_intervals() -> None:
    sets = ConformalSets(0.9, "class", ("a", "b"), (0.5, 0.5), (9, 9))
    p = np.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8]], np.float32)
    rows = coverage_by(sets, ["a", "b", "b"], p, {"class": ["a", "b", "b"]})
    found = {(r["group"], r["value"]): (r["n"], r["covered"], r["mean_size"]) for r in rows}
    assert found == {("all", "all"): (3, 2, 1.0), ("class", "a"): (1, 1, 1.0), ("class", "b"): (2, 1, 1.0)}
    assert all(r["interval"][0] <= r["coverage"] <= r["interval"][1] for r in rows)


def test_referral_is_strictly_below() -> None:
    rows = np.array([[0.6, 0.4], [0.59, 0.41]], np.float32)
    assert list(Referral(0.6)(rows)["referred"]) == [False, True]
    for value in (0.0, 1.5):
        with pytest.raises(InvalidArgumentError):
            Referral(value)
