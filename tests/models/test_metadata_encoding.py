"""`skinclf.models.metadata_encoding`: what a declaration means, and what is no declaration."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.two_inputs import ENCODING, WIDTH

from skinclf.decisions.threshold_file import Threshold
from skinclf.errors import InvalidArgumentError, MismatchError, ModelError
from skinclf.images.preprocess import scaling
from skinclf.labels import HAM10000
from skinclf.models.metadata_encoding import MetadataEncoding, read_encoding
from skinclf.models.spec import ModelSpec
from skinclf.tables.patient_metadata import Patient

OWN = MetadataEncoding.from_dict(ENCODING)


def row(patient, encoding=OWN):
    return encoding.encode([patient])[0].tolist()


def test_columns_stand_in_the_declared_order():
    assert OWN.width == WIDTH
    found = row(Patient(45.0, "male", "torso"))
    assert found == [0, 1, 0, 0, 0, 0, 1, 0, np.float32(0.5), 0]


def test_an_absent_entry_is_what_was_declared_for_it():
    blank = [0, 0, 1, 0, 0, 0, 0, 1, pytest.approx(0.6), 1]
    assert row(None) == row(Patient()) == blank
    assert row(Patient(sex="female")) == [1, 0, 0, *blank[3:]]
    assert row(Patient(age=0.0))[8:] == [0, 0]


@pytest.mark.parametrize(("site", "column"), [("back", 3), ("face", 1), ("foot", 2), ("oral/genital", 2)])
def test_a_site_takes_the_column_of_the_nearest_wider_one(site, column):
    patient = Patient.of({"site": site})
    assert row(patient)[3:8].index(1) == column


def test_a_site_without_a_column_counts_as_missing_and_is_counted():
    patients = [Patient(site="palms/soles"), Patient(site="torso"), None, Patient(site="palms/soles")]
    assert row(patients[0])[3:8] == [0, 0, 0, 0, 1]
    assert OWN.without_column(patients) == {"palms/soles": 2}


def test_other_forms_of_a_declaration():
    entries = [
        {"entry": "age", "mean": 50, "std": 20, "missing": 0},
        {"entry": "sex", "values": {"female": -1, "male": 1}, "missing": 0},
        {"entry": "site", "words": ["head/neck", "scalp"], "missing": 0.25},
    ]
    own = MetadataEncoding.from_dict({"entries": entries})
    assert row(Patient(70.0, "female", "scalp"), own) == [1, -1, 0, 1]
    assert row(Patient(), own) == [0, 0, 0.25, 0.25]


def test_vectors_of_many_are_those_of_each():
    patients = [Patient(40.0, "male", "face"), None, Patient(age=40.0), Patient(40.0, "male", "face")]
    assert OWN.encode(patients).tolist() == [row(one) for one in patients]
    assert OWN.encode([]).shape == (0, WIDTH)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([], "one object for each entry"),
        ([{"entry": "dx_type", "words": ["histo"], "missing": 0}], "entry 1 names 'dx_type'"),
        ([{"entry": "age", "divide": 90}], "`missing`, what stands for an absent entry, is not declared"),
        ([{"entry": "age", "missing": 0}], "either `divide` or `mean` and `std`"),
        ([{"entry": "age", "mean": 5, "missing": 0}], "either `divide` or `mean` and `std`"),
        ([{"entry": "age", "divide": 0, "missing": 0}], "divided by a positive number"),
        ([{"entry": "age", "divide": "x", "missing": 0}], "'x' is no finite number"),
        ([{"entry": "sex", "words": ["femme"], "missing": 0}], "'femme'.*vocabulary is female, male"),
        ([{"entry": "site", "words": ["Rücken"], "missing": 0}], "'Rücken'.*vocabulary is head/neck"),
        ([{"entry": "sex", "words": ["male", "male"], "missing": 0}], "'male' has two columns"),
        ([{"entry": "sex", "words": ["male", None], "missing": [1]}], "1 numbers for 2 columns"),
        ([{"entry": "sex", "words": [], "missing": 0}], "no word"),
        ([{"entry": "sex", "missing": 0}], "one of `words`"),
        ([{"entry": "sex", "words": ["male"], "values": {"male": 1}, "missing": 0}], "one of `words`"),
        ([{"entry": "sex", "indicator": True, "missing": 0}], "an indicator is"),
        ([{"entry": "age", "divide": 9, "missing": float("nan")}], "no finite number"),
    ],
)
def test_what_is_no_declaration_is_one_sentence(entries, message):
    with pytest.raises(ModelError, match=message):
        MetadataEncoding.from_dict({"entries": entries})


def test_a_file_that_declares_nothing_is_refused(tmp_path):
    file = tmp_path / "e.json"
    file.write_text('{"order": ["age"]}')
    with pytest.raises(InvalidArgumentError, match="expected an object"):
        read_encoding(file)
    with pytest.raises(InvalidArgumentError):
        read_encoding(tmp_path / "absent.json")
    file.write_text(json.dumps(ENCODING))
    assert read_encoding(file) == OWN == read_encoding(str(file)) == read_encoding(OWN)


def spec(**changes):
    return ModelSpec(
        name="two", architecture="onnx", labels=HAM10000, preprocess=scaling("unit", height=8), **changes
    )


def test_the_encoding_survives_the_configuration_and_decides_the_identity():
    own = spec(encoding=OWN)
    again = ModelSpec.from_config(json.loads(json.dumps(own.to_config())), source="x")
    assert again.encoding == OWN
    assert again.identity == own.replace(source="x").identity
    other = {"entries": [*ENCODING["entries"][:2], {"entry": "age", "divide": 100, "missing": 0.6}]}
    changed = own.replace(encoding=MetadataEncoding.from_dict(other))
    for different in (changed, spec()):
        assert own.identity.differences(different.identity) == ("metadata terms or encoding",)


def test_a_threshold_for_one_encoding_is_refused_for_another():
    own = spec(encoding=OWN, weights_sha256="a" * 64)
    threshold = Threshold(0.3, "t.json", {"schema": 1, "model": own.identity.to_dict()})
    threshold.check(own)
    with pytest.raises(MismatchError, match="other metadata terms or encoding"):
        threshold.check(spec(weights_sha256="a" * 64))
