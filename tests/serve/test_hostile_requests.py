"""What a server on a laptop must withstand: each against a real server, which answers the next request as before."""

from __future__ import annotations

import logging
import socket
import struct
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.pictures import encode
from support.server import Running, multipart, running

from skinclf.images.decode import MAX_PIXELS
from skinclf.images.synthetic import synthetic_lesion
from skinclf.inference.decode_limits import DecodeLimits

LESION = encode(synthetic_lesion(5, width=200, height=150))
TOKEN = "a-token-of-the-tests-7291"
KIND = "Content-Type: multipart/form-data; boundary=a-boundary-of-the-tests\r\n"


@pytest.fixture(scope="module")
def server(tiny_bundle: Path) -> Iterator[Running]:
    with running(tiny_bundle, max_upload=1_000_000, max_queue=32, timeout=3, workers=1) as started:
        yield started


@pytest.fixture(autouse=True)
def _alive(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """After every attack the server classifies as before, and nothing is left in its hands."""
    yield
    monkeypatch.undo()
    if "server" in request.fixturenames:
        server: Running = request.getfixturevalue("server")
        answer = server.predict([("after.jpg", LESION)])
        assert answer.json()["predictions"][0]["status"] == "ok"
        assert server.service is not None
        assert wait(lambda: server.service.batcher.in_hand == 0)


def wait(condition: Any, seconds: float = 20) -> bool:
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.02)
    return bool(condition())


def raw(server: Running, *chunks: bytes, pause: float = 0.0) -> bytes:
    """Send bytes as they are, and read the answer to its end."""
    with socket.create_connection((server.host, server.port), timeout=30) as connection:
        for chunk in chunks:
            connection.sendall(chunk)
            time.sleep(pause)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    return received


def slow(server: Running, monkeypatch: pytest.MonkeyPatch, seconds: float) -> list[int]:
    """Make the network slow; the sizes of its batches are in the list."""
    assert server.service is not None
    scorer = server.service.predictor.scorer
    score, sizes = scorer.score, []

    def slowly(batch: Any) -> Any:
        sizes.append(len(batch[0]))
        time.sleep(seconds)
        return score(batch)

    monkeypatch.setattr(scorer, "score", slowly)
    return sizes


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://localhost.elsewhere.example"},
    ],
)
def test_posts_from_pages_of_other_sites_are_refused(server: Running, headers: dict[str, str]):
    answer = server.predict([("a.jpg", LESION)], headers=headers)
    assert (answer.status, answer.json()["error"]["code"]) == (403, "cross_site")


def test_posts_from_the_own_page_are_answered(server: Running):
    own = {"Origin": server.url.rstrip("/"), "Sec-Fetch-Site": "same-origin"}
    assert server.predict([("a.jpg", LESION)], headers=own).status == 200


@pytest.mark.parametrize("host", ["elsewhere.example", "127.0.0.1.elsewhere.example", "", "192.168.0.7"])
def test_a_foreign_name_in_host_is_refused_everywhere(server: Running, host: str):
    for path in ("/", "/healthz", "/v1/models"):
        answer = server.get(path, Host=host)
        assert (answer.status, answer.json()["error"]["code"]) == (421, "wrong_host")


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:1", "[::1]:8000"])
def test_names_of_this_machine_are_answered(server: Running, host: str):
    assert server.get("/healthz", Host=host).status == 200


def test_a_declared_gigabyte_is_refused_before_it_is_sent(server: Running):
    head = f"POST /v1/predictions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {2**30}\r\n{KIND}\r\n"
    start = time.monotonic()
    answer = raw(server, head.encode())
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"too_large"' in answer
    assert time.monotonic() - start < 10


def test_a_body_that_is_sent_all_the_same_gets_the_answer(server: Running):
    answer = server.predict([("a.jpg", bytes(8_000_000))])
    assert (answer.status, answer.json()["error"]["code"]) == (413, "too_large")


