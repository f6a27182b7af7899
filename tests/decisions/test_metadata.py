"""Fitting of metadata terms: likelihood ratios by hand, exponents that are recovered, lesions that stay apart."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax

from skinclf.decisions.held_out import read_held_out
from skinclf.decisions.metadata.fit import fit_exponent, fit_metadata, store_terms
from skinclf.decisions.metadata.likelihood import AGE_FROM, fit_terms
from skinclf.errors import InsufficientDataError, InvalidArgumentError
from skinclf.labels import HAM10000
from skinclf.models.bundle import read_spec
from skinclf.models.metadata_terms import MetadataTerms
from skinclf.tables.patient_metadata import Patient, read_patients
from skinclf.tables.reference import read_labels

CODES = HAM10000.codes


def sampled(n, seed, *, help_=1.0, prefix="T"):
    """Rows whose class decides age and site, and probabilities of a picture that knows some of it."""
    random = np.random.default_rng(seed)
    truth = random.choice(7, n, p=[0.1, 0.15, 0.15, 0.05, 0.2, 0.3, 0.05])
    malignant = np.asarray([HAM10000[k].malignant for k in truth])
    old = random.random(n) < np.where(malignant, 0.5 + 0.35 * help_, 0.5 - 0.35 * help_)
    torso = random.random(n) < np.where(malignant, 0.5 - 0.2 * help_, 0.5 + 0.2 * help_)
    logits = random.normal(0, 1, (n, 7))
    logits[np.arange(n), truth] += 1.5
    p = softmax(logits, axis=1).astype(np.float32)
    same = [i // 2 * 2 if truth[i] == truth[i // 2 * 2] else i for i in range(n)]  # two images of a lesion
    rows = [
        {
            "image_id": f"{prefix}{i}",
            "lesion_id": f"L{prefix}{same[i]}",
            "dx": CODES[truth[i]],
            "age": "70" if old[i] else "30",
            "sex": "" if i % 3 else "male",
            "localization": "trunk" if torso[i] else "face",
            "split": "train" if prefix == "T" else "val",
        }
        for i in range(n)
    ]
    return rows, p


def write(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def study(tmp_path, tiny_bundle):
    """A function that writes a bundle with held-out predictions and a table of metadata."""

    def make(help_=1.0, shared=0):
        bundle = tmp_path / "bundle"
        shutil.copytree(tiny_bundle, bundle, dirs_exist_ok=True)
        training, _ = sampled(600, 1, help_=help_)
        held, p = sampled(400, 2, help_=help_, prefix="V")
        for i in range(shared):
            training[i]["lesion_id"] = held[i]["lesion_id"]
        columns = [{"image": r["image_id"], "lesion_id": r["lesion_id"], "label": r["dx"],
                    **{f"p_{c}": str(x) for c, x in zip(CODES, row, strict=True)}}
                   for r, row in zip(held, p, strict=True)]  # fmt: skip
        write(bundle / "predictions_val.csv", columns)
        return bundle, write(tmp_path / "all.csv", [*training, *held])

    return make


def fitted(bundle, table, **options):
    held_out = read_held_out(model=str(bundle))
    return fit_metadata(
        held_out, read_labels(table, HAM10000, split="train"), read_patients(table), replicates=200, **options
    )


def test_terms_are_smoothed_likelihood_ratios_with_one_vote_a_lesion():
    # Class mel: two lesions, one male (two images), one female; class nv: two female lesions.
    classes = ["mel", "mel", "mel", "nv", "nv"]
    patients = [Patient(sex="male"), Patient(sex="male"), *[Patient(sex="female")] * 3]
    found = fit_terms(classes, patients, ["a", "a", "b", "c", "d"], HAM10000, smoothing=0.5)
    mel, nv = CODES.index("mel"), CODES.index("nv")
    # Of four lesions one is male: expected 0.5 in either class; mel has 1, nv 0.
    assert found["sex"]["male"][mel] == pytest.approx(np.log((1 + 0.5) / (0.5 + 0.5)), abs=1e-4)
    assert found["sex"]["male"][nv] == pytest.approx(np.log((0 + 0.5) / (0.5 + 0.5)), abs=1e-4)
    assert found["sex"]["male"][CODES.index("df")] == 0.0  # no lesion of the class: nothing known
    assert found["age"] == ()
    assert found["site"] == {}


def test_a_rare_word_says_little_even_in_a_large_class():
    classes = ["mel"] * 500 + ["nv"] * 500
    sites = ["torso"] * 500 + ["palms/soles"] + ["torso"] * 499
    found = fit_terms(classes, [Patient(site=s) for s in sites], [str(i) for i in range(1000)], HAM10000)
    assert abs(found["site"]["palms/soles"][CODES.index("mel")]) < 0.2


def test_a_narrow_site_is_drawn_towards_the_wider_one():
    classes = ["mel"] * 100 + ["nv"] * 100 + ["mel"]
    sites = ["torso"] * 100 + ["face"] * 100 + ["chest"]
    found = fit_terms(classes, [Patient(site=s) for s in sites], [str(i) for i in range(201)], HAM10000)
    mel = CODES.index("mel")
    assert found["site"]["chest"][mel] == pytest.approx(found["site"]["torso"][mel], abs=0.1)
    assert found["site"]["torso"][mel] > 0.4


def test_the_exponent_is_recovered():
    random = np.random.default_rng(0)
    terms = MetadataTerms(codes=CODES, exponent=1.0, age_from=(0.0, 50.0), sex={}, site={},
                          age=((0.0,) * 7, (2.0, -1.0, 0.5, 0.0, -2.0, 1.0, 0.0)))  # fmt: skip
    p = softmax(random.normal(0, 1, (20_000, 7)), axis=1)
    places = terms.places([Patient(70.0 if i % 2 else 20.0) for i in range(len(p))])
    true = softmax(np.log(p) + 0.6 * terms.offsets(places), axis=1)
    truth = np.asarray([random.choice(7, p=row) for row in true])
    assert fit_exponent(terms, p, places, truth, np.arange(len(p))) == pytest.approx(0.6, abs=0.05)


def test_terms_that_help_win_and_are_stored_with_thresholds_of_their_own(study):
    bundle, table = study()
    spec = read_spec(bundle)
    points = {
        "sensitivity-0.90": {"threshold": 0.3, "target": 0.9, "unit": "image"},
        "youden": {"threshold": 0.2},
    }
    from skinclf.models.bundle import write_spec

    write_spec(bundle, spec.replace(operating_points=points, default_operating_point="sensitivity-0.90"))
    result = fitted(bundle, table)
    assert result.wins
    assert result.gains["malignant_roc_auc"].difference.low > 0
    assert set(result.terms.operating_points) == {"sensitivity-0.90"}
    assert result.terms.operating_points["sensitivity-0.90"]["sensitivity"] >= 0.9
    store_terms(bundle, result)
    stored = read_spec(bundle)
    assert stored.metadata == result.terms
    assert stored.operating_points == points
    assert stored.identity == read_spec(bundle).replace(metadata=None).identity


def test_terms_that_do_not_help_are_not_stored(study):
    bundle, table = study(help_=0.0)
    result = fitted(bundle, table)
    assert not result.wins
    assert result.terms.exponent < 0.6
    with pytest.raises(InsufficientDataError, match="are not stored"):
        store_terms(bundle, result)
    assert read_spec(bundle).metadata is None


def test_held_out_lesions_take_no_part_in_the_terms(study):
    bundle, table = study(shared=40)
    result = fitted(bundle, table)
    lesions = {r["lesion_id"] for r in csv.DictReader(table.open()) if r["split"] == "train"}
    held = {r["lesion_id"] for r in csv.DictReader(table.open()) if r["split"] == "val"}
    assert len(lesions & held) > 10
    assert result.terms.evidence["term_lesions"] == len(lesions - held)
    held_out = read_held_out(model=str(bundle))
    only = read_labels(table, HAM10000, split="val")
    with pytest.raises(
        InvalidArgumentError, match="All labelled lesions are those of the held-out predictions"
    ):
        fit_metadata(held_out, only, read_patients(table))


def test_other_columns_change_nothing(study, tmp_path):
    """`dx_type`, lesions of held-out images, file names and dates cannot enter."""
    bundle, table = study()
    rows = list(csv.DictReader(table.open()))
    for i, row in enumerate(rows):
        row |= {
            "dx_type": "histo" if row["dx"] in {"mel", "bcc"} else "follow_up",
            "date": f"20{i % 90 + 10}-01-01",
        }
    more = write(tmp_path / "more.csv", rows)
    assert replace(fitted(bundle, more).terms, evidence={}) == replace(
        fitted(bundle, table).terms, evidence={}
    )


def test_what_cannot_be_fitted_is_one_sentence(study):
    bundle, table = study()
    held_out = read_held_out(model=str(bundle))
    training, patients = read_labels(table, HAM10000, split="train"), read_patients(table)
    with pytest.raises(InvalidArgumentError, match="`smoothing` is above 0"):
        fit_metadata(held_out, training, patients, smoothing=0)
    made = replace(held_out, model={**held_out.spec.identity.to_dict(), "metadata": "abc"})
    with pytest.raises(InvalidArgumentError, match="made with metadata"):
        fit_metadata(made, training, patients)


def test_a_calibration_drops_the_terms_of_the_old_one(study):
    from skinclf.decisions.recalibrate import recalibrate

    bundle, table = study()
    store_terms(bundle, fitted(bundle, table))
    held_out = read_held_out(model=str(bundle))
    assert recalibrate(held_out, replicates=20).spec.metadata is None


def test_bands_cover_every_age():
    found = fit_terms(["mel", "nv"], [Patient(age=0.0), Patient(age=120.0)], ["a", "b"], HAM10000)
    assert len(found["age"]) == len(AGE_FROM)
