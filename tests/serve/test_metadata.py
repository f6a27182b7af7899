"""Age, sex and site in requests: the rows of `predict --metadata`, their shares, their thresholds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.bundles import make_bundle
from support.metadata import fake_terms
from support.pictures import encode
from support.server import BOUNDARY, Answer, Running, multipart, running

from skinclf.images.preprocess import scaling
from skinclf.images.synthetic import synthetic_lesion
from skinclf.inference.predictor import Predictor
from skinclf.labels import HAM10000
from skinclf.models.bundle import read_spec, write_spec
from skinclf_cli.main import run

LESIONS = [encode(synthetic_lesion(seed, width=120 + 20 * seed, height=100), quality=90) for seed in range(4)]
FILES = [("a.jpg", LESIONS[0]), ("notes.jpg", b"no pixels"), ("b.jpg", LESIONS[1]), ("c.jpg", LESIONS[2])]
PATIENTS = [{"age": 70, "sex": "male", "site": "face"}, {"age": 30}, {}, {"sex": "male", "site": "back"}]
POINTS = {"high": {"threshold": 0.3, "n": 10, "tp": 1, "fp": 1, "fn": 0, "tn": 8}, "low": {"threshold": 0.1}}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with terms and operating points for both."""
    folder = tmp_path_factory.mktemp("fused") / "model"
    own = {"operating_points": {"high": {"threshold": 0.4}}, "default_operating_point": "high"}
    make_bundle(folder, HAM10000, scaling("torch", height=64, width=64), **own)
    spec = read_spec(folder)
    terms = replace(fake_terms(spec), operating_points=POINTS, default_operating_point="high")
    write_spec(folder, spec.replace(metadata=terms))
    return folder


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[Running]:
    with running(model, processes=False) as started:
        yield started


def asked(
    server: Running, entries: Any, query: str = "", files: Sequence[tuple[str, bytes]] = FILES
) -> Answer:
    text = entries if isinstance(entries, str) else json.dumps(entries)
    field = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="metadata"\r\n\r\n{text}\r\n'
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    return server.request("POST", f"/v1/predictions{query}", field.encode() + multipart(files), kind)


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_the_table_is_that_of_predict_with_metadata(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: str
):
    for name, content in FILES:
        (tmp_path / name).write_bytes(content)
    lines = ["image,age,sex,site"]
    for (name, _), entries in zip(FILES, PATIENTS, strict=True):
        lines.append(",".join([name, *(str(entries.get(key, "")) for key in ("age", "sex", "site"))]))
    (tmp_path / "patients.csv").write_text("\n".join(lines) + "\n")
    monkeypatch.chdir(tmp_path)
    more = ["--model", str(model), "--metadata", "patients.csv", "-o", "t.csv", "--runtime", runtime]
    assert run(["-q", "predict", *(name for name, _ in FILES), *more]) == 3
    with running(model, processes=False, runtime=runtime) as server:
        kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", "Accept": "text/csv"}
        field = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="metadata"\r\n\r\n{json.dumps(PATIENTS)}\r\n'
        body = field.encode() + multipart(FILES)
        answer = server.request("POST", "/v1/predictions", body, kind)
    assert answer.body.decode() == (tmp_path / "t.csv").read_text()


def test_blank_entries_give_the_numbers_of_the_picture_to_the_bit(server: Running):
    plain = server.predict(FILES).json()["predictions"]
    for blank in ({}, None, {"age": "", "sex": None, "site": "unknown"}):
        fused = asked(server, [blank] * 4, "?include=contributions").json()["predictions"]
        for row, old in zip(fused, plain, strict=True):
            shared = old.keys() - {"threshold", "flagged"}
            assert {k: row[k] for k in shared} == {k: old[k] for k in shared}
            assert row["p_image_malignant"] == old["probability_malignant"]
            if row["status"] == "ok":
                assert row["metadata_shift"] == 0
                assert [row["contributions"][k] for k in ("age", "sex", "site")] == [0, 0, 0]


def test_shares_sum_to_the_fused_log_odds(server: Running):
    answer = asked(server, PATIENTS, "?include=cells,contributions").json()
    assert answer["columns"] == server.get("/v1/models").json()["metadata_columns"]
    for row in answer["predictions"]:
        if row["status"] != "ok":
            assert row["contributions"] is None
            continue
        parts = row["contributions"]
        p = row["probability_malignant"]
        assert sum(parts[k] for k in ("image", "age", "sex", "site")) == pytest.approx(
            parts["total"], abs=1e-6
        )
        assert parts["total"] == pytest.approx(np.log(p / (1 - p)), abs=1e-4)
        assert parts["total"] - parts["image"] == pytest.approx(row["metadata_shift"], abs=1e-5)
    assert answer["metadata"]["terms"] == server.get("/v1/models").json()["metadata"]["terms"]
    assert "contributions" not in server.predict(FILES[:1], "?include=contributions").json()["predictions"][0]


