"""Parts of the page that must agree with the package: order and names of files, cells, portions, the notice."""

from __future__ import annotations

import io
import re
from importlib.resources import files

import pytest

from skinclf._utils.natural_order import natural_key
from skinclf._utils.notice import NOTICE
from skinclf.images.formats import ENDINGS, HEIF_ENDINGS
from skinclf.jobs.formats import csv_bytes, read_csv

STATIC = files("skinclf.serve") / "static"
NAMES = [
    "img10.jpg",
    "img2.jpg",
    "IMG3.jpg",
    "img02.jpg",
    "ä1.jpg",
    "a b.jpg",
    "0.jpg",
    "00.jpg",
    "\U0001f600.jpg",
    "\uffee.jpg",
]


@pytest.fixture
def module(served, open_page):
    """Runs a function of one of the page's modules in the browser."""
    page = open_page(served.address).page

    def run(name, script, *arguments):
        return page.evaluate(
            f"async (given) => {{ const m = await import('/static/{name}.js'); return ({script})(m, ...given); }}",
            list(arguments),
        )

    return run


def test_the_static_page_carries_the_notice_without_scripts():
    text = (STATIC / "index.html").read_text(encoding="utf-8")
    body = text[text.index("<body>") + 6 :].strip()
    assert body.startswith('<p id="notice"')
    assert NOTICE in body.splitlines()[0]
    assert not re.search(r"<script(?![^>]* src=)|<style| style=| on\w+=", text)


def test_every_file_is_short_and_asks_for_nothing_foreign():
    found = {path.name: path.read_text(encoding="utf-8") for path in STATIC.iterdir()}
    assert {"index.html", "style.css", "app.js"} <= set(found)
    for name, text in found.items():
        assert len(text.splitlines()) <= 350, name
        addresses = set(re.findall(r"https?://[^\s'\"]+", text))
        assert addresses <= {"http://www.w3.org/2000/svg"}, name
        assert not re.search(r"localStorage|sessionStorage|document\.cookie|innerHTML|eval\(", text), name


def test_natural_order_is_that_of_the_command_line(module):
    script = "(m, names) => names.toSorted(m.byPath)"
    assert module("files", script, NAMES) == sorted(NAMES, key=natural_key)
    tree = ["top/b/1.jpg", "top/a10/x.jpg", "top/z.jpg", "top/a2/y.jpg", "top/a2/b/c.jpg", "top/a.jpg"]
    in_order = ["top/a.jpg", "top/z.jpg", "top/a2/y.jpg", "top/a2/b/c.jpg", "top/a10/x.jpg", "top/b/1.jpg"]
    assert module("files", script, tree) == in_order


def test_endings_are_those_of_the_package(module):
    assert set(module("files", "(m) => [...m.ENDINGS]")) >= ENDINGS | HEIF_ENDINGS


def test_cells_are_quoted_as_the_package_does(module):
    rows = [["image", "p"], ["a,b", '"'], ["line\nfeed", "carriage\rreturn"], ["", " "], ["ü", "\U0001f600"]]
    text = module("decision", "(m, rows) => m.csv(rows)", rows).encode()
    assert text == csv_bytes(rows)
    assert [cells for cells, _, _ in read_csv(io.BytesIO(text))] == rows


def test_decisions_compare_as_float32(module):
    script = "(m, p, value) => m.decided({ probability_malignant: p }, { value }, []).flagged"
    assert module("decision", script, 0.1, 0.10000000149011612) is True  # the float32 nearest to 0.1
    assert module("decision", script, 0.1, 0.10000001) is False
    assert module("decision", script, None, 0.5) is None


def test_with_two_labels_the_class_follows_the_threshold(module):
    labels = [{"name": "Benign", "malignant": False}, {"name": "Malignant", "malignant": True}]
    script = "(m, row, value, labels) => m.decided(row, { value }, labels).name"
    row = {"probability_malignant": 0.4, "predicted_label": 0, "predicted_class": "Benign"}
    assert module("decision", script, row, 0.3, labels) == "Malignant"
    assert module("decision", script, row, 0.5, labels) == "Benign"


def test_portions_fit_the_limits_of_the_server(module):
    script = """(m, sizes, limits) => {
        const entries = sizes.map((size) => ({ name: "x.jpg", file: { size } }));
        const { portions, tooLarge } = m.portions(entries, limits);
        return [portions.map((portion) => portion.map((entry) => entry.file.size)), tooLarge.length];
    }"""
    limits = {"max_files": 64, "max_upload": 1_000_000}
    assert module("upload", script, [10] * 20, limits) == [[[10] * 8, [10] * 8, [10] * 4], 0]
    assert module("upload", script, [600_000, 600_000, 2_000_000], limits) == [[[600_000], [600_000]], 1]
    assert module("upload", script, [10] * 3, limits | {"max_files": 2}) == [[[10, 10], [10]], 0]
    assert module("upload", script, [], limits) == [[], 0]
