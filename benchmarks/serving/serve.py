"""The server beside `predict` and other servers: throughput at 32 clients, latency of one request, memory over many.

`python -m benchmarks.serving.serve throughput latency memory --json serve.json` (any of the three). Not a test: it
asserts nothing but that every answer has the row of its own image. Ratios are within one run; the machine is printed.
"""

from __future__ import annotations

import http.client
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import psutil
from PIL import Image

from benchmarks.common import machine, make_images, markdown
from benchmarks.results import json_option, report, write
from benchmarks.serving.client import Client, encoded
from skinclf import Predictor, write_predictions
from skinclf.errors import ImageError
from skinclf.inference.schema import number

CLIENTS = 32
GATES = ("refuse", "off")
#: Other servers: command and the package that it needs.
OTHERS = {
    "http.server": (["benchmarks.serving.contenders", "http.server"], "http"),
    "FastAPI": (["benchmarks.serving.contenders", "FastAPI"], "fastapi"),
    "LitServe": (["benchmarks.serving.litserve_server"], "litserve"),
}
Rows = list[dict[str, Any]]


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as opened:
        port: int = opened.getsockname()[1]
        return port


@contextmanager
def serving(way: str, gate: str, image: Path) -> Iterator[tuple[int, psutil.Process]]:
    """A server in a process of its own, once it answers."""
    port = free_port()
    if way == "serve":
        command = ["-m", "skinclf", "-q", "serve", "--port", str(port), "--max-queue", "1024", "--gate", gate]
    else:
        module, *arguments = OTHERS[way][0]
        command = ["-m", module, *arguments, str(port)]
    child = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL)
    process = psutil.Process(child.pid)
    try:
        content, kind = body(way, image.read_bytes())
        until = time.monotonic() + 120
        while True:
            try:
                Client().ask(port, content, kind)
                break
            except (OSError, http.client.HTTPException):
                assert child.poll() is None, f"{way} has ended"
                assert time.monotonic() < until, f"{way} does not answer"
                time.sleep(0.2)
        yield port, process
    finally:
        left = processes(process) if child.poll() is None else []
        for each in left[:1] if way == "serve" else left:  # LitServe leaves its own children behind
            each.terminate()
        for each in psutil.wait_procs(left, 30)[1]:
            each.kill()


def body(way: str, content: bytes) -> tuple[bytes, str]:
    """An image as a way takes it, and its content type."""
    return (encoded(content), "application/json") if way == "LitServe" else (content, "image/jpeg")


