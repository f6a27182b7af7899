"""The numbers of the server are those of `predict`, to the bit, however many clients there are."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.pictures import encode
from support.server import Running, running

from skinclf.images.synthetic import synthetic_lesion
from skinclf_cli.main import run


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty files of mixed sizes and kinds, every eighth of them damaged."""
    folder = tmp_path_factory.mktemp("images")
    for i in range(40):
        picture = synthetic_lesion(i % 10, width=90 + 13 * i, height=80 + 7 * i)
        kind, ending = (("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp"))[i % 3]
        content = encode(picture, kind)
        if i % 8 == 5:
            content = content[: len(content) // 3]
        (folder / f"image-{i:02}.{ending}").write_bytes(content)
    return folder


def check(server: Running, model: Path, images: Path, tmp_path: Path, *more: str) -> None:
    output = tmp_path / "table.jsonl"
    run(["-q", "predict", "--image-dir", str(images), "--model", str(model), "-o", str(output), *more])
    expected = {Path(row["image"]).name: row for row in map(json.loads, output.read_text().splitlines())}
    assert sum(row["status"] != "ok" for row in expected.values()) == 5
    files = [(path.name, path.read_bytes()) for path in sorted(images.iterdir())]
    for clients in (1, 8, 32):
        # Requests of one to three images, so that batches are shared in ever new ways.
        requests = [files[i : i + 1 + i % 3] for i in range(len(files))]
        with ThreadPoolExecutor(clients) as pool:
            answers = list(pool.map(server.predict, requests))
        for request, answer in zip(requests, answers, strict=True):
            assert answer.status == 200
            rows = answer.json()["predictions"]
            assert [row["image"] for row in rows] == [name for name, _ in request]
            for row in rows:
                wanted = expected[row["image"]]
                for key in wanted.keys() - {"image", "error"}:
                    assert row[key] == wanted[key], (clients, row["image"], key)


def test_images_that_are_computed_one_by_one(tiny_bundle: Path, images: Path, tmp_path: Path):
    pytest.importorskip("openvino")
    with running(tiny_bundle, runtime="openvino") as server:
        check(server, tiny_bundle, images, tmp_path, "--runtime", "openvino")


def test_images_that_share_a_call_of_the_network(two_label_bundle: Path, images: Path, tmp_path: Path):
    with running(two_label_bundle, runtime="torch", processes=False) as server:
        check(server, two_label_bundle, images, tmp_path, "--runtime", "torch")


def test_a_threshold_file_is_the_default(tiny_bundle: Path, images: Path, tmp_path: Path):
    file = tmp_path / "threshold.json"
    file.write_text('{"threshold": 0.31, "sensitivity": 0.93, "n": 10, "tp": 4, "fp": 1, "fn": 1, "tn": 4}')
    with running(tiny_bundle, threshold=str(file), processes=False, max_wait=0) as server:
        answer = server.predict([("a.jpg", (images / "image-00.jpg").read_bytes())]).json()
    assert answer["predictions"][0]["threshold"] == 0.31
    assert answer["threshold"]["name"] == "threshold"
    assert answer["threshold"]["flagged_per_1000"] == 500
    assert answer["threshold"]["n_malignant"] == 5
