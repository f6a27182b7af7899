"""The threshold file: the eleven keys of devatreya's file, what it is bound to, and who may use it."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score
from support.decision_fixtures import spec_of
from support.fake_scorer import FakeScorer

import skinclf
from skinclf.decisions.threshold_file import (
    Threshold,
    read_threshold,
    resolve_threshold,
)
from skinclf.decisions.thresholds import evaluate_threshold, tune_threshold
from skinclf.decisions.tuning_data import data_identity, hashes_missing
from skinclf.errors import InvalidArgumentError, MismatchError, OutputError
from skinclf.inference.predictor import Predictor
from skinclf.labels import HAM10000, MELANOMA
from skinclf.models.class_decision import ClassDecision
from skinclf.models.combination import combined_spec
from skinclf.models.probabilities import Calibration
from skinclf.tables.predictions import join, read_labels, read_predictions

SEED_KEYS = [
    "threshold",
    "sensitivity",
    "specificity",
    "ppv",
    "npv",
    "accuracy",
    "f1_score",
    "tp",
    "tn",
    "fp",
    "fn",
]


def seed_rule(y, p, threshold):
    """The eleven figures of devatreya's file at a threshold, recomputed without skinclf; undefined ratios are 0."""
    flagged = np.asarray(p, np.float32) >= np.float32(threshold)
    tn, fp, fn, tp = confusion_matrix(y, flagged, labels=[False, True]).ravel().tolist()

    def ratio(top, bottom):
        return top / bottom if bottom else 0.0

    return {
        "threshold": threshold,
        "sensitivity": ratio(tp, tp + fn),
        "specificity": ratio(tn, tn + fp),
        "ppv": ratio(tp, tp + fp),
        "npv": ratio(tn, tn + fn),
        "accuracy": accuracy_score(y, flagged),
        "f1_score": f1_score(y, flagged, zero_division=0),
        "tp": tp,
        "tn": tn,
        "fp": fp,
        "fn": fn,
    }


def _hash(name):
    return hashlib.sha256(name.encode()).hexdigest()[:10]


def sample(n=400, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.random(n) < 0.25
    return y, (1 / (1 + np.exp(-rng.normal(size=n) - 2.5 * y + 1.5))).astype(np.float32)


def made(spec=None, **options):
    y, p = sample()
    point = tune_threshold(y, p, target_sensitivity=0.9, **options)
    return Threshold.of(point, name="s90", positive=("akiec", "bcc", "mel"), model=spec)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 60), st.integers(0, 1000), st.sampled_from([0.5, 0.9, 1.0]) | st.just(None))
def test_eleven_keys_are_the_seeds(tmp_path_factory, n, seed, target):
    y, p = sample(n, seed)
    y[0], y[1] = True, False
    point = (
        evaluate_threshold(y, p, 1.0) if target is None else tune_threshold(y, p, target_sensitivity=target)
    )
    path = tmp_path_factory.mktemp("t") / "threshold.json"
    Threshold.of(point, name="x").write(path)
    found = json.loads(path.read_text())
    expected = seed_rule(y, p, point.threshold)
    assert list(found)[:11] == SEED_KEYS == list(expected)
    assert {k: found[k] for k in SEED_KEYS} == pytest.approx(expected, abs=1e-12)
    assert all(isinstance(found[k], int) for k in ("tp", "tn", "fp", "fn"))


def test_never_worse_than_the_seeds_grid():
    """The seed tries 1,001 thresholds; every distinct score can only be as good or better."""
    for seed in range(20):
        y, p = sample(300, seed)
        flagged = p >= np.linspace(0, 1, 1001)[:, None]
        sensitivity, specificity = flagged[:, y].mean(axis=1), 1 - flagged[:, ~y].mean(axis=1)
        best = specificity[sensitivity >= 0.9].max()
        assert tune_threshold(y, p, target_sensitivity=0.9).specificity.value >= best - 1e-12


def test_from_arrays_to_a_file_with_public_names_only(tmp_path):
    y, p = sample()
    spec = spec_of()
    point = skinclf.tune_threshold(y, p, target_sensitivity=0.9)
    path = str(tmp_path / "threshold.json")
    skinclf.Threshold.of(point, name="sensitivity-0.9", model=spec).write(path)
    again = read_threshold(path)
    assert again.value == point.threshold
    assert again.check(spec) == ()
    assert set(again.positive) == {label.code for label in spec.labels if label.malignant}
    with pytest.raises(MismatchError):
        again.check(spec.replace(weights_sha256="0" * 64))


