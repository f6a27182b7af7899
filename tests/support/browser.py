"""A real browser and a real server: the system's Chromium by Playwright, and `skinclf serve` in a process of its own."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from skinclf.images.preprocess import scaling
from skinclf.images.synthetic import synthetic_lesion
from skinclf.labels import HAM10000
from support.bundles import make_bundle
from support.pictures import encode

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_SECONDS = 60


def _path() -> str:
    """The browser's program; skips the test where there is none."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no browser on PATH: looked for {', '.join(NAMES)}")
    return path


# One for each module: while it is open, asyncio takes this thread for one that runs an event loop.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window; tests that ask for it are skipped where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra `dev`)")
    path = _path()
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@dataclass
class Watched:
    """A page with what it wrote to the console and what it asked of anything but its server."""

    page: Any
    console: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)

    def watch(self, server: str) -> None:
        """Record from now on."""
        self.page.on("console", lambda message: self.console.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.console.append(f"error: {error}"))
        self.page.on("request", lambda request: self._request(request.method, request.url, server))

    def _request(self, method: str, url: str, server: str) -> None:
        self.sent.append(f"{method} {url.removeprefix(server)}")
        if not url.startswith((server, f"blob:{server}", "data:")):
            self.foreign.append(url)


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Watched]]:
    """Opens an address; at the end the console must be clean and every request must have gone to the server."""
    contexts, pages = [], list[tuple[Watched, bool]]()

    def opened(server: str, *, refusals: bool = False, path: str = "/", **options: Any) -> Watched:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
        context.set_default_timeout(20_000)
        contexts.append(context)
        watched = Watched(context.new_page())
        watched.watch(server)
        pages.append((watched, refusals))
        watched.page.goto(server + path)
        return watched

    yield opened
    for watched, refusals in pages:
        # Chromium itself writes a line for every answer that is an error.
        lines = [line for line in watched.console if not (refusals and "Failed to load resource" in line)]
        assert lines == []
        assert watched.foreign == []
    for context in contexts:
        context.close()


@dataclass(frozen=True)
class Served:
    """A running server, the bundle behind it, and twelve images of which two are broken.

    The images stand in natural order: that of the command line, and of the page.
    """

    address: str
    model: Path
    images: Path

    @property
    def files(self) -> list[Path]:
        """The twelve files in natural order."""
        return [self.images / name for name in (*(f"lesion-{i}.jpg" for i in range(1, 11)), *BROKEN)]


#: Names that a CSV has to quote, and contents that are no image.
BROKEN = {"notes, of a visit.jpg": b"hello", "null.png": b""}


def _point(threshold: float, sensitivity: float, specificity: float) -> dict[str, Any]:
    """An operating point with all its evidence, made up."""
    values = {"sensitivity": sensitivity, "specificity": specificity}
    intervals = {k: {"value": v, "low": v - 0.04, "high": v + 0.03} for k, v in values.items()}
    tp, tn = round(100 * sensitivity), round(400 * specificity)
    counts = {
        "tp": tp,
        "fn": 100 - tp,
        "tn": tn,
        "fp": 400 - tn,
        "n": 500,
        "positives": 100,
        "negatives": 400,
    }
    evidence = {"grade": "empirical", "criterion": "sensitivity", "target": sensitivity, "unit": "image"}
    return {
        "threshold": threshold,
        **values,
        **counts,
        **evidence,
        "intervals": {"method": "exact", **intervals},
    }


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server for all tests of the page: a random network with five operating points. Read only."""
    _path()
    folder = tmp_path_factory.mktemp("page")
    model, images = folder / "page-model", folder / "images"
    points = {f"point-{i}": _point(0.1 + 0.2 * i, 0.99 - 0.1 * i, 0.5 + 0.1 * i) for i in range(5)}
    make_bundle(
        model,
        HAM10000,
        scaling("torch", height=64, width=64),
        operating_points=points,
        default_operating_point="point-1",
    )
    images.mkdir()
    for i in range(1, 11):
        data = encode(synthetic_lesion(i, width=160, height=120), quality=90)
        (images / f"lesion-{i}.jpg").write_bytes(data)
    for name, data in BROKEN.items():
        (images / name).write_bytes(data)
    with serving("--model", str(model), folder=folder) as address:
        yield Served(address, model, images)


@contextmanager
def serving(*arguments: str, folder: Path) -> Iterator[str]:
    """`skinclf serve` with these arguments on a free port; yields its address once it is ready.

    What it writes goes into a file in `folder`.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "skinclf", "serve", "--port", str(port), *arguments]
    log = folder / f"serve-{port}.log"
    with log.open("wb") as file, subprocess.Popen(command, stdout=file, stderr=file, cwd=folder) as process:
        address = f"http://127.0.0.1:{port}"
        try:
            _wait(address, process, log)
            yield address
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{address}/readyz", timeout=2) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    pytest.fail(f"the server did not become ready: {log.read_text(errors='replace')[-2000:]}")
