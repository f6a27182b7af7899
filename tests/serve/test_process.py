"""The command `skinclf serve` as a process: one URL, nothing on disk, nothing in the log, an orderly end."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from support.metadata import fake_terms
from support.pictures import encode
from support.server import Running

from skinclf.images.synthetic import synthetic_lesion
from skinclf.models.bundle import read_spec
from skinclf_cli.main import run

LESION = encode(synthetic_lesion(5, width=200, height=150))
pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


@contextmanager
def process(
    model: Path, folder: Path, *options: str
) -> Iterator[tuple[Running, subprocess.Popen[bytes], Path, Path]]:
    """A running command with its temporary folder and what it printed."""
    temporary, log = folder / "temporary", folder / "log.txt"
    temporary.mkdir()
    with log.open("wb") as file:
        child = subprocess.Popen(
            [sys.executable, "-m", "skinclf", "-v", "serve", "--model", str(model), "--port", "0", *options],
            stdout=subprocess.PIPE,
            stderr=file,
            env={**os.environ, "TMPDIR": str(temporary)},
        )
    try:
        assert child.stdout is not None
        url = child.stdout.readline().decode()
        found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/\n", url)
        assert found, log.read_text()
        yield Running(url.strip(), "127.0.0.1", int(found[1])), child, temporary, log
    finally:
        child.kill()
        child.wait()


def test_a_signal_lets_requests_in_hand_finish_and_leaves_nothing(tiny_bundle: Path, tmp_path: Path):
    # An upload under way, and a long wait for it, keep requests in hand when the signal comes.
    with process(tiny_bundle, tmp_path, "--max-wait", "60000", "--batch-size", "64") as (
        server,
        child,
        temporary,
        log,
    ):
        assert server.get("/readyz").status == 200
        names = [f"jane-doe-{i}.jpg" for i in range(12)]
        refused = server.predict(
            [("jane-doe.jpg", LESION)], "?threshold=jane-doe", headers={"Origin": "null"}
        )
        assert refused.status == 403
        upload = http.client.HTTPConnection(server.host, server.port, timeout=60)
        upload.putrequest("POST", "/v1/predictions")
        upload.putheader("Content-Type", "image/jpeg")
        upload.putheader("Content-Length", str(len(LESION)))
        upload.endheaders(LESION[:100])
        with ThreadPoolExecutor(12) as pool:
            waiting = [
                pool.submit(server.predict, [(name, LESION), ("broken-doe.jpg", b"x")]) for name in names
            ]
            time.sleep(0.4)
            assert not any(answer.done() for answer in waiting)
            assert list(temporary.rglob("*")) == []
            start = time.monotonic()
            child.send_signal(signal.SIGTERM)
            upload.send(LESION[100:])
            assert upload.getresponse().status == 200
            answers = [answer.result() for answer in waiting]
        assert child.wait(30) == 0
        assert time.monotonic() - start < 20
        for name, answer in zip(names, answers, strict=True):
            assert answer.status == 200
            good, bad = answer.json()["predictions"]
            assert (good["image"], good["status"], bad["status"]) == (name, "ok", "not_an_image")
        with pytest.raises(OSError):
            http.client.HTTPConnection(server.host, server.port, timeout=2).request("GET", "/healthz")
        assert list(temporary.rglob("*")) == []
    text = log.read_text()
    assert "POST /v1/predictions 200" in text
    assert "golden sample replayed" in text
    assert "doe" not in text
    assert "127.0.0.1" not in text.replace(server.url, "")


def test_the_gate_is_the_one_that_was_asked_for(gated_bundle: Path, tmp_path: Path):
    noise = encode(np.random.default_rng(0).integers(0, 256, (150, 200, 3), dtype=np.uint8), "PNG")
    for mode, status in ((None, "gated"), ("off", "ok")):
        folder = tmp_path / str(mode)
        folder.mkdir()
        with process(gated_bundle, folder, *(() if mode is None else ("--gate", mode))) as (server, *_):
            (row,) = server.predict([("noise.png", noise)]).json()["predictions"]
        assert (row["status"], "gate" in row) == (status, mode is None)


def test_an_address_in_use_is_one_sentence(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert run(["serve", "--model", str(tiny_bundle), "--port", port]) == 2
    assert f"port {port}" in capsys.readouterr().err


def test_other_machines_need_a_token(tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["serve", "--model", str(tiny_bundle), "--host", "0.0.0.0"]) == 2
    assert "--token-file" in capsys.readouterr().err
    short = tmp_path / "token.txt"
    short.write_text("short\n")
    assert run(["serve", "--model", str(tiny_bundle), "--token-file", str(short)]) == 2
    assert "16" in capsys.readouterr().err


def test_a_model_that_computes_something_else_is_not_served(
    bundle_copy: Path, capsys: pytest.CaptureFixture[str]
):
    config = bundle_copy / "config.json"
    text = config.read_text()
    changed = re.sub(r'("probabilities": \[\s*)0\.\d+', r"\g<1>0.99", text)
    assert changed != text
    config.write_text(changed)
    assert run(["serve", "--model", str(bundle_copy), "--port", "0"]) == 1
    assert "golden sample" in capsys.readouterr().err


def test_the_command_takes_a_file_of_metadata_terms(tiny_bundle: Path, tmp_path: Path):
    file = tmp_path / "terms.json"
    terms = fake_terms(read_spec(tiny_bundle))
    file.write_text(json.dumps(terms.to_dict()))
    with process(tiny_bundle, tmp_path, "--metadata-terms", str(file)) as (server, *_):
        assert server.get("/v1/models").json()["metadata"]["terms"] == terms.fingerprint
