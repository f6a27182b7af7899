"""Runs over DICOM files: the bits of the JPEG outside, UIDs only on request, and nothing else of a header anywhere."""

from __future__ import annotations

import csv
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pydicom = pytest.importorskip("pydicom")

from support.colour_square import red_model
from support.dicom_canaries import CANARIES, UID_ROOT, WORD, number_of_canaries, with_canaries
from support.dicom_files import dicom_dataset, encoded, of_array, of_jpeg
from support.fake_scorer import SIZE, FakeScorer
from support.pictures import encode

from skinclf.explanation import Explainer, write_explanations
from skinclf.images.discovery import Inputs
from skinclf.images.preprocess import Preprocess
from skinclf.images.synthetic import synthetic_lesion
from skinclf.inference.notes.dicom_ids import DicomIdsScorer
from skinclf.inference.predictor import Predictor
from skinclf.inference.scorer import LoadPixels
from skinclf.jobs.output import Output
from skinclf.jobs.run import write_predictions
from skinclf_cli.main import run


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def lesions() -> list[bytes]:
    """JPEGs of several sizes, so that some are decoded at reduced size."""
    return [
        encode(
            np.asarray(Image.fromarray(synthetic_lesion(n, width=160, height=120)).resize(size)), quality=90
        )
        for n, size in enumerate([(600, 450), (1600, 1200), (320, 240), (1023, 767)])
    ]


def test_probabilities_have_the_bits_of_the_same_jpeg_outside(lesions: list[bytes], tmp_path: Path):
    for number, jpeg in enumerate(lesions):
        (tmp_path / f"{number}.jpg").write_bytes(jpeg)
        (tmp_path / f"{number}.dcm").write_bytes(encoded(of_jpeg(jpeg)))
    names = [str(tmp_path / f"{n}.{kind}") for kind in ("jpg", "dcm") for n in range(len(lesions))]
    reduced = Preprocess(height=SIZE, width=SIZE, scaled_decoding=2)
    for model in (None, FakeScorer(prepare=LoadPixels(reduced))):  # None is the built-in model
        predictor = Predictor(model, batch_size=16)
        outside, inside = np.split(np.array([p.values for p in predictor.stream(names)], np.float32), 2)
        assert outside.tobytes() == inside.tobytes()
        assert len({row.tobytes() for row in outside}) == len(lesions)


def test_a_run_over_frames_resumes_to_the_same_bytes(lesions: list[bytes], tmp_path: Path):
    folder = tmp_path / "in"
    folder.mkdir()
    stack = [encode(synthetic_lesion(n, width=64, height=48)) for n in range(9)]
    (folder / "film.dcm").write_bytes(encoded(of_jpeg(*stack)))
    (folder / "one").write_bytes(encoded(of_jpeg(stack[0])))
    (folder / "z.jpg").write_bytes(lesions[2])
    inputs = Inputs((folder,), frames="all")
    whole = tmp_path / "whole.csv"
    write_predictions(Predictor(FakeScorer(), workers=2), inputs, whole)
    assert [Path(r["image"]).name for r in rows(whole)] == [
        *(f"film.dcm#{n}" for n in range(1, 10)),
        "one",
        "z.jpg",
    ]
    assert all(r["status"] == "ok" for r in rows(whole))
    part = tmp_path / "part.csv"
    part.write_bytes(whole.read_bytes()[:900])
    shutil.copy(tmp_path / "whole.csv.run.json", tmp_path / "part.csv.run.json")
    write_predictions(Predictor(FakeScorer(), workers=2), inputs, Output(path=part, resume=True))
    assert part.read_bytes() == whole.read_bytes()


@pytest.mark.filterwarnings("ignore:.*VR UI")  # of the file that the test makes
def test_uids_are_columns_only_on_request(lesions: list[bytes], tmp_path: Path):
    made = of_jpeg(lesions[0])
    (tmp_path / "a.dcm").write_bytes(encoded(made))
    (tmp_path / "b.jpg").write_bytes(lesions[0])
    made.StudyInstanceUID = "no UID at all"
    (tmp_path / "c.dcm").write_bytes(encoded(made))
    predictor = Predictor(DicomIdsScorer(FakeScorer()), workers=2)
    write_predictions(predictor, Inputs((tmp_path,)), tmp_path / "t.csv")
    first, second, third = rows(tmp_path / "t.csv")
    series = {
        "sop_instance_uid": str(made.SOPInstanceUID),
        "series_instance_uid": str(made.SeriesInstanceUID),
    }
    assert first.items() >= series.items()
    assert first["study_instance_uid"].startswith("1.2.826.")
    assert [second[name] for name in (*series, "study_instance_uid")] == ["", "", ""]
    assert third.items() >= {**series, "study_instance_uid": ""}.items()
    plain = Predictor(FakeScorer(), workers=0).predict(str(tmp_path / "a.dcm"))
    assert first["p_mel"] == str(np.float32(plain.probabilities["mel"]))
    assert set(plain.extra) == set()


