"""Tables of age, sex and site under the names of public data sets; nothing else of a table enters."""

from __future__ import annotations

import dataclasses

import pytest

from skinclf.errors import InvalidArgumentError
from skinclf.tables.patient_metadata import COLUMNS, SITES, Patient, read_patients, wider_sites


def table(folder, text, name="metadata.csv"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("header", "row", "expected"),
    [
        ("lesion_id,image_id,dx,dx_type,age,sex,localization", "L1,a,mel,histo,45.0,male,back",
         Patient(45.0, "male", "posterior torso")),
        ("isic_id,age_approx,sex,anatom_site_general", "a,60,female,head/neck", Patient(60.0, "female", "head/neck")),
        ("img_id,diagnostic,age,gender,region", "a.png,MEL,8,FEMALE,FOREARM", Patient(8.0, "female", "upper extremity")),
        ("image,age,sex,anatom_site_general_challenge", "a,,,palms/soles", Patient(None, None, "palms/soles")),
        ("image,age,sex,site", "a,unknown,unknown,unknown", Patient()),
        ("image,age,sex,site", "a,NA,M,LEFT", Patient(None, "male", None)),
    ],
)  # fmt: skip
def test_columns_and_words_of_public_tables(tmp_path, header, row, expected):
    found = read_patients(table(tmp_path, f"{header}\n{row}\n"))
    assert found.patients == (expected,)


def test_nothing_but_age_sex_and_site_is_kept(tmp_path):
    text = "lesion_id,image_id,dx,dx_type,date,age,sex,localization\n"
    plain = read_patients(table(tmp_path, text + "L1,a,nv,histo,2019-01-01,45,male,back\n"))
    other = read_patients(table(tmp_path, text + "L9,a,mel,follow_up,1999-01-01,45,male,back\n", "b.csv"))
    assert plain.patients == other.patients
    assert plain.sha256 == other.sha256
    assert set(plain.columns) == {"age", "sex", "site"}
    assert {field.name for field in dataclasses.fields(Patient)} == {"age", "sex", "site"}
    names = {name for several in COLUMNS.values() for name in several}
    assert names.isdisjoint(
        {"dx", "dx_type", "lesion_id", "patient_id", "image_id", "file", "date", "diagnosis"}
    )


def test_words_in_no_vocabulary_are_named_once_with_their_number(tmp_path):
    rows = "".join(f"i{n},50,weiblich,Rücken\n" for n in range(3))
    found = read_patients(table(tmp_path, f"image,age,sex,site\n{rows}"))
    assert all(patient == Patient(50.0) for patient in found.patients)
    assert len(found.notices) == 2
    assert "'Rücken' (3)" in found.notices[1]
    assert "column site" in found.notices[1]


@pytest.mark.parametrize("age", ["-1", "150", "forty", '"45,5 years"', "inf"])
def test_an_impossible_age_is_one_sentence(tmp_path, age):
    path = table(tmp_path, f"image,age\na,50\nlesion7,{age}\n")
    with pytest.raises(
        InvalidArgumentError, match=r"lesion7: the age .* is not a number of years from 0 to 120"
    ):
        read_patients(path)


def test_a_decimal_comma_among_points_is_a_sentence_and_one_in_a_whole_column_is_a_number(tmp_path):
    with pytest.raises(InvalidArgumentError, match="with a decimal point"):
        read_patients(table(tmp_path, 'image,age\na,50.5\nb,"45,5"\n'))
    found = read_patients(table(tmp_path, "image;age\na;50,5\nb;45,5\n", "german.csv"))
    assert [patient.age for patient in found.patients] == [50.5, 45.5]


@pytest.mark.parametrize("word", ["Rücken", "dos", "espalda", "背中", "спина"])
def test_a_site_in_another_language_counts_as_absent_and_is_named(tmp_path, word):
    found = read_patients(table(tmp_path, f"image,age,sex,site\na,50,male,{word}\nb,50,male,back\n"))
    assert [patient.site for patient in found.patients] == [None, "posterior torso"]
    assert found.notices == (
        f"metadata.csv: column site: words that are in no vocabulary count as absent: {word!r} (1).",
    )
    with pytest.raises(InvalidArgumentError, match=f"the site '{word}' is not in the vocabulary"):
        Patient.of({"site": word})


def test_a_missing_column_is_a_sentence(tmp_path):
    found = read_patients(table(tmp_path, "image,age\na,50\n"))
    assert found.notices == ("metadata.csv: no column of sex or site, which count as absent.",)
    assert read_patients(table(tmp_path, "image,age,sex,site\na,50,,\n")).notices == ()


def test_a_table_without_these_columns_is_refused(tmp_path):
    with pytest.raises(InvalidArgumentError, match="no column of age, sex or site; found image, dx_type"):
        read_patients(table(tmp_path, "image,dx_type\na,histo\n"))
    with pytest.raises(InvalidArgumentError, match="no column names the image"):
        read_patients(table(tmp_path, "age,sex\n50,male\n"))


def test_joined_by_names_and_never_by_a_guess(tmp_path):
    found = read_patients(table(tmp_path, "image,age\nP1/a.jpg,30\nP2/a.jpg,70\n"))
    joined = found.of_images(["/data/P2/a.jpg", "/data/P1/a.jpg", "/data/P3/b.jpg"])
    assert [patient and patient.age for patient in joined] == [70.0, 30.0, None]
    with pytest.raises(InvalidArgumentError, match="could each mean several images"):
        found.of_images(["a.jpg"])
    with pytest.raises(InvalidArgumentError, match="none of the 1 images has a row of metadata"):
        found.of_images(["c.jpg"])


def test_entries_of_one_image():
    assert Patient.of({"Age_Approx": "45.0", "gender": "F", "localization": "scalp"}) == Patient(
        45.0, "female", "scalp"
    )
    assert Patient.of({"age": None, "sex": "", "site": "unknown"}).blank
    for entries, words in (
        ({"dx_type": "histo"}, "'dx_type' is not expected"),
        ({"lesion_id": "HAM_1"}, "'lesion_id' is not expected"),
        ({"age": 50, "age_approx": 60}, "once each"),
        ({"site": "Rücken"}, "is not in the vocabulary"),
        ({"age": 400}, "is not a number of years"),
    ):
        with pytest.raises(InvalidArgumentError, match=words):
            Patient.of(entries)


def test_every_site_ends_in_a_widest_one():
    assert wider_sites("chest") == ("torso", "anterior torso", "chest")
    assert all(SITES[wider_sites(word)[0]] is None for word in SITES)