def test_round_trip_is_valid_json_without_nan(tmp_path):
    y, p = [0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]  # perfect, so likelihood ratios are infinite
    point = tune_threshold(y, p, target_sensitivity=0.9, prevalence=0.01)
    table = {0.9: point, 0.99: None}
    threshold = Threshold.of(point, name="x", table=table, model=spec_of())
    threshold.write(tmp_path / "t.json")

    def refuse(constant):
        raise AssertionError(constant)

    data = json.loads((tmp_path / "t.json").read_text(), parse_constant=refuse)
    assert data["intervals"]["lr_positive"]["value"] is None
    assert data["at_prevalence"]["prevalence"] == 0.01
    assert data["table"][1] == {"target": 0.99, "threshold": None}
    again = read_threshold(tmp_path / "t.json")
    assert again.value == threshold.value == float(np.float32(0.8))
    assert again.data == data
    assert "table" not in again.summary()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        "{}",
        '{"threshold": "0.5"}',
        '{"threshold": true}',
        '{"threshold": 1.5}',
        '{"threshold": NaN}',
        '{"threshold": 0.5, "model": "x"}',
        '{"threshold": 0.5, "positive": "mel"}',
        "[" * 100_000,
    ],
)
def test_not_a_threshold_file(tmp_path, text):
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(InvalidArgumentError):
        read_threshold(tmp_path / "t.json")


def test_missing_file_and_unwritable_place(tmp_path):
    with pytest.raises(InvalidArgumentError):
        read_threshold(tmp_path / "none.json")
    with pytest.raises(OutputError):
        made().write(tmp_path / "no" / "t.json")


def test_fits_its_own_model():
    assert made(spec_of()).check(spec_of()) == ()


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"weights_sha256": "cd" * 32}, "other weights"),
        (
            {
                "preprocess": spec_of().preprocess.__class__.from_dict(
                    {**spec_of().preprocess.to_dict(), "height": 65}
                )
            },
            "preprocessing",
        ),
        ({"calibration": Calibration("temperature", (0.5,))}, "other calibration"),
    ],
)
def test_refuses_another_model(changes, word):
    threshold, other = made(spec_of()), spec_of("other", **changes)
    with pytest.raises(MismatchError, match=rf"made for small, not for other: .*{word}.*`force`"):
        threshold.check(other)
    assert any(word in notice for notice in threshold.check(other, force=True))


def test_a_stale_pair_is_refused():
    """The threshold was tuned before the calibration was changed."""
    before = spec_of(calibration=Calibration("temperature", (0.8,)))
    after = spec_of(calibration=Calibration("temperature", (0.7,)))
    with pytest.raises(MismatchError, match="other calibration"):
        made(before).check(after)
    with pytest.raises(MismatchError, match="other calibration"):
        made(before).check(spec_of())


def test_refuses_other_classes():
    y, p = sample()
    point = tune_threshold(y, p, target_sensitivity=0.9)
    threshold = Threshold.of(point, name="x", positive=("mel",), model=spec_of())
    with pytest.raises(MismatchError, match=r"P\(mel\), not P\(akiec\+bcc\+mel\)"):
        threshold.check(spec_of())
    with pytest.raises(MismatchError, match="label map"):
        made(spec_of()).check(spec_of(labels=MELANOMA))


def test_says_what_it_cannot_check():
    assert "cannot tell" in made(spec_of()).check(spec_of(weights_sha256=None))[0]
    lesion = made(spec_of(), groups=np.arange(400), unit="lesion", combine="mean").check(spec_of())
    assert "one decision per lesion (the mean" in lesion[0]


@pytest.mark.parametrize("model", [None, {}, {"name": "small"}, {"tta": "flips"}])
def test_a_file_that_names_no_model_is_refused_unless_forced(model):
    threshold = made(model)
    with pytest.raises(MismatchError, match=r"names no model.*`force`"):
        threshold.check(spec_of())
    assert "names no model" in threshold.check(spec_of(), force=True)[0]


def test_a_threshold_of_another_combination_is_refused():
    one = spec_of()
    flips, turns = combined_spec([one], tta="flips"), combined_spec([one], tta="d4")
    pair = combined_spec([one, spec_of("other", weights_sha256="cd" * 32)])
    everything = (one, flips, turns, pair, combined_spec([one, one]), combined_spec([one], tta="d4+zoom"))
    for tuned in everything:
        for used in everything:
            if used is tuned:
                assert made(tuned).check(used) == ()
                continue
            with pytest.raises(MismatchError, match="other combination of models and views"):
                made(tuned).check(used)


def test_a_file_of_an_earlier_version_that_names_views_fits_no_model_without_them():
    threshold = made({**spec_of().identity.to_dict(), "tta": "flips", "recipe": None})
    earlier = made({k: v for k, v in threshold.model.items() if k != "recipe"})
    with pytest.raises(MismatchError, match="other combination"):
        earlier.check(spec_of())


