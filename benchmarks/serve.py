"""The server: throughput at 32 clients beside `predict` and a plain loop, latency of one request, memory over many.

`python benchmarks/serve.py throughput latency memory` (any of them). Not a test: it asserts nothing but that every
answer has the row of its own image. Ratios are within one run; the machine is printed.
"""

from __future__ import annotations

import http.client
import io
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import click
from common import machine, make_images, markdown

CLIENTS = 32
Ask = Callable[[bytes], dict[str, Any]]


class Client(threading.local):
    """One kept connection for each thread."""

    connection: http.client.HTTPConnection | None = None

    def ask(self, port: int, content: bytes) -> dict[str, Any]:
        if self.connection is None:
            self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self.connection.request("POST", "/v1/predictions", content, {"Content-Type": "image/jpeg"})
        answer = self.connection.getresponse()
        body = json.loads(answer.read())
        assert answer.status == 200, body
        row: dict[str, Any] = body["predictions"][0]
        return row


@contextmanager
def serving(*options: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "skinclf", "-q", "serve", "--port", "0", "--max-queue", "1024", *options]
    child = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        yield int(child.stdout.readline().decode().rstrip("/\n").rpartition(":")[2]), child
    finally:
        child.terminate()
        child.wait(60)


@contextmanager
def plain_loop() -> Iterator[int]:
    """What one would write in an hour: a thread for each request, a lock around `Predictor.predict`."""
    from skinclf import Predictor

    predictor, lock = Predictor(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                row = predictor.predict(content).to_dict()
            body = json.dumps({"predictions": [row]}, default=dict).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 128

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


def rate(port: int, contents: Sequence[bytes], expected: Sequence[float] | None = None) -> float:
    """Images a second of `CLIENTS` clients; every answer is compared with what its image must get."""
    client = Client()
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(lambda content: client.ask(port, content), contents[: 2 * CLIENTS]))
        start = time.perf_counter()
        rows = list(pool.map(lambda content: client.ask(port, content), contents))
        seconds = time.perf_counter() - start
    if expected is not None:
        assert [row["probability_malignant"] for row in rows] == list(expected)
    return len(contents) / seconds


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(["throughput", "latency", "memory"]))
@click.option("--count", default=512, show_default=True, help="Images for throughput.")
@click.option("--requests", default=20_000, show_default=True, help="Requests for memory.")
@click.option("--repeat", default=3, show_default=True)
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/bench"), show_default=True)
def bench(parts: tuple[str, ...], count: int, requests: int, repeat: int, work: Path) -> None:
    """Benchmarks of `skinclf serve`."""
    click.echo(f"{json.dumps(machine())}\n")
    files = make_images(work / "images", count)
    for part in parts or ("throughput", "latency", "memory"):
        {"throughput": throughput, "latency": latency}[part](files, repeat) if part != "memory" else memory(
            files, requests
        )


def throughput(files: Sequence[Path], repeat: int) -> None:
    from skinclf import Predictor, write_predictions

    predictor = Predictor()
    contents = [path.read_bytes() for path in files]
    expected = [float(str(p.probability_malignant)) for p in _float32(predictor, files)]
    rates: dict[str, list[float]] = {"predict": [], "serve": [], "plain loop": []}
    with serving() as (port, _), plain_loop() as plain:
        for _ in range(repeat):
            with tempfile.TemporaryDirectory() as folder:
                start = time.perf_counter()
                write_predictions(predictor, files, Path(folder) / "out.csv")
                rates["predict"].append(len(files) / (time.perf_counter() - start))
            rates["serve"].append(rate(port, contents, expected))
            rates["plain loop"].append(rate(plain, contents))
    base = statistics.median(rates["predict"])
    rows = [
        [way, f"{statistics.median(found):.1f}", f"{statistics.median(found) / base:.2f}"]
        for way, found in rates.items()
    ]
    click.echo(markdown(["way", "images/s", "of predict"], rows) + "\n")


def _float32(predictor: Any, files: Sequence[Path]) -> list[Any]:
    """Rows with their numbers as tables write them."""
    from types import SimpleNamespace

    from skinclf.inference.schema import number

    return [
        SimpleNamespace(probability_malignant=number(p.probability_malignant))
        for p in predictor.stream(files)
    ]


def latency(files: Sequence[Path], repeat: int) -> None:
    from skinclf import Predictor

    contents = [path.read_bytes() for path in files[:50]]
    predictor, client = Predictor(), Client()
    ways: dict[str, list[float]] = {"Predictor.predict": [], "serve": []}
    with serving() as (port, _):
        asks: dict[str, Callable[[bytes], Any]] = {
            "Predictor.predict": predictor.predict,
            "serve": lambda content: client.ask(port, content),
        }
        for ask in asks.values():
            ask(contents[0])
        for _ in range(repeat):
            for content in contents:
                for way, ask in asks.items():
                    start = time.perf_counter()
                    ask(content)
                    ways[way].append(1000 * (time.perf_counter() - start))
    rows = [[way, f"{statistics.median(found):.1f}"] for way, found in ways.items()]
    click.echo(markdown(["one image at a time", "median ms"], rows) + "\n")


def memory(files: Sequence[Path], requests: int) -> None:
    import psutil

    from skinclf import Predictor

    # Small pictures, so that the requests and not the decoding are most of the work.
    contents = []
    from PIL import Image

    for path in files[:64]:
        buffer = io.BytesIO()
        Image.open(path).resize((120, 90)).save(buffer, "JPEG")
        contents.append(buffer.getvalue())
    expected = [float(p.probability_malignant) for p in _float32(Predictor(), contents)]
    client, rows, done = Client(), [], 0
    with serving() as (port, child):
        process = psutil.Process(child.pid)

        def ask(number: int) -> None:
            row = client.ask(port, contents[number % len(contents)])
            assert row["probability_malignant"] == expected[number % len(contents)]

        with ThreadPoolExecutor(CLIENTS) as pool:
            for share in (0.02, 0.25, 0.5, 0.75, 1.0):
                until = round(share * requests)
                list(pool.map(ask, range(done, until)))
                done = until
                size = sum(p.memory_info().rss for p in [process, *process.children(recursive=True)])
                rows.append([f"{done:,}", f"{size / 2**20:.0f}"])
    click.echo(markdown(["requests, each with its own row", "MiB of all processes"], rows) + "\n")


if __name__ == "__main__":
    bench()
