"""The site: it builds without a warning, works from disk, and asks no other computer for anything."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

pytest.importorskip("sphinx", reason="the site is built by Sphinx (extra `dev`)")
pytest.importorskip("myst_parser", reason="its pages are read by MyST (extra `dev`)")
pytest.importorskip("pydata_sphinx_theme", reason="its theme is pydata-sphinx-theme (extra `dev`)")

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-j", "2", "-b", "html"]
    done = subprocess.run(
        [*command, "-d", str(folder / "doctrees"), str(ROOT / "docs"), str(folder / "html")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    assert done.returncode == 0, done.stderr
    return folder / "html"


class Page(HTMLParser):
    """What a page refers to, and which places it has."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.ids: set[str] = set()
        self.images: list[dict[str, str | None]] = []
        self.lang: str | None = None
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect."""
        values = dict(attrs)
        self.ids |= {v for v in (values.get("id"), values.get("name") if tag == "a" else None) if v}
        if tag == "a" and values.get("href"):
            self.links.append(str(values["href"]))
        if tag in {"script", "img", "iframe", "source"} and values.get("src"):
            self.loads.append(str(values["src"]))
        if tag == "link" and values.get("href"):
            self.loads.append(str(values["href"]))
        if tag == "img":
            self.images.append(values)
        if tag == "html":
            self.lang = values.get("lang")


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    # Templates of the theme lie among its static files.
    return {path: Page(path) for path in site.rglob("*.html") if "_static" not in path.parts}


def test_no_page_loads_anything_from_elsewhere(pages: dict[Path, Page]) -> None:
    foreign = {
        (path.name, address)
        for path, page in pages.items()
        for address in page.loads
        if urlsplit(address).netloc
    }
    assert foreign == set()


def test_no_stylesheet_loads_anything_from_elsewhere(site: Path) -> None:
    for path in site.rglob("*.css"):
        text = path.read_text(encoding="utf-8", errors="ignore")
        assert "url(http" not in text.replace('url("http', "url(http"), path
        assert "@import" not in text or "//" not in text.partition("@import")[2].partition(";")[0], path


def test_every_internal_link_leads_somewhere(site: Path, pages: dict[Path, Page]) -> None:
    broken = []
    for path, page in pages.items():
        for address in (*page.links, *page.loads):
            parts = urlsplit(address)
            if parts.scheme or parts.netloc or path.name in {"search.html", "genindex.html"}:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file() or (
                parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].ids
            ):
                broken.append((path.relative_to(site).as_posix(), address))
    assert broken == []


def test_pictures_have_a_text_and_pages_a_language(pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        assert page.lang == "en", path.name
        for image in page.images:
            assert image.get("alt"), (path.name, image)
            assert image["alt"] != image.get("src"), (path.name, image)


def test_programs_find_every_page(site: Path) -> None:
    listed = set(re.findall(r"\((.+)\.html\)", (site / "llms.txt").read_text(encoding="utf-8")))
    made = {path.relative_to(site).with_suffix("").as_posix() for path in site.rglob("*.html")}
    assert listed == {
        name for name in made if not name.startswith(("_", "genindex", "search", "py-modindex"))
    }


def test_options_in_sentences_keep_their_hyphens(site: Path) -> None:
    text = (site / "reference" / "cli" / "predict.html").read_text(encoding="utf-8")
    assert "by the ending of --output;" in text


def test_no_page_names_the_machine(site: Path) -> None:
    for path in site.rglob("*.html"):
        assert str(ROOT) not in path.read_text(encoding="utf-8"), path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="a browser is driven by playwright (extra `dev`)"
    )
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium is installed")
    with sync_api.sync_playwright() as play:
        made = play.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_pages_open_from_disk(site: Path, browser: Any, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    asked: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    for name in (
        "index",
        "tutorial/index",
        "howto/threshold",
        "coming-from/devatreya",
        "speed",
        "project/card-ham10000-mobilenetv2",
        "reference/cli/predict",
        "reference/api/skinclf.decisions",
        "reference/columns",
        "metrics",
    ):
        page.goto((site / f"{name}.html").as_uri())
        wide, shown = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert wide <= shown, name
        assert page.locator("h1").first.is_visible()
        assert "never a diagnosis" in page.locator(".bd-header-announcement").inner_text()
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert errors == []
    page.close()


def test_search_finds_a_word_offline(site: Path, browser: Any) -> None:
    page = browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((site / "search.html").as_uri() + "?q=specificity")
    page.wait_for_selector("#search-results li a", timeout=20_000)
    found = page.locator("#search-results li a").all_inner_texts()
    assert len(found) >= 3
    page.goto((site / "search.html").as_uri() + "?q=xylophone")
    page.wait_for_function(
        "document.querySelector('#search-results .search-summary')?.innerText.includes('did not')"
    )
    assert page.locator("#search-results li a").count() == 0
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    page.close()
