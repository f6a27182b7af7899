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

STAGES = dict.fromkeys(("decode", "decode_lock", "process_lock", "network", "network_lock", "rows"), 0.001)
SETTING = {"workers": 12, "processes": True, "streams": 16}
SCALING = {
    "machine": RESULTS["machine"],
    "scaling": [
        {
            "files": "600 x 450",
            "stages": STAGES,
            "cores": [
                {
                    "cores": 16,
                    "limit": 100.0,
                    "threads": {**SETTING, "images_per_s": 50.0},
                    "first": {**SETTING, "images_per_s": 60.0},
                    "tuned": {**SETTING, "images_per_s": 90.0},
                }
            ],
        }
    ],
}
TRAINING = {
    "machine": RESULTS["machine"],
    "load_before": 0.0,
    "size": 128,
    "batch_size": 32,
    "training": [
        {"way": "plain torch loop", "network": "mobilenetv2_100", "input": 40.0, "train": 20.0},
        {"way": "skinclf", "network": "mobilenetv2_100", "input": 400.0, "train": 30.0},
    ],
}


SERVER = {
    "machine": RESULTS["machine"],
    "throughput": [{"way": "serve", "gate": "off", "images_per_s": 90.0, "of_predict": 0.9, "cpu_ms": 20.0}],
    "latency": [{"way": "serve", "gate": "off", "predict_ms": 20.0, "median_ms": 23.5}],
}
GATE = {
    "images": 512,
    "medians": {"off": {"wall": 10.0, "cpu": 20.0}, "mark": {"wall": 12.0, "cpu": 22.0}},
    "more": {"mark": {"wall": 0.2, "cpu": 0.1}},
}


def test_documents_and_picture_are_those_of_the_results() -> None:
    assert measured.stale() == [], "run: python docs/generate.py"


def test_every_document_has_its_block() -> None:
    names = {
        path.name: re.findall(r"made by docs/generate\.py: ([\w ]+) -->", path.read_text(encoding="utf-8"))
        for path in measured.DOCUMENTS
    }
    assert names == {
        "README.md": ["speed in short"],
        "speed.md": ["speed", "memory", "many cores", "training"],
        "serve.md": ["server", "server memory"],
        "gate.md": ["gate"],
    }


def test_every_way_of_the_benchmark_has_words() -> None:
    assert {*compare.WAYS, *compare.SKINCLF} == measured._WAYS.keys()


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with results of every benchmark."""
    (tmp_path / "speed.json").write_text(json.dumps(RESULTS))
    (tmp_path / "scaling.json").write_text(json.dumps(SCALING))
    (tmp_path / "training.json").write_text(json.dumps(TRAINING))
    (tmp_path / "serve.json").write_text(json.dumps(SERVER))
    (tmp_path / "serve-memory.json").write_text(json.dumps({"memory": [{"requests": 20_000, "mib": 512.2}]}))
    (tmp_path / "gate-cost.json").write_text(json.dumps(GATE))
    monkeypatch.setattr(measured, "RESULTS", tmp_path)
    return tmp_path


@pytest.mark.usefixtures("results")
def test_ratios_are_computed_from_the_results() -> None:
    text = measured.block("speed in short", ROOT / "README.md")
    row = next(line for line in text.splitlines() if line.startswith("| 6000 x 4000"))
    assert row.endswith("| 48.0 | 10.0 (Keras, batches, OpenCV) | 4.8 | 8.0 | 96% |")
    assert "docs/pictures/speed.svg" in text
    assert "load" not in text
    whole = measured.block("speed", ROOT / "docs" / "speed.md")
    assert "| skinclf | 48.0 | 4.80 | 8.00 | 96% | 100.0 | 100.0 |" in whole
    assert "| as pybioclip reads files | 2.0 | 0.20 | 0.33 |  |  |  |" in whole
    assert "(pictures/speed.svg)" in whole
    assert "| 20 | in full | 801 |" in measured.block("memory", ROOT / "docs" / "speed.md")
    assert "| 16 | 100 | 50 (50%) | 60 (60%) | 90 (90%) | 12 processes |" in measured.block(
        "many cores", ROOT / "docs" / "speed.md"
    )
    assert "| skinclf | mobilenetv2_100 | 400 | 30.0 | 15.0 | 1.50 |" in measured.block(
        "training", ROOT / "docs" / "speed.md"
    )
    page = ROOT / "docs" / "serve.md"
    assert "| serve | off | 90.0 | 0.90 | 20.0 |" in measured.block("server", page)
    assert "| serve | off | 20.0 | 23.5 | +3.5 |" in measured.block("server", page)
    assert "| 20,000 | 512 |" in measured.block("server memory", page)
    assert "| `--gate mark` | 12.0 | +20% | 22.0 | +10% |" in measured.block(
        "gate", ROOT / "docs" / "gate.md"
    )


def test_a_busy_machine_is_said(results: Path) -> None:
    (results / "speed.json").write_text(json.dumps({**RESULTS, "load_before": 3.2}))
    assert "load was 3.2" in measured.block("speed", ROOT / "docs" / "speed.md")


@pytest.mark.usefixtures("results")
def test_changed_results_make_documents_stale() -> None:
    assert measured.stale() == [
        "README.md",
        "docs/gate.md",
        "docs/pictures/speed.svg",
        "docs/serve.md",
        "docs/speed.md",
    ]


def test_an_unknown_block_is_refused() -> None:
    with pytest.raises(SystemExit, match="no block is called 'pace'"):
        measured.block("pace", ROOT / "README.md")


def test_the_picture_has_a_bar_for_every_way() -> None:
    tree = ET.fromstring(measured.picture(RESULTS))
    bars = [e for e in tree.iter() if e.tag.endswith("rect") and e.get("fill") != "#ffffff"]
    lengths = [float(bar.get("width", 0)) for bar in bars]
    assert lengths == sorted(lengths, reverse=True)
    assert len(lengths) == 4
    assert lengths[0] / lengths[1] == pytest.approx(4.8, abs=0.01)
