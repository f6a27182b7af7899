"""`MetadataTerms`: additive terms, absent entries, parts of the log-odds, and what they are bound to."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import logit, softmax
from support.metadata import TERMS, fake_terms

from skinclf.errors import MismatchError, ModelError
from skinclf.images.preprocess import Preprocess
from skinclf.inference.metadata.fused import fused_spec, read_terms
from skinclf.labels import HAM10000
from skinclf.models.metadata_terms import MetadataTerms, malignant_log_odds
from skinclf.models.spec import ModelSpec
from skinclf.tables.patient_metadata import Patient

MALIGNANT = HAM10000.malignant_indices


def some_probabilities(n=50, seed=0):
    return softmax(np.random.default_rng(seed).normal(0, 2, (n, 7)), axis=1).astype(np.float32)


def spec(**fields):
    return ModelSpec(
        name="m",
        architecture="a",
        labels=HAM10000,
        preprocess=Preprocess(height=8, width=8),
        weights_sha256="0" * 64,
        **fields,
    )


def test_fused_is_the_softmax_of_log_probabilities_plus_exponent_times_terms():
    p = some_probabilities()
    patient = Patient(65.0, "male", "face")
    total = (
        np.asarray(TERMS.age[1]) + TERMS.sex["male"] + TERMS.site["head/neck"]
    )  # face has no terms of its own
    expected = softmax(np.log(p.astype(np.float64)) + TERMS.exponent * total, axis=1)
    found = TERMS.fuse(p, TERMS.places([patient] * len(p)))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_blank_entries_leave_every_bit():
    p = some_probabilities()
    p[3] = 0
    p[3, 5] = 1  # not to be smoothed either
    assert TERMS.fuse(p, TERMS.places([None] * len(p))).tobytes() == p.tobytes()
    assert TERMS.fuse(p, TERMS.places([Patient()] * len(p))).tobytes() == p.tobytes()
    none = replace(TERMS, exponent=0.0)
    assert none.fuse(p, none.places([Patient(65.0, "male", "face")] * len(p))).tobytes() == p.tobytes()


def test_one_entry_blank_lies_between():
    p = some_probabilities()

    def odds(patient):
        return malignant_log_odds(TERMS.fuse(p, TERMS.places([patient] * len(p))), MALIGNANT)

    # Both entries speak for malignancy, so each alone says less than both.
    none, one, both = odds(Patient()), odds(Patient(65.0)), odds(Patient(65.0, "male"))
    assert (none < one).all()
    assert (one < both).all()


@pytest.mark.parametrize("blank", ["age", "sex", "site"])
@pytest.mark.parametrize(
    ("patient", "sign"), [(Patient(65.0, "male", "face"), 1), (Patient(20.0, "female", "chest"), -1)]
)
def test_one_of_three_entries_blank_lies_between_none_and_all(patient, sign, blank):
    p = some_probabilities()
    terms = replace(TERMS, sex={"female": TERMS.age[0], "male": TERMS.age[1]})
    one = replace(patient, **{blank: None})
    none, rest, every = (
        malignant_log_odds(terms.fuse(p, terms.places([x] * len(p))), MALIGNANT) * sign
        for x in (Patient(), one, patient)
    )
    assert (none < rest).all()
    assert (rest < every).all()


def test_rows_are_independent_of_their_batch():
    p, patients = some_probabilities(), [Patient(65.0), None, Patient(None, "male")]
    places = TERMS.places([patients[i % 3] for i in range(len(p))])
    whole = TERMS.fuse(p, places)
    single = np.concatenate([TERMS.fuse(p[i : i + 1], places[i : i + 1]) for i in range(len(p))])
    assert whole.tobytes() == single.tobytes()


def test_parts_of_the_log_odds_sum_to_the_fused_ones():
    p = some_probabilities(1)[0]
    patient = Patient(65.0, "male", "torso")
    parts = TERMS.contributions(p, patient, MALIGNANT)
    fused = TERMS.fuse(p[None], TERMS.places([patient]))[0]
    assert parts["total"] == pytest.approx(logit(fused[list(MALIGNANT)].sum(dtype=np.float64)), abs=1e-4)
    assert parts["image"] + parts["age"] + parts["sex"] + parts["site"] == pytest.approx(parts["total"])
    logs = np.log(p.astype(np.float64)) + TERMS.offsets(TERMS.places([patient]))[0]
    inside = np.isin(np.arange(7), MALIGNANT)
    exact = np.log(np.exp(logs[inside]).sum()) - np.log(np.exp(logs[~inside]).sum())
    assert parts["total"] == pytest.approx(exact, abs=1e-6)
    assert TERMS.contributions(p, TERMS.places([patient])[0], MALIGNANT) == parts
    blank = TERMS.contributions(p, Patient(65.0), MALIGNANT)
    assert (blank["sex"], blank["site"]) == (0.0, 0.0)
    assert blank["age"] > 0
    nothing = TERMS.contributions(p, Patient(), MALIGNANT)
    assert (nothing["age"], nothing["sex"], nothing["site"]) == (0.0, 0.0, 0.0)
    assert (
        nothing["total"]
        == nothing["image"]
        == pytest.approx(logit(p[inside].sum(dtype=np.float64)), abs=1e-6)
    )


def test_the_share_of_an_entry_does_not_depend_on_the_order_of_entries():
    """With two entries the Shapley value is the mean of adding it first and adding it last."""
    p = some_probabilities(1)[0]
    uneven = replace(
        TERMS, age=((2.0, -1.0, 0, 0, 1.0, 0, 0),) * 2, sex={"male": (-1.0, 0, 1.0, 0, 2.0, 0, 0)}
    )

    def total(patient):
        return uneven.contributions(p, patient, MALIGNANT)["total"]

    parts = uneven.contributions(p, Patient(65.0, "male"), MALIGNANT)
    first = total(Patient(65.0)) - total(Patient())
    last = total(Patient(65.0, "male")) - total(Patient(None, "male"))
    assert parts["age"] == pytest.approx((first + last) / 2, abs=1e-9)
    assert first != pytest.approx(last, abs=1e-6)


@pytest.mark.parametrize("malignant", [(), tuple(range(7))])
def test_without_malignancy_there_is_nothing_to_share(malignant):
    with pytest.raises(ModelError, match="some classes are malignant and others"):
        TERMS.contributions(some_probabilities(1)[0], Patient(65.0), malignant)


def test_terms_survive_json_and_the_configuration(tmp_path):
    again = MetadataTerms.from_dict(json.loads(json.dumps(TERMS.to_dict())))
    assert again == TERMS
    stored = spec(metadata=TERMS)
    assert ModelSpec.from_config(stored.to_config(), source="x").metadata == TERMS
    (tmp_path / "t.json").write_text(json.dumps(TERMS.to_dict()))
    assert read_terms(tmp_path / "t.json") == TERMS
    (tmp_path / "other.json").write_text('{"threshold": 0.4}')
    with pytest.raises(MismatchError, match="no file of metadata terms"):
        read_terms(tmp_path / "other.json")


def test_terms_decide_the_identity_only_where_they_are_used():
    plain = spec()
    assert spec(metadata=TERMS).identity == plain.identity
    fused = fused_spec(spec(metadata=fake_terms(plain)))
    assert plain.identity.differences(fused.identity) == ("metadata terms or encoding",)
    # Files of before metadata existed are those of the picture alone.
    old = {k: v for k, v in plain.identity.to_dict().items() if k != "metadata"}
    assert type(plain.identity).from_dict(old).differences(fused.identity) == ("metadata terms or encoding",)


def test_operating_points_belong_to_one_of_both():
    points = {"p": {"threshold": 0.3}}
    fused = fused_spec(spec(operating_points={"image": {"threshold": 0.2}}, default_operating_point="image",
                            metadata=replace(TERMS, operating_points=points, default_operating_point="p")))  # fmt: skip
    assert (fused.operating_points, fused.threshold) == (points, 0.3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"exponent": -1.0}, "exponent"),
        ({"exponent": float("nan")}, "exponent"),
        ({"sex": {"male": (0.0,)}}, "one for each class"),
        ({"site": {"knee": (0.0,) * 7}}, "outside the vocabulary"),
        ({"age_from": (20.0, 10.0)}, "rise from 0"),
    ],
)
def test_unusable_terms_are_refused(changes, message):
    with pytest.raises(ModelError, match=message):
        replace(TERMS, **changes)


def test_terms_of_another_model_are_refused():
    terms = fake_terms(spec())
    fused_spec(spec(), terms)
    for other in (
        spec().replace(weights_sha256="1" * 64),
        spec().replace(preprocess=Preprocess(height=9, width=8)),
    ):
        with pytest.raises(MismatchError, match="were fitted for m, not for"):
            fused_spec(other, terms)
    with pytest.raises(ModelError, match="has no terms for metadata"):
        fused_spec(spec())
    with pytest.raises(ModelError, match="independent"):
        fused_spec(spec(activation="independent"), TERMS)
