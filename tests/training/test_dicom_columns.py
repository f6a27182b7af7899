"""Age, sex and site of DICOM headers: coarse, mapped, only on request, and never in place of a table's own."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pydicom")

from pydicom import Dataset
from support.dicom_canaries import CANARIES, with_canaries
from support.dicom_files import encoded, of_array

from skinclf.images.dicom.coarse import coarse_facts
from skinclf.images.synthetic import synthetic_lesion
from skinclf_training.data import dicom_columns
from skinclf_training.data.prepare import prepare
from skinclf_training.data.split import parse_ratios

ARRAY = synthetic_lesion(1, width=48, height=40)


def facts(tmp_path: Path, **values: Any) -> dict[str, str]:
    made = of_array(ARRAY, **values)
    (tmp_path / "a.dcm").write_bytes(encoded(made))
    return coarse_facts(tmp_path / "a.dcm")


@pytest.mark.parametrize(
    ("values", "age"),
    [
        ({"PatientAge": "047Y"}, "45"),
        ({"PatientAge": "093Y"}, "85"),
        ({"PatientAge": "030M"}, "0"),
        ({"PatientBirthDate": "19600102", "StudyDate": "20260101"}, "65"),
        ({"PatientBirthDate": "19600101", "StudyDate": "20260101"}, "65"),
        ({"PatientBirthDate": "19601231", "StudyDate": "20250101"}, "60"),
        ({"PatientBirthDate": "", "StudyDate": "20250101"}, ""),
        ({"PatientBirthDate": "20260202", "StudyDate": "20250101"}, ""),
    ],
)
def test_ages_are_steps_of_five_years(tmp_path: Path, values: dict[str, str], age: str):
    assert facts(tmp_path, **values)["age"] == age


@pytest.mark.parametrize(("sex", "word"), [("M", "male"), ("F", "female"), ("O", ""), ("", "")])
def test_sex_is_one_of_two_words(tmp_path: Path, sex: str, word: str):
    assert facts(tmp_path, PatientSex=sex)["sex"] == word


def test_only_known_sites_are_mapped(tmp_path: Path):
    region = Dataset()
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = "77568009", "SCT", "KANARIE"
    assert facts(tmp_path, AnatomicRegionSequence=[region])["localization"] == "back"
    assert facts(tmp_path, BodyPartExamined="FOREARM")["localization"] == "upper extremity"
    assert facts(tmp_path, BodyPartExamined="SOMEWHERE")["localization"] == ""


def test_other_files_have_no_facts(tmp_path: Path):
    (tmp_path / "a.txt").write_text("no image")
    assert coarse_facts(tmp_path / "a.txt") == coarse_facts(tmp_path / "none.dcm") == {}


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Twelve lesions of two classes as DICOM files full of canaries."""
    images = tmp_path / "images"
    images.mkdir()
    lines = ["image_id,lesion_id,dx,sex"]
    for number in range(12):
        array = synthetic_lesion(number, width=48, height=40)
        (images / f"i{number}.dcm").write_bytes(with_canaries(of_array(array)))
        lines.append(f"i{number},l{number},{'mel' if number % 2 else 'nv'},female")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def run(source: Path, name: str, **options: Any) -> Path:
    prepare(
        source / "labels.csv",
        [source / "images"],
        source / name,
        labels="mel,nv",
        shares=parse_ratios("50/25/25"),
        workers=1,
        **options,
    )
    return source / name


def test_headers_become_columns_only_on_request(source: Path):
    plain, asked = run(source, "plain"), run(source, "asked", dicom=True)
    assert not {"age", "localization"} & set(table(plain / "split.csv")[0])
    rows = table(asked / "split.csv")
    assert {row["age"] for row in rows} == {"70"}  # the canary is 73 years
    assert {row["sex"] for row in rows} == {"female"}  # the table's own
    assert {row["localization"] for row in rows} == {""}
    for folder in (plain, asked):
        for path in folder.iterdir():
            text = path.read_text(encoding="utf-8")
            assert not [c for c in CANARIES if c in text and c != "7316"], path.name


def test_the_extra_is_needed(source: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dicom_columns, "has_dicom", lambda: False)
    with pytest.raises(ImportError, match=r"skinclf\[dicom\]"):
        run(source, "out", dicom=True)