def test_two_files_of_one_name_have_each_their_own_entries(server: Running):
    twice = [("same.jpg", LESIONS[0]), ("same.jpg", LESIONS[0])]
    old, young = asked(server, [{"age": 70}, {"age": 30}], files=twice).json()["predictions"]
    assert old["probability_malignant"] > old["p_image_malignant"] > young["probability_malignant"]


def test_a_raw_body_takes_its_entries_from_the_address(server: Running, model: Path):
    raw = {"Content-Type": "image/jpeg"}
    answer = server.request("POST", "/v1/predictions?age=70&sex=m&site=upper%20back", LESIONS[0], raw)
    assert (answer.status, answer.json()["error"]["code"]) == (422, "invalid_parameter")
    answer = server.request("POST", "/v1/predictions?age=70&sex=m&site=back", LESIONS[0], raw)
    (row,) = answer.json()["predictions"]
    with_entries = Predictor(model).predict(LESIONS[0], metadata={"age": 70, "sex": "m", "site": "back"})
    assert np.float32(row["probability_malignant"]) == np.float32(with_entries.probability_malignant)
    assert server.predict(FILES, "?age=70").status == 422


def test_thresholds_are_those_measured_with_metadata(server: Running):
    listed = server.get("/v1/thresholds").json()
    assert [(t["name"], t["default"]) for t in listed["with_metadata"]] == [("low", False), ("high", True)]
    assert [t["name"] for t in listed["thresholds"]] == ["high"]
    answer = asked(server, PATIENTS).json()
    assert (answer["threshold"]["value"], answer["predictions"][0]["threshold"]) == (0.3, 0.3)
    assert asked(server, PATIENTS, "?threshold=low").json()["threshold"]["value"] == 0.1
    assert asked(server, PATIENTS, "?threshold=0.2").json()["predictions"][0]["threshold"] == 0.2
    assert server.predict(FILES, "?threshold=low").status == 422
    assert server.predict(FILES).json()["threshold"]["value"] == 0.4


def test_a_threshold_of_the_picture_alone_is_no_default_for_both(model: Path, tmp_path: Path):
    file = tmp_path / "threshold.json"
    identity = Predictor(model).spec.identity.to_dict()
    file.write_text(
        json.dumps({"threshold": 0.31, "n": 10, "tp": 4, "fp": 1, "fn": 1, "tn": 4, "model": identity})
    )
    with running(model, threshold=str(file), processes=False) as server:
        assert server.predict(FILES).json()["threshold"]["value"] == 0.31
        refused = asked(server, PATIENTS)
        assert refused.status == 422
        assert "Name one in `threshold`" in refused.json()["error"]["message"]
        assert asked(server, PATIENTS, "?threshold=high").json()["threshold"]["value"] == 0.3
        assert not any(t["default"] for t in server.get("/v1/thresholds").json()["with_metadata"])


@pytest.mark.parametrize(
    ("entries", "code", "words"),
    [
        ("[{]", "invalid_metadata", "JSON list"),
        ({"age": 3}, "invalid_metadata", "JSON list"),
        ([{}], "invalid_metadata", "received 1 for 4 files"),
        ([{}, {}, {"age": 200}, {}], "invalid_parameter", "Image 3 of 4"),
        ([{}, {}, {}, {"dx": "mel"}], "invalid_parameter", "'dx' is not expected"),
        ([{}, {}, {}, {"site": "Rücken"}], "invalid_parameter", "not in the vocabulary"),
        ("[" * 9000, "invalid_metadata", "JSON list"),
        ("[" * 90_000, "unknown_field", "one field `metadata` of at most"),
    ],
)
def test_entries_that_cannot_be_used_are_one_sentence(server: Running, entries: Any, code: str, words: str):
    answer = asked(server, entries)
    assert (answer.status, answer.json()["error"]["code"]) == (422, code)
    assert words in answer.json()["error"]["message"]


def test_a_model_without_terms_takes_none(tiny_bundle: Path):
    with running(tiny_bundle, processes=False) as server:
        assert server.get("/v1/models").json()["metadata"] is None
        assert server.get("/v1/thresholds").json()["with_metadata"] is None
        answer = asked(server, PATIENTS)
        assert (answer.status, answer.json()["error"]["code"]) == (422, "invalid_parameter")
        assert "takes no metadata" in answer.json()["error"]["message"]