def test_the_file_stays_small_and_still_knows_its_images(tmp_path):
    images = [f"ISIC_{n:07d}" for n in range(1500)]
    hashes = {"image_hashes": " ".join(_hash(n) for n in images), "lesion_hashes": _hash("L1")}
    y, p = sample()
    point = tune_threshold(y, p, target_sensitivity=0.9)
    data = {"predictions": "p.csv", "images": 1500, "sha256": "ab", **hashes}
    path = tmp_path / "threshold.json"
    Threshold.of(point, name="x", model=spec_of(), data=data).write(path)
    assert path.stat().st_size < 8_000
    assert not any(word in path.read_text() for word in hashes["image_hashes"].split()[:20])
    again = read_threshold(path)
    assert again.seen(images=["a/ISIC_0000007.jpg", "new"], lesions=["L1"]) == ("L1", "a/ISIC_0000007.jpg")
    beside = tmp_path / "threshold.hashes.json"
    beside.write_text(json.dumps({"image_hashes": ""}))
    with pytest.raises(MismatchError, match="not the hashes"):
        read_threshold(path)
    beside.unlink()
    assert hashes_missing(read_threshold(path).data["data"])
    # A file of an earlier version holds the hashes itself.
    old = json.loads(path.read_text())
    old["data"] = data
    path.write_text(json.dumps(old))
    assert read_threshold(path).seen(images=["ISIC_0000007"]) == ("ISIC_0000007",)


def test_a_threshold_applies_its_rule_among_classes(tmp_path):
    predictor = Predictor(FakeScorer())
    spec = predictor.spec
    rule = ClassDecision(codes=HAM10000.codes[::-1], thresholds=(0.9, 0.9, 0.001, 0.9, 0.9, 0.9, 0.9))
    y, p = sample()
    point = tune_threshold(y, p, target_sensitivity=0.9)
    threshold = Threshold.of(point, name="x", model=spec, extra={"decision": rule.to_dict()})
    threshold.write(tmp_path / "t.json")
    applied, notices = read_threshold(tmp_path / "t.json").applied_to(predictor)
    assert notices == ()
    assert applied.threshold == point.threshold
    assert applied.decision.codes == HAM10000.codes
    image = np.zeros((64, 64, 3), np.uint8)
    assert applied.predict(image).label == "mel"
    assert predictor.predict(image).decided is None
    earlier = Threshold.of(point, name="x", model=spec, extra={"classes": {"mel": {"threshold": 0.1}}})
    assert "tune again" in earlier.check(spec)[0]


@pytest.mark.parametrize("keys", [SEED_KEYS, SEED_KEYS[:7]])
def test_accepts_the_seeds_file_with_a_notice(tmp_path, keys):
    figures = seed_rule(*sample(), 0.42)
    (tmp_path / "threshold.json").write_text(json.dumps({k: figures[k] for k in keys}, indent=2))
    threshold = read_threshold(tmp_path / "threshold.json")
    assert threshold.value == 0.42
    assert "names no model" in threshold.check(spec_of())[0]


def test_resolve(tmp_path):
    spec = spec_of(operating_points={"s95": {"threshold": 0.2}})
    assert resolve_threshold("0.3", spec)[0].value == 0.3
    assert resolve_threshold("s95", spec)[0].value == 0.2
    made(spec).write(tmp_path / "t.json")
    threshold, notices = resolve_threshold(str(tmp_path / "t.json"), spec)
    assert threshold.value == made().value
    assert notices == ()
    other = spec.replace(weights_sha256="ef" * 32)
    with pytest.raises(MismatchError):
        resolve_threshold(str(tmp_path / "t.json"), other)
    assert resolve_threshold(str(tmp_path / "t.json"), other, force=True)[1]
    for wrong in ("1.5", "nan", "s90", str(tmp_path)):
        with pytest.raises(InvalidArgumentError):
            resolve_threshold(wrong, spec)


def test_overlap_with_tuning_data(tmp_path):
    (tmp_path / "p.csv").write_text("image,probability_malignant\nx/a.jpg,0.1\nx/b.jpg,0.9\n")
    (tmp_path / "l.csv").write_text("image,label,lesion_id\na,0,L1\nb,1,\n")
    joined = join(read_predictions(tmp_path / "p.csv"), read_labels(tmp_path / "l.csv", HAM10000))
    identity = data_identity(joined, *joined.binary(), predictions="p.csv", labels="l.csv")
    threshold = Threshold(0.5, "x", {"data": identity})
    assert threshold.seen(images=["y/a.png", "c"], lesions=["L1", "L2"]) == ("L1", "y/a.png")
    assert Threshold(0.5, "x").seen(images=["a"]) == ()
    assert "image_hashes" not in threshold.summary()["data"]
    assert threshold.summary()["data"]["sha256"] == identity["sha256"]
