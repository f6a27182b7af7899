"""Answers of a real server: rows, formats, thresholds, provenance, overlays, and their description."""

from __future__ import annotations

import base64
import csv
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from PIL import Image
from support.pictures import encode
from support.server import Answer, Running, multipart, running

from skinclf.conversion.combine import combine
from skinclf.errors import ModelError
from skinclf.images.synthetic import synthetic_lesion
from skinclf.inference.predictor import Predictor
from skinclf.models.bundle import write_spec
from skinclf_cli.main import run

LESIONS = [encode(synthetic_lesion(seed, width=120 + 20 * seed, height=100), quality=90) for seed in range(4)]
FILES = [
    ("a.jpg", LESIONS[0]),
    ("notes.jpg", b"these are no pixels"),
    ('b "odd", näme.jpg', LESIONS[1]),
    ("empty.png", b""),
    ("cut.jpg", LESIONS[2][: len(LESIONS[2]) // 2]),
]
STATUS = ["ok", "not_an_image", "ok", "empty", "truncated"]


@pytest.fixture(scope="module")
def server(tiny_bundle: Path) -> Iterator[Running]:
    with running(tiny_bundle, metrics=True, max_upload=2_000_000) as started:
        yield started


def rows(answer: Answer) -> list[dict[str, Any]]:
    assert answer.status == 200, answer.body
    found: list[dict[str, Any]] = answer.json()["predictions"]
    return found


def test_every_file_is_a_row_in_order_and_bad_files_say_why(server: Running):
    found = rows(server.predict(FILES))
    assert [row["image"] for row in found] == [name for name, _ in FILES]
    assert [row["status"] for row in found] == STATUS
    for (name, _), row in zip(FILES, found, strict=True):
        assert row["error"] == "" or row["error"].startswith(f"{name}: ")
        assert (row["probability_malignant"] is None) == (row["status"] != "ok")


def test_the_csv_is_the_one_that_predict_writes(
    server: Running, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name, content in FILES:
        (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    code = run(["-q", "predict", *(name for name, _ in FILES), "--model", str(tiny_bundle), "-o", "t.csv"])
    assert code == 3
    answer = server.predict(FILES, headers={"Accept": "text/csv"})
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.body == (tmp_path / "t.csv").read_bytes()


def test_cells_are_those_of_the_csv(server: Running):
    answer = server.predict(FILES, "?include=cells")
    table = server.predict(FILES, headers={"Accept": "text/csv"}).body.decode()
    written = list(csv.reader(io.StringIO(table, newline="")))
    assert [answer.json()["columns"], *(row["cells"] for row in rows(answer))] == written


def test_json_lines_have_the_rows_of_the_json(server: Running):
    answer = server.predict(FILES, headers={"Accept": "application/x-ndjson"})
    assert [json.loads(line) for line in answer.body.splitlines()] == rows(server.predict(FILES))


def test_a_raw_body_is_one_row(server: Running):
    answer = server.request("POST", "/v1/predictions", LESIONS[0], {"Content-Type": "image/jpeg"})
    (row,) = rows(answer)
    assert row == rows(server.predict([("image-0", LESIONS[0])]))[0]


def test_every_answer_says_what_answered(server: Running, tiny_bundle: Path):
    answer = server.predict(FILES[:1]).json()
    spec = Predictor(tiny_bundle).spec
    assert answer["model"]["weights_sha256"] == spec.weights_sha256
    assert answer["model"]["preprocess"] == spec.preprocess.fingerprint
    assert "never a diagnosis" in answer["notice"]
    # The bundle has operating points and no default: 0.5 stands for nothing.
    assert (answer["threshold"]["name"], answer["threshold"]["grade"]) == ("value", "none")


def test_a_request_may_choose_its_threshold(server: Running):
    (row,) = rows(server.predict(FILES[:1]))
    p = row["probability_malignant"]
    for value, flagged in ((p, True), (float(np.nextafter(np.float32(p), np.float32(1))), False)):
        (row,) = rows(server.predict(FILES[:1], f"?threshold={value!r}"))
        assert row["flagged"] is flagged
    answer = server.predict(FILES[:1], "?threshold=youden").json()
    assert answer["threshold"]["value"] == answer["predictions"][0]["threshold"] == 0.42
    refused = server.predict(FILES[:1], "?threshold=nonsense")
    assert (refused.status, refused.json()["error"]["code"]) == (422, "invalid_parameter")
    assert server.predict(FILES[:1], "?threshold=1.5").status == 422
    assert server.predict(FILES[:1], "?threshold=nan").status == 422


def test_thresholds_are_listed_in_ascending_order(server: Running):
    offered = server.get("/v1/thresholds").json()["thresholds"]
    assert [entry["name"] for entry in offered] == ["sensitivity_90", "youden", "value"]
    assert [entry["default"] for entry in offered] == [False, False, True]


def test_strict_refuses_a_request_with_a_bad_file(server: Running):
    assert server.predict(FILES[:1], "?strict=1").status == 200
    answer = server.predict(FILES, "?strict=1")
    assert (answer.status, answer.json()["error"]["code"]) == (422, "not_an_image")
    assert "2 of 5" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("GET", "/v1/predictions", 405), ("POST", "/v1/models", 405), ("GET", "/v1/models/", 404),
     ("GET", "/static/..%2Fapp.py", 404), ("GET", "/static/%2e%2e/app.py", 404)],
)  # fmt: skip
def test_errors_are_one_object(server: Running, method: str, path: str, status: int):
    answer = server.request(method, path)
    assert answer.status == status
    assert set(answer.json()["error"]) == {"code", "message"}


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        (b"x", "text/plain", 415, "unsupported_type"),
        (b"", "multipart/form-data; boundary=b", 400, "bad_multipart"),
        (multipart([("a.jpg", LESIONS[0]), ("b.jpg", LESIONS[1])])[:-60], None, 400, "bad_multipart"),
        (b"garbage", "multipart/form-data; boundary=b", 400, "bad_multipart"),
        (b"x", "multipart/form-data", 400, "bad_multipart"),
        (multipart([("a.jpg", b"x")], field="other"), None, 422, "unknown_field"),
        (multipart([]), None, 422, "no_files"),
    ],
)
def test_unusable_bodies_are_refused(server: Running, body: bytes, kind: str | None, status: int, code: str):
    kind = kind or "multipart/form-data; boundary=a-boundary-of-the-tests"
    answer = server.request("POST", "/v1/predictions", body, {"Content-Type": kind})
    assert (answer.status, answer.json()["error"]["code"]) == (status, code)


