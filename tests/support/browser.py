"""A real browser: the system's Chromium, driven by Playwright, and a real server with images for the page."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
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
    pytest.importorskip("starlette", reason="starlette is not installed (extra `serve`)")
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
    # Here, not above: this module is loaded for every test, also where the extra `serve` is missing.
    from support.server import running

    with running(model, workers=1) as server:
        yield Served(server.url.rstrip("/"), model, images)
