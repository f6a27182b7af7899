"""Structured reports: read back by pydicom and by highdicom, filed with their image, and nothing else of its header."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
highdicom = pytest.importorskip("highdicom")

from support.dicom_canaries import DATE, UID_ROOT, WORD, with_canaries
from support.dicom_files import encoded, of_jpeg
from support.fake_scorer import FakeScorer
from support.pictures import encode

from skinclf._utils.notice import NOTICE
from skinclf.errors import MissingExtraError
from skinclf.images.discovery import Inputs
from skinclf.images.synthetic import synthetic_lesion
from skinclf.inference.predictor import Predictor
from skinclf.jobs.output import Output
from skinclf.jobs.run import write_predictions, write_stream

JPEGS = [encode(synthetic_lesion(n, width=64, height=48)) for n in range(3)]


def predictor(**options: Any) -> Predictor:
    return Predictor(FakeScorer(), workers=0, **options)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One image, one film and one JPEG."""
    made = tmp_path / "in"
    made.mkdir()
    (made / "one.dcm").write_bytes(encoded(of_jpeg(JPEGS[0])))
    (made / "film.dcm").write_bytes(encoded(of_jpeg(*JPEGS[:2])))
    (made / "z.jpg").write_bytes(JPEGS[2])
    return made


def reports(folder: Path) -> list[Any]:
    return sorted(
        (pydicom.dcmread(p) for p in folder.iterdir()), key=lambda r: (r.StudyInstanceUID, r.InstanceNumber)
    )


def test_a_report_says_what_the_table_says(folder: Path, tmp_path: Path):
    out = tmp_path / "sr"
    made = predictor(threshold=0.25)
    source = pydicom.dcmread(folder / "one.dcm")
    write_predictions(made, [folder / "one.dcm"], tmp_path / "t.csv", dicom_sr=out)
    (path,) = out.iterdir()
    expected = made.predict(str(folder / "one.dcm"))

    read = pydicom.dcmread(path)
    assert path.name == f"{read.SOPInstanceUID}.dcm"
    assert read.SOPClassUID.name == "Comprehensive SR Storage"
    assert (read.VerificationFlag, read.CompletionFlag, read.PreliminaryFlag) == (
        "UNVERIFIED",
        "COMPLETE",
        "PRELIMINARY",
    )
    assert read.StudyInstanceUID == source.StudyInstanceUID
    assert read.SeriesInstanceUID != source.SeriesInstanceUID
    assert (str(read.PatientName), read.PatientID, read.PatientBirthDate) == ("A^B", "p1", "19600102")
    (evidence,) = read.CurrentRequestedProcedureEvidenceSequence
    (series,) = evidence.ReferencedSeriesSequence
    assert [item.ReferencedSOPInstanceUID for item in series.ReferencedSOPSequence] == [source.SOPInstanceUID]
    assert NOTICE in [item.TextValue for item in read.ContentSequence if "TextValue" in item]

    report = highdicom.sr.srread(path)
    (group,) = report.content.get_image_measurement_groups()
    values = {m.name.value: m.value for m in group.get_measurements()}
    assert values == {
        **{f"p_{code}": pytest.approx(p, abs=1e-8) for code, p in expected.probabilities.items()},
        "malignancy": pytest.approx(expected.probability_malignant, abs=1e-8),
    }
    assert {m.unit.value for m in group.get_measurements()} == {"1"}
    answers = {e.name.value: e.value.value for e in group.get_qualitative_evaluations()}
    decision = "flagged" if expected.flagged else "not_flagged"
    assert answers == {"predicted_class": expected.label, "decision": decision}
    assert [image.referenced_sop_instance_uid for image in group.source_images] == [source.SOPInstanceUID]
    words = str(group[0])
    assert f"weights_sha256={made.spec.weights_sha256}"[:20] in "".join(
        item.TextValue for item in group[0].ContentSequence if "TextValue" in item
    )
    assert "99SKINCLF" in words