def test_the_page_and_every_answer_carry_the_safety_headers(server: Running):
    page = server.get("/")
    assert page.status == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for answer in (page, server.get("/nothing"), server.get("/healthz"), server.predict(FILES[:1])):
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'")
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "set-cookie" not in answer.headers
        assert "access-control-allow-origin" not in answer.headers


def test_an_overlay_is_a_picture_of_the_size_of_the_image(server: Running):
    answer = server.request(
        "POST", "/v1/explanations?target=mel-nv", LESIONS[1], {"Content-Type": "image/jpeg"}
    )
    assert answer.headers["content-type"] == "image/png", answer.body
    assert Image.open(io.BytesIO(answer.body)).size == (140, 100)
    told = server.request(
        "POST", "/v1/explanations", LESIONS[1], {"Content-Type": "image/jpeg", "Accept": "application/json"}
    ).json()
    assert told["target"] == "malignant"
    assert base64.b64decode(told["overlay"]).startswith(b"\x89PNG")
    assert "not why it is right" in told["sentence"]


@pytest.mark.parametrize(
    ("query", "content", "status", "code"),
    [("?target=nothing", LESIONS[0], 422, "invalid_parameter"), ("", b"no image", 422, "not_an_image")],
)
def test_what_cannot_be_explained_is_refused(
    server: Running, query: str, content: bytes, status: int, code: str
):
    answer = server.request("POST", f"/v1/explanations{query}", content, {"Content-Type": "image/jpeg"})
    assert (answer.status, answer.json()["error"]["code"]) == (status, code)


def test_the_description_holds_for_real_answers(server: Running):
    described = server.get("/openapi.json").json()
    raw = {"Content-Type": "image/jpeg", "Accept": "application/json"}
    answers = [
        ("get", "/healthz", server.get("/healthz")),
        ("get", "/readyz", server.get("/readyz")),
        ("get", "/openapi.json", server.get("/openapi.json")),
        ("get", "/v1/models", server.get("/v1/models")),
        ("get", "/v1/thresholds", server.get("/v1/thresholds")),
        ("post", "/v1/predictions", server.predict(FILES)),
        ("post", "/v1/predictions", server.predict(FILES, "?include=cells&threshold=0.3")),
        ("post", "/v1/predictions", server.predict(FILES, "?strict=1")),
        (
            "post",
            "/v1/predictions",
            server.request("POST", "/v1/predictions", b"x", {"Content-Type": "text/x"}),
        ),
        ("post", "/v1/explanations", server.request("POST", "/v1/explanations", LESIONS[0], raw)),
    ]
    check_description(described, answers)
    schema = {"$ref": "#/components/schemas/Predictions", "components": described["components"]}
    assert not jsonschema.Draft202012Validator(schema).is_valid(server.get("/v1/models").json())