def test_an_undeclared_body_is_counted(server: Running):
    head = "POST /v1/predictions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
    chunk = b"40000\r\n" + bytes(0x40000) + b"\r\n"
    answer = raw(server, (head + "Content-Type: image/png\r\n\r\n").encode(), *[chunk] * 12, b"0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_slow_body_is_given_up(server: Running):
    head = f"POST /v1/predictions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n{KIND}\r\n"
    answer = raw(server, head.encode(), b"-", b"-", pause=0.2)
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_connection_without_a_request_is_closed(server: Running):
    start = time.monotonic()
    assert raw(server) == b""
    assert raw(server, b"GET / HTTP/1.1\r\n", b"X-Slow: 1\r\n", pause=0.3) == b""
    assert time.monotonic() - start < 25


def test_ten_thousand_tiny_files_are_refused(server: Running):
    answer = server.predict([(f"{i}.jpg", b"x") for i in range(10_000)])
    assert answer.status == 413
    few = server.predict([(f"{i}.jpg", b"x") for i in range(33)])
    assert (few.status, few.json()["error"]["code"]) == (413, "too_many_files")


def test_compressed_bodies_are_refused(server: Running):
    headers = {"Content-Type": "image/jpeg", "Content-Encoding": "gzip"}
    assert server.request("POST", "/v1/predictions", zlib.compress(LESION), headers).status == 415


def test_a_decompression_bomb_is_a_row(server: Running):
    side = int(MAX_PIXELS**0.5) + 100
    bomb = bytearray(encode(np.zeros((8, 8, 3), np.uint8), "PNG"))
    bomb[16:24] = struct.pack(">II", side, side)
    bomb[29:33] = struct.pack(">I", zlib.crc32(bomb[12:29]))
    rows = server.predict([("bomb.png", bytes(bomb)), ("a.jpg", LESION)]).json()["predictions"]
    assert [row["status"] for row in rows] == ["too_large", "ok"]


def test_an_image_that_needs_too_much_memory_is_a_row(tiny_bundle: Path):
    """Sixty million pixels are allowed, and do not fit in the memory that one image may take here."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("this platform has no limit of address space")
    bomb = encode(np.zeros((7700, 7700, 3), np.uint8), "PNG", compress_level=1)
    with running(tiny_bundle, limits=DecodeLimits(memory=160 * 1024**2), workers=1) as server:
        rows = server.predict([("large.png", bomb), ("a.jpg", LESION)]).json()["predictions"]
        assert [row["status"] for row in rows] == ["too_large", "ok"]


def test_a_client_that_hangs_up_costs_nothing(server: Running, monkeypatch: pytest.MonkeyPatch):
    sizes = slow(server, monkeypatch, 0.6)
    body = multipart([(f"{i}.jpg", LESION) for i in range(3)])
    head = f"POST /v1/predictions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n{KIND}\r\n"
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(server.predict, [("first.jpg", LESION)])
        assert wait(lambda: sizes)
        for _ in range(6):
            with socket.create_connection((server.host, server.port)) as connection:
                connection.sendall(head.encode() + body)
                time.sleep(0.05)
        assert first.result().status == 200
    server.predict([("last.jpg", LESION)])
    assert sum(sizes) <= 2 + 3  # the images of five or six of those who hung up were never computed


def test_a_full_queue_is_a_503_that_says_when_to_come_back(server: Running, monkeypatch: pytest.MonkeyPatch):
    slow(server, monkeypatch, 0.5)
    files = [(f"{i}.jpg", LESION) for i in range(20)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: server.predict(files), range(4)))
    assert sorted({answer.status for answer in answers}) == [200, 503]
    refused = next(answer for answer in answers if answer.status == 503)
    assert refused.json()["error"]["code"] == "busy"
    assert 1 <= int(refused.headers["retry-after"]) <= 60


def test_what_takes_too_long_is_a_504(server: Running, monkeypatch: pytest.MonkeyPatch):
    slow(server, monkeypatch, 4)
    answer = server.predict([("a.jpg", LESION)])
    assert (answer.status, answer.json()["error"]["code"]) == (504, "timeout")


def test_a_failing_network_is_a_500_without_names(
    server: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    assert server.service is not None

    def fail(_batch: Any) -> Any:
        raise RuntimeError("secret-name.jpg")

    logger = logging.getLogger(
        "skinclf"
    )  # a command that ran in this process has given it handlers of its own
    logger.addHandler(caplog.handler)
    logger.setLevel(logging.INFO)
    monkeypatch.setattr(server.service.predictor.scorer, "score", fail)
    answer = server.predict([("secret-name.jpg", LESION)])
    assert (answer.status, answer.json()["error"]["code"]) == (500, "failed")
    assert "secret" not in caplog.text
    assert "RuntimeError" in caplog.text


def test_too_many_uploads_at_once_are_refused(server: Running):
    head = f"POST /v1/predictions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999\r\n{KIND}\r\n"
    open_ = [socket.create_connection((server.host, server.port)) for _ in range(12)]
    try:
        for connection in open_:
            connection.sendall(head.encode() + b"-")
        answers = []
        for connection in open_:
            connection.settimeout(20)
            answers.append(connection.recv(200).split(b" ")[1])
    finally:
        for connection in open_:
            connection.close()
    assert set(answers) == {b"503", b"408"}


def test_a_token_is_needed_where_there_is_one(tiny_bundle: Path):
    with running(tiny_bundle, token=TOKEN, processes=False, metrics=True) as server:
        for path in ("/", "/healthz", "/readyz", "/openapi.json"):
            assert server.get(path).status == 200
        for wrong in ({}, {"Authorization": f"Bearer {TOKEN}x"}, {"Authorization": f"Basic {TOKEN}"},
                      {"Authorization": "Bearer ä"}):  # fmt: skip
            answer = server.predict([("a.jpg", LESION)], headers=wrong)
            assert (answer.status, answer.json()["error"]["code"]) == (401, "token_needed")
            assert answer.headers["www-authenticate"] == "Bearer"
            assert server.get("/metrics", **wrong).status == 401
        right = {"Authorization": f"Bearer {TOKEN}"}
        assert server.predict([("a.jpg", LESION)], headers=right).status == 200


def test_pictures_of_many_sizes_do_not_write_to_disk(tmp_path: Path, tiny_bundle: Path, monkeypatch: Any):
    """Starlette would spool files above 1 MiB; here even the function that would is never called."""
    import tempfile

    monkeypatch.setattr(tempfile, "_get_candidate_names", lambda: pytest.fail("a temporary file was made"))
    random = np.random.default_rng(0).integers(0, 255, (1200, 1200, 3), np.uint8)
    large = encode(random, "PNG")
    assert len(large) > 4_000_000
    with running(tiny_bundle, processes=False) as server:
        rows = server.predict([("large.png", large), ("a.jpg", LESION)]).json()["predictions"]
    assert [row["status"] for row in rows] == ["ok", "ok"]