def test_each_frame_has_its_report_and_other_files_have_none(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    out = tmp_path / "sr"
    write_predictions(predictor(), Inputs((folder,), frames="all"), tmp_path / "t.csv", dicom_sr=out)
    assert len(list(out.iterdir())) == 3
    frames = [
        image.referenced_frame_numbers
        for path in out.iterdir()
        for group in highdicom.sr.srread(path).content.get_image_measurement_groups()
        for image in group.source_images
    ]
    assert sorted(frames, key=str) == [None, [1], [2]]
    assert "Predictions without a structured report: 1." in caplog.text


def test_the_same_prediction_replaces_its_report(folder: Path, tmp_path: Path):
    out = tmp_path / "sr"
    for number in range(2):
        write_predictions(predictor(), [folder / "one.dcm"], tmp_path / f"{number}.csv", dicom_sr=out)
    assert len(list(out.iterdir())) == 1
    write_predictions(predictor(threshold=0.9), [folder / "one.dcm"], tmp_path / "2.csv", dicom_sr=out)
    assert len(list(out.iterdir())) == 2


def test_a_resumed_run_has_every_report(folder: Path, tmp_path: Path):
    names, out = [folder / "one.dcm"], tmp_path / "sr"
    table = Output(path=tmp_path / "t.csv")
    write_predictions(predictor(), names, table, dicom_sr=out)
    (report,) = out.iterdir()
    report.unlink()
    resumed = Output(path=tmp_path / "t.csv", resume=True)
    rows = (tmp_path / "t.csv").read_bytes()
    (tmp_path / "t.csv").write_bytes(rows[: rows.index(b"\n") + 9])  # its row was not yet written
    write_predictions(predictor(), names, resumed, dicom_sr=out)
    assert (tmp_path / "t.csv").read_bytes() == rows
    assert report.exists()


def test_a_lesion_that_is_followed_keeps_its_identifier(tmp_path: Path):
    made = of_jpeg(JPEGS[0], TrackingUID="1.2.3.4", TrackingID="L7")
    (tmp_path / "a.dcm").write_bytes(encoded(made))
    write_predictions(predictor(), [tmp_path / "a.dcm"], tmp_path / "t.csv", dicom_sr=tmp_path / "sr")
    (path,) = (tmp_path / "sr").iterdir()
    (group,) = highdicom.sr.srread(path).content.get_image_measurement_groups()
    assert (group.tracking_identifier, group.tracking_uid) == ("L7", "1.2.3.4")


def test_a_report_has_nothing_but_what_files_it(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    (tmp_path / "a.dcm").write_bytes(with_canaries(of_jpeg(JPEGS[0])))
    write_predictions(predictor(), [tmp_path / "a.dcm"], tmp_path / "t.csv", dicom_sr=tmp_path / "sr")
    (path,) = (tmp_path / "sr").iterdir()
    allowed = {
        "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate",
        "StudyTime", "StudyID", "AccessionNumber", "SpecificCharacterSet",
        # References of the content and the lesion that is followed.
        "ReferencedSOPInstanceUID", "SeriesInstanceUID", "UID", "TextValue",
    }  # fmt: skip
    found = {
        element.keyword
        for element in pydicom.dcmread(path).iterall()
        if element.VR != "SQ" and any(canary in str(element.value) for canary in (WORD, UID_ROOT, DATE))
    }
    assert {"PatientName", "StudyInstanceUID"} <= found <= allowed
    assert WORD not in caplog.text
    assert WORD.encode() not in (tmp_path / "t.csv").read_bytes()


def test_an_image_without_a_study_has_a_row_and_no_report(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    made = of_jpeg(JPEGS[0])
    del made.StudyInstanceUID
    (tmp_path / "a.dcm").write_bytes(encoded(made))
    written: list[bytes] = []
    summary = write_stream(
        predictor(), [tmp_path / "a.dcm"], _Rows(), written.append, dicom_sr=tmp_path / "sr"
    )
    assert summary.failed == 0
    assert list((tmp_path / "sr").iterdir()) == []
    assert "Predictions without a structured report: 1." in caplog.text


class _Rows:
    def header(self) -> bytes:
        return b""

    def encode(self, predictions: Any) -> bytes:
        return b"".join(p.image.encode() for p in predictions)


def test_without_the_extra_one_sentence_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import sys

    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(MissingExtraError, match=r"skinclf\[dicom\]"):
        write_predictions(predictor(), [], tmp_path / "t.csv", dicom_sr=tmp_path / "sr")


def test_numbers_are_those_of_float32(folder: Path, tmp_path: Path):
    write_predictions(predictor(), [folder / "one.dcm"], tmp_path / "t.csv", dicom_sr=tmp_path / "sr")
    (path,) = (tmp_path / "sr").iterdir()
    values = [e.value for e in pydicom.dcmread(path).iterall() if e.keyword == "FloatingPointValue"]
    assert len(values) == 8
    assert values == [float(np.float32(v)) for v in values]