def test_the_description_holds_for_answers_of_the_built_in_model():
    """It has metadata terms, a gate, figures by subgroup and checks of its maps."""
    raw = {"Content-Type": "image/jpeg", "Accept": "application/json"}
    with running(processes=False, allow_ungated=True) as server:
        described = server.get("/openapi.json").json()
        answers = [("get", path, server.get(path)) for path in ("/v1/models", "/v1/thresholds")]
        for path in (
            "/v1/predictions?age=60&include=contributions,cells",
            "/v1/predictions?gate=mark&sex=male&site=back&include=contributions",
            "/v1/explanations?gate=mark",
        ):
            answer = server.request("POST", path, LESIONS[0], raw)
            answers += [("post", path.partition("?")[0], answer)]
    assert [answer.status for _, _, answer in answers] == [200] * 5
    check_description(described, answers)


def check_description(described: dict[str, Any], answers: list[tuple[str, str, Answer]]) -> None:
    for method, path, answer in answers:
        stated = described["paths"][path][method]["responses"][str(answer.status)]
        if "$ref" in stated:
            stated = described["components"]["responses"][stated["$ref"].rpartition("/")[2]]
        schema = stated["content"]["application/json"]["schema"]
        jsonschema.Draft202012Validator({**schema, "components": described["components"]}).validate(
            answer.json()
        )


def test_every_route_is_described(server: Running):
    from skinclf.serve.app import create_app

    assert server.service is not None
    app: Any = create_app(server.service)
    routes = {route.path for route in app._app._app.routes}
    assert routes - {"/", "/static/{name}"} == set(server.get("/openapi.json").json()["paths"])


def test_metrics_count_images_and_batches(server: Running):
    server.predict(FILES)
    text = server.get("/metrics").body.decode()
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(values['skinclf_images_total{status="truncated"}']) >= 1
    assert float(values["skinclf_batched_images_total"]) >= 5
    assert float(values["skinclf_images_in_hand"]) == 0


def test_an_ensemble_with_further_columns_is_served(tiny_bundle: Path, two_label_bundle: Path):
    options = {"tta": "flips", "refer_below": 0.9, "processes": False}
    with running(models=[tiny_bundle, two_label_bundle], threshold="0.4", **options) as server:
        described = server.get("/v1/models").json()
        assert [model["name"] for model in described["models"]] == ["tiny", "two-label"]
        answer = server.predict([("a.jpg", LESIONS[0]), ("bad.jpg", b"x")]).json()
        assert answer["model"]["name"] == "tiny + two-label (flips)"
        good, bad = answer["predictions"]
        assert list(good) == described["columns"]
        predictor = Predictor([tiny_bundle, two_label_bundle], tta="flips", refer_below=0.9, threshold=0.4)
        (expected, _) = predictor.predict([LESIONS[0], LESIONS[1]])
        assert np.float32(good["probability_malignant"]) == np.float32(expected.probability_malignant)
        assert (good["referred"], good["threshold"]) == (expected.extra["referred"], 0.4)
        assert (bad["referred"], bad["status"]) == (None, "not_an_image")


def test_a_recipe_is_served_with_its_own_operating_point(tiny_bundle: Path, tmp_path: Path):
    folder = tmp_path / "best"
    spec = combine([tiny_bundle], folder, tta="flips", name="best")
    points = {"s90": {"threshold": 0.2}}
    write_spec(folder, spec.replace(operating_points=points, default_operating_point="s90"))
    with running(folder, processes=False) as server:
        assert server.service.checks == ("tiny: 1 golden sample replayed, as recorded.",)
        answer = server.predict([("a.jpg", LESIONS[0])]).json()
        assert answer["model"]["weights_sha256"] == spec.weights_sha256
        (found,) = answer["predictions"]
        expected = Predictor(folder).predict(LESIONS[0])
        assert np.float32(found["probability_malignant"]) == np.float32(expected.probability_malignant)
        assert np.float32(found["threshold"]) == np.float32(0.2)


def test_a_recipe_is_not_served_when_a_member_computes_something_else(tiny_bundle: Path, tmp_path: Path):
    shutil.copytree(tiny_bundle, tmp_path / "copy")
    combine([tmp_path / "copy"], tmp_path / "best", tta="flips")
    (tmp_path / "copy" / "golden" / "sample.png").write_bytes(LESIONS[0])
    with (
        pytest.raises(ModelError, match="tiny: the golden sample"),
        running(tmp_path / "best", processes=False),
    ):
        pass