def load(
    way: str,
    port: int,
    images: Sequence[Path],
    expected: Sequence[float | None],
    requests: int,
    first: int = 0,
) -> dict[str, float]:
    """Send requests from another process; wall-clock seconds, and the clients' own processor seconds."""
    job = {
        "port": port,
        "images": [str(path) for path in images],
        "expected": list(expected),
        "requests": requests,
        "first": first,
        "clients": CLIENTS,
        "base64": way == "LitServe",
    }
    command = [sys.executable, "-m", "benchmarks.serving.client"]
    done = subprocess.run(command, input=json.dumps(job), stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def processes(root: psutil.Process) -> list[psutil.Process]:
    """A process and all that it started."""
    return [root, *root.children(recursive=True)]


def cpu(root: psutil.Process) -> float:
    """Processor seconds of all processes of a server."""
    times = [process.cpu_times() for process in processes(root)]
    return sum(t.user + t.system for t in times)


def expected_of(predictor: Predictor, images: Sequence[Path]) -> list[float | None]:
    """Probability of each image as tables write it; None where the gate refuses."""
    values = [p.probability_malignant if p.ok else None for p in predictor.stream(images)]
    return [None if value is None else float(number(value)) for value in values]


def others() -> list[str]:
    """The other servers that are installed; a sentence for each that is not."""
    found = []
    for way, (_, package) in OTHERS.items():
        if find_spec(package) is None:
            click.echo(f"{way} is left out: the package {package} is not installed.\n")
        else:
            found.append(way)
    return found


def throughput(files: Sequence[Path], repeat: int, ways: Sequence[str]) -> Rows:
    """Images a second, and processor milliseconds of an image, of `predict` and of each server with the same gate."""
    predictors = {gate: Predictor(gate=gate) for gate in GATES}
    expected = {gate: expected_of(predictors[gate], files) for gate in GATES}
    kinds = [(way, gate) for gate in GATES for way in ("predict", "serve")] + [(way, "off") for way in ways]
    found: dict[tuple[str, str], Rows] = {kind: [] for kind in kinds}
    for _ in range(repeat):
        for way, gate in kinds:
            run = _predict if way == "predict" else _served
            found[way, gate].append(run(way, gate, files, predictors[gate], expected[gate]))
    rows: Rows = []
    for (way, gate), runs in found.items():
        middle = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        base = statistics.median(run["images_per_s"] for run in found["predict", gate])
        rows.append({"way": way, "gate": gate, **middle, "of_predict": middle["images_per_s"] / base})
    heads = ["way", "gate", "images/s", "of predict", "CPU ms/image", "CPU ms/image of the clients"]
    cells = [
        [
            row["way"],
            row["gate"],
            f"{row['images_per_s']:.1f}",
            f"{row['of_predict']:.2f}",
            f"{row['cpu_ms']:.1f}",
            f"{row['client_cpu_ms']:.1f}",
        ]
        for row in rows
    ]
    click.echo(f"{len(files)} images, {CLIENTS} clients\n\n{markdown(heads, cells)}\n")
    return rows


def _predict(
    _way: str, _gate: str, files: Sequence[Path], predictor: Predictor, _expected: Any
) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        start, used = time.perf_counter(), time.process_time()
        write_predictions(predictor, files, Path(folder) / "out.csv")
        seconds, used = time.perf_counter() - start, time.process_time() - used
    count = len(files)
    return {"images_per_s": count / seconds, "cpu_ms": 1000 * used / count, "client_cpu_ms": 0.0}


def _served(
    way: str, gate: str, files: Sequence[Path], _predictor: Predictor, expected: Sequence[float | None]
) -> dict[str, float]:
    count = len(files)
    with serving(way, gate, files[0]) as (port, process):
        load(way, port, files, expected, 2 * CLIENTS)
        used = cpu(process)
        done = load(way, port, files, expected, count)
        used = cpu(process) - used
    return {
        "images_per_s": count / done["seconds"],
        "cpu_ms": 1000 * used / count,
        "client_cpu_ms": 1000 * done["cpu"] / count,
    }


def latency(files: Sequence[Path], repeat: int, ways: Sequence[str]) -> Rows:
    """Milliseconds of one image at a time, of `Predictor.predict` and of each server with the same gate."""
    contents = [path.read_bytes() for path in files[:50]]
    rows: Rows = []
    for gate in GATES:
        predictor = Predictor(gate=gate)
        for way in ("serve", *(ways if gate == "off" else ())):
            with serving(way, gate, files[0]) as (port, _):
                client = Client()
                asked = [body(way, content) for content in contents]
                asks: dict[str, Callable[[int], Any]] = {
                    "Predictor.predict": lambda i, p=predictor: _alone(p, contents[i]),
                    way: lambda i, c=client, a=asked, p=port: c.ask(p, *a[i]),
                }
                taken: dict[str, list[float]] = {name: [] for name in asks}
                for _ in range(repeat):
                    for i in range(len(contents)):
                        for name, ask in asks.items():
                            start = time.perf_counter()
                            ask(i)
                            taken[name].append(1000 * (time.perf_counter() - start))
                alone, served = (statistics.median(taken[name]) for name in asks)
                rows.append({"way": way, "gate": gate, "predict_ms": alone, "median_ms": served})
    heads = ["one image at a time", "gate", "Predictor.predict, median ms", "median ms", "difference"]
    cells = [
        [
            row["way"],
            row["gate"],
            f"{row['predict_ms']:.1f}",
            f"{row['median_ms']:.1f}",
            f"{row['median_ms'] - row['predict_ms']:.1f}",
        ]
        for row in rows
    ]
    click.echo(markdown(heads, cells) + "\n")
    return rows


def _alone(predictor: Predictor, content: bytes) -> None:
    try:
        predictor.predict(content)
    except ImageError:  # the gate refuses it, which takes as long
        return


def memory(files: Sequence[Path], requests: int, work: Path) -> Rows:
    """Memory of all processes of the server over many requests, each checked for the row of its own image."""
    # Small pictures and no gate, so that the requests and not the pictures are most of the work.
    small = []
    (work / "small").mkdir(parents=True, exist_ok=True)
    for path in files[:64]:
        small.append(work / "small" / path.name)
        if not small[-1].exists():
            Image.open(path).resize((120, 90)).save(small[-1], "JPEG")
    expected = expected_of(Predictor(gate="off"), small)
    rows: Rows = []
    done, start = 0, time.perf_counter()
    with serving("serve", "off", small[0]) as (port, process):
        for share in (0.02, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0):
            until = round(share * requests)
            load("serve", port, small, expected, until - done, done)
            done = until
            size = sum(p.memory_info().rss for p in processes(process)) / 2**20
            rows.append({"requests": done, "mib": size, "seconds": time.perf_counter() - start})
    cells = [[f"{row['requests']:,}", f"{row['mib']:.0f}", f"{row['seconds']:.0f}"] for row in rows]
    click.echo(
        markdown(["requests, each with its own row", "MiB of all processes", "seconds so far"], cells) + "\n"
    )
    return rows


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(["throughput", "latency", "memory"]))
@click.option("--count", default=512, show_default=True, help="Images for throughput.")
@click.option("--requests", default=20_000, show_default=True, help="Requests for memory.")
@click.option("--repeat", default=3, show_default=True, help="Repetitions of throughput and latency.")
@json_option
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/bench"), show_default=True)
def bench(
    parts: tuple[str, ...], count: int, requests: int, repeat: int, output: Path | None, work: Path
) -> None:
    """Benchmarks of `skinclf serve`."""
    results: dict[str, Any] = {}
    click.echo(f"{json.dumps(machine())}\n")
    files = make_images(work / "images", count)
    parts = parts or ("throughput", "latency", "memory")
    ways = others() if {"throughput", "latency"} & set(parts) else []
    for part in parts:
        if part == "memory":
            results[part] = memory(files, requests, work)
        else:
            results[part] = {"throughput": throughput, "latency": latency}[part](files, repeat, ways)
    write(output, report(results))


if __name__ == "__main__":
    bench()
