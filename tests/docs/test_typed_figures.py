"""Figures in README and docs come from files: none is typed beside the blocks that are made from them.

A figure is a measured number: a rate, a time, a size, a share, a difference between decimals. Numbers that are settings,
limits of the code or of a format, or of the literature are listed below, each where it stands.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_MADE = re.compile(r"<!-- (?:\w+: )?made by docs/generate\.py(?:: [\w ]+)? -->\n.*?<!-- end -->", re.DOTALL)
_CODE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r"`[^`\n]*`|\]\([^)\n]*\)")
_NUMBER = r"(?<![\w.,-])[+-]?\d[\d,]*(?:\.\d+)?"
_UNIT = r"(?:images/s|images a second|ms|milliseconds|seconds|minutes|hours|kB|KB|MB|MiB|GB|GiB|%|times)"
_FIGURE = re.compile(rf"{_NUMBER} ?{_UNIT}(?![\w/])|(?<![\w.,-])0\.\d{{3,}}(?!\w)")


def documents():
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [path for path in found if "reference" not in path.parts]


def figures(path):
    """Figures that stand outside of generated blocks and of code."""
    text = path.read_text(encoding="utf-8")
    for pattern in (_MADE, _CODE, _INLINE):
        text = pattern.sub(" ", text)
    return [" ".join(match[0].split()) for match in _FIGURE.finditer(text)]


#: By document: settings, limits of the code, shares of a definition, confidence levels, arithmetic. No measurement.
ALLOWED = {
    "docs/coming-from/dermalyze.md": {"0.1167"},  # 0.1 of label smoothing in the other convention
    "docs/dicom.md": {"256 MiB"},
    "docs/explain.md": {"1 %", "50 %", "80 %", "95 %"},
    "docs/explanation/numbers.md": {"95 %", "90 %"},
    "docs/gate.md": {"0.012", "2 %"},  # limits of the fit
    "docs/metrics.md": {"92 %", "95 %"},  # an example of wording
    "docs/serve.md": {"5 ms", "2 GiB", "30 seconds"},  # defaults
    "docs/speed.md": {
        "1 %",
        "95 %",
        "98 %",
        "96 MB",
        "8 MB",
        "600 MiB",
        "1 GB",
    },  # 6000 x 4000 x 4 bytes; limits
    "docs/training.md": {"95 %"},
    "docs/weights.md": {"16 times", "16 MiB", "1 GiB"},  # limits of archives
}


def test_no_figure_is_typed():
    typed = {
        path.relative_to(ROOT).as_posix(): sorted(
            set(figures(path)) - ALLOWED.get(path.relative_to(ROOT).as_posix(), set())
        )
        for path in documents()
    }
    assert {name: found for name, found in typed.items() if found} == {}, (
        "let a benchmark or a card give the figure: docs/generator, or say in ALLOWED why it is no measurement"
    )


def test_the_list_of_exceptions_is_of_now():
    for name, allowed in ALLOWED.items():
        assert allowed <= set(figures(ROOT / name)), f"{name}: not in the text any more"


@pytest.mark.parametrize(
    "text", ["17.6 images/s", "2.4 seconds", "1,019 MB", "an AUC of 0.933", "13.9 %", "0.0012", "8.2 times"]
)
def test_a_typed_figure_is_found(tmp_path, text):
    page = tmp_path / "page.md"
    page.write_text(f"It takes {text}, and `0.933` in code is none.\n```\n5 ms\n```\n")
    assert figures(page) == [text.removeprefix("an AUC of ")]
    page.write_text(f"<!-- made by docs/generate.py: scale -->\n{text}\n<!-- end -->\n")
    assert figures(page) == []
