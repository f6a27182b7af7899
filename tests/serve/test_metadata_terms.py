"""Terms for age, sex and site from a file: the rows of `predict --metadata-terms`, and who may not have them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.metadata import fake_terms
from support.pictures import encode
from support.server import BOUNDARY, multipart, running
from support.two_inputs import ENCODING, options, save_onnx

from skinclf.errors import MismatchError, ModelError
from skinclf.images.synthetic import synthetic_lesion
from skinclf.inference.metadata.fused import read_terms
from skinclf.inference.predictor import Predictor
from skinclf.models.bundle import read_spec
from skinclf.serve.service import Service
from skinclf_cli.main import run

FILES = [(f"{seed}.jpg", encode(synthetic_lesion(seed, width=120, height=100))) for seed in range(3)]
PATIENTS = [{"age": 70, "sex": "male", "site": "face"}, {}, {"age": 30}]
POINTS = {"high": {"threshold": 0.3, "n": 10, "tp": 1, "fp": 1, "fn": 0, "tn": 8}}


@pytest.fixture(scope="module")
def file(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Terms for the bundle that has none of its own."""
    path = tmp_path_factory.mktemp("terms") / "terms.json"
    terms = replace(
        fake_terms(read_spec(tiny_bundle)), operating_points=POINTS, default_operating_point="high"
    )
    path.write_text(json.dumps(terms.to_dict()))
    return path


def test_terms_from_a_file_give_the_rows_of_predict(tiny_bundle: Path, file: Path):
    terms = read_terms(file)
    field = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="metadata"\r\n\r\n{json.dumps(PATIENTS)}\r\n'
    )
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    with running(tiny_bundle, metadata_terms=terms, processes=False) as server:
        answer = server.request("POST", "/v1/predictions", field.encode() + multipart(FILES), kind).json()
        assert server.get("/v1/models").json()["metadata"]["terms"] == terms.fingerprint
    assert answer["metadata"]["terms"] == terms.fingerprint
    assert answer["threshold"]["value"] == 0.3
    predictor = Predictor(tiny_bundle)
    for row, (_, content), entries in zip(answer["predictions"], FILES, PATIENTS, strict=True):
        one = predictor.with_metadata([entries], ["image-0"], terms=terms).predict(content)
        assert row["probability_malignant"] == pytest.approx(one.probability_malignant, abs=1e-6)
        assert row["metadata_shift"] == pytest.approx(one.extra["metadata_shift"], abs=1e-5)
    assert [row["metadata_shift"] == 0 for row in answer["predictions"]] == [False, True, False]


def test_terms_of_another_model_stop_the_start(bundle_copy: Path, file: Path, tmp_path: Path):
    spec = read_spec(bundle_copy)
    other = replace(read_terms(file), model={**spec.identity.to_dict(), "weights_sha256": "0" * 64})
    with pytest.raises(MismatchError, match="fitted for"):
        Service([str(bundle_copy)], metadata_terms=other, processes=False)
    own = tmp_path / "encoding.json"
    own.write_text(json.dumps(ENCODING))
    save_onnx(tmp_path / "two.onnx")
    with pytest.raises(ModelError, match="leave out `metadata_terms`"):
        Service(
            [str(tmp_path / "two.onnx")],
            options=options(own),
            metadata_terms=read_terms(file),
            processes=False,
        )


def test_the_command_names_its_option(tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    other = tmp_path / "x.json"
    other.write_text("{}")
    assert run(["serve", "--model", str(tiny_bundle), "--port", "0", "--metadata-terms", str(other)]) != 0
    assert "no file of metadata terms" in capsys.readouterr().err