@pytest.fixture(scope="module")
def canaries(tmp_path_factory: pytest.TempPathFactory, lesions: list[bytes]) -> Path:
    """Files with a canary in every attribute: good ones, and ones that fail in every way."""
    folder = tmp_path_factory.mktemp("canaries")
    array = synthetic_lesion(1, width=64, height=48)

    def write(name: str, made: Any, change: Any = None) -> None:
        data = with_canaries(made)
        (folder / name).write_bytes(data if change is None else change(data))

    write("jpeg.dcm", of_jpeg(lesions[0], colours="RGB"))  # pydicom warns of such a file
    write("native.dcm", of_array(array))
    write("film.dcm", of_jpeg(lesions[0], lesions[0]))
    write("modality.dcm", of_array(array, modality=WORD))
    write("class.dcm", of_array(array, sop_class=f"{UID_ROOT}.5"))
    write("colours.dcm", of_array(array, colours=WORD))
    write("cut.dcm", of_jpeg(lesions[0]), lambda data: data[:-500])
    write("header.dcm", of_jpeg(lesions[0]), lambda data: data[:9000])
    lossless = lesions[0].replace(b"\xff\xc0", b"\xff\xc3")
    write("codec.dcm", dicom_dataset([lossless], rows=450, columns=600, syntax="1.2.840.10008.1.2.4.70"))
    write("frames.dcm", of_array(array), lambda data: data.replace(b"\x28\0\2\0US", b"\x28\0\x08\0IS"))
    write("syntax.dcm", of_jpeg(lesions[0], syntax=f"{UID_ROOT}.6"))
    write("no_pixels.dcm", of_array(array), lambda data: data[: data.rindex(b"\xe0\x7f\x10\0")])
    write(
        "date.dcm", of_array(array), lambda data: data.replace(b"DA\x08\x0019370316", b"DA\x08\x00KANARIE!")
    )
    return folder


def searched(texts: dict[str, bytes]) -> dict[str, list[str]]:
    """Canaries by where they were found."""
    found = {name: [c for c in CANARIES if c.encode() in data] for name, data in texts.items()}
    return {name: hits for name, hits in found.items() if hits}


def test_the_canaries_sing(canaries: Path):
    assert number_of_canaries() > 3500
    data = (canaries / "jpeg.dcm").read_bytes()
    header = pydicom.dcmread(canaries / "jpeg.dcm", stop_before_pixels=True)
    assert WORD in str(header.PatientName)
    assert data.count(WORD.encode()) > 1500
    assert set(searched({"file": data})["file"]) >= {WORD, "7316", UID_ROOT, "19370316"}


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_nothing_of_a_header_gets_out(
    kind: str,
    canaries: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
):
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    caplog.set_level(logging.DEBUG)
    table = tmp_path / f"t.{kind}"
    options = ["--frames", "all"] if kind == "csv" else []
    code = run(["predict", "--image-dir", str(canaries), "-o", str(table), "-vv", *options])
    assert code == 3  # some failed
    printed = capfd.readouterr()
    texts = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    texts |= {"stderr": printed.err.encode(), "stdout": printed.out.encode(), "log": caplog.text.encode()}
    if kind == "parquet":
        import pyarrow.parquet as pq

        texts["parquet"] = json.dumps(pq.read_table(table).to_pylist()).encode()
    if kind == "csv":
        status = {Path(r["image"]).name: r["status"] for r in rows(table)}
        assert {status[n] for n in ("jpeg.dcm", "native.dcm", "date.dcm", "film.dcm#2")} == {"ok"}
        expected = {
            "modality.dcm": "not_dermoscopy", "class.dcm": "not_dermoscopy", "colours.dcm": "unsupported",
            "no_pixels.dcm": "no_pixels", "codec.dcm": "codec_missing", "syntax.dcm": "unsupported",
            "cut.dcm": "truncated",
        }  # fmt: skip
        assert status.items() >= expected.items()
        assert status["header.dcm"] != "ok"
        assert status["frames.dcm"] != "ok"
    # The model's own hashes may hold four digits by chance; only words and long numbers count there.
    hits = {name: [c for c in found if c != "7316"] for name, found in searched(texts).items()}
    assert {name: found for name, found in hits.items() if found} == {}
    cells = (
        " ".join(v for r in rows(table) for k, v in r.items() if k in {"status", "error"})
        if kind == "csv"
        else ""
    )
    assert "7316" not in cells


def test_nothing_of_a_header_gets_into_a_page_of_maps(
    canaries: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    out, names = tmp_path / "maps", [str(canaries / "native.dcm"), str(canaries / "modality.dcm")]
    write_explanations(Explainer(red_model(fit="crop"), runtime="torch", workers=0, batch_size=4), names, out)
    texts = {p.name: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    assert any(name.endswith(".html") for name in texts)
    assert b"not_dermoscopy" in texts["maps.csv"]
    printed = capfd.readouterr()
    texts |= {"stderr": printed.err.encode(), "stdout": printed.out.encode()}
    hits = {name: [c for c in found if c != "7316"] for name, found in searched(texts).items()}
    assert {name: found for name, found in hits.items() if found} == {}
