"""Measured figures in README and docs/speed.md are those of the results file, which a benchmark wrote."""

from __future__ import annotations

import json
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "docs"), str(ROOT / "benchmarks")]

import compare
from generator import measured

WAY = {"images_per_s": 10.0, "images": 16, "runs": 1}
OURS = {**WAY, "decode": 100.0, "network": 100.0, "limit": 50.0, "runtime": "openvino", "precision": "fp32"}
RESULTS: dict[str, Any] = {
    "command": "benchmarks/run.py plan",
    "machine": {"processor": "A & B", "cores": "2", "openvino": "1.0"},
    "load_before": 0.1,
    "seconds": 400,
    "comparisons": [
        {
            "key": "photographs",
            "network": "MobileNetV2",
            "model": "built-in",
            "width": 6000,
            "height": 4000,
            "megabytes": 1.06,
            "ways": {
                "skinclf": {**OURS, "images_per_s": 48.0},
                "skinclf_full": {**OURS, "images_per_s": 6.0},
                "keras_batch": WAY,
                "pybioclip": {**WAY, "images_per_s": 2.0},
            },
        }
    ],
    "memory": [{"workers": 20, "scaled_decoding": 0, "peak_mb": 801}],
}


def test_documents_and_picture_are_those_of_the_results() -> None:
    assert measured.stale() == [], "run: python docs/generate.py"


def test_every_document_has_its_block() -> None:
    names = {
        path.name: re.findall(r"made by docs/generate\.py: ([\w ]+) -->", path.read_text(encoding="utf-8"))
        for path in measured.DOCUMENTS
    }
    assert names == {"README.md": ["speed in short"], "speed.md": ["speed", "memory"]}


def test_every_way_of_the_benchmark_has_words() -> None:
    assert {*compare.WAYS, *compare.SKINCLF} == measured._WAYS.keys()


def test_ratios_are_computed_from_the_results() -> None:
    text = measured.block("speed in short", RESULTS, ROOT / "README.md")
    row = next(line for line in text.splitlines() if line.startswith("| 6000 x 4000"))
    assert row.endswith("| 48.0 | 10.0 (Keras, batches, OpenCV) | 4.8 | 8.0 | 96% |")
    assert "docs/pictures/speed.svg" in text
    assert "load" not in text
    whole = measured.block("speed", RESULTS, ROOT / "docs" / "speed.md")
    assert "| skinclf | 48.0 | 4.80 | 8.00 | 96% | 100.0 | 100.0 |" in whole
    assert "| as pybioclip reads files | 2.0 | 0.20 | 0.33 |  |  |  |" in whole
    assert "(pictures/speed.svg)" in whole
    assert "| 20 | in full | 801 |" in measured.block("memory", RESULTS, ROOT / "docs" / "speed.md")


def test_a_busy_machine_is_said() -> None:
    assert "load 3.2" in measured.block("speed", {**RESULTS, "load_before": 3.2}, ROOT / "docs" / "speed.md")


def test_changed_results_make_documents_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "speed.json"
    path.write_text(json.dumps(RESULTS))
    monkeypatch.setattr(measured, "RESULTS", path)
    assert measured.stale() == ["README.md", "docs/pictures/speed.svg", "docs/speed.md"]


def test_an_unknown_block_is_refused() -> None:
    with pytest.raises(SystemExit, match="no block is called 'pace'"):
        measured.block("pace", RESULTS, ROOT / "README.md")


def test_the_picture_has_a_bar_for_every_way() -> None:
    tree = ET.fromstring(measured.picture(RESULTS))
    bars = [e for e in tree.iter() if e.tag.endswith("rect") and e.get("fill") != "#ffffff"]
    lengths = [float(bar.get("width", 0)) for bar in bars]
    assert lengths == sorted(lengths, reverse=True)
    assert len(lengths) == 4
    assert lengths[0] / lengths[1] == pytest.approx(4.8, abs=0.01)
