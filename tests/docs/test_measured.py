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
sys.path[:0] = [str(ROOT / "docs"), str(ROOT)]

from generator import measured, model_blocks

from benchmarks.speed import compare
from skinclf.images.preprocess import Preprocess

WAY = {"images_per_s": 10.0, "images": 16, "runs": 1}
OURS = {**WAY, "decode": 100.0, "network": 100.0, "limit": 50.0, "runtime": "openvino", "precision": "fp32"}
RESULTS: dict[str, Any] = {
    "command": "-m benchmarks.speed.run plan",
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


ABOUT = {"command": "-m benchmarks.x", "machine": RESULTS["machine"], "load_before": 0.1}
_ENDS = {"median": 0.5, "low": 0.4, "high": 0.6}
_RATIO = {"median": 1.004, "low": 0.99, "high": 1.012}
_ESTIMATE = {"value": 0.898, "low": 0.876, "high": 0.919}


def _moved(largest: float) -> dict[str, Any]:
    """Effect of one divisor of scaled decoding."""
    found = {
        f"{key}_{what}": largest for key in ("most", "control", "malignant") for what in ("mean", "largest")
    }
    return {**found, "by_class": {"mel": largest, "nv": 0.0}, "decisions_changed": 1}


#: Results of the benchmarks that fill one block each.
SINGLE: dict[str, dict[str, Any]] = {
    "precisions.json": {
        "images": 64,
        "networks": {
            "resnet50": {"keras_batch": WAY, "skinclf openvino:bf16": {**OURS, "images_per_s": 40.0}}
        },
    },
    "scale.json": {"scale": [{"inputs": 10_000, "seconds": 80.0, "peak_mb": 156.0}]},
    "resume.json": {
        "resume": {
            "inputs": 4000,
            "rows_at_kill": 2000,
            "uninterrupted": 26.0,
            "until_kill": 13.6,
            "resumed": 13.9,
            "computed_twice": 0,
            "complete_again": 0.5,
            "same_bytes": True,
        }
    },
    "startup.json": {
        "commands": [{"command": "--help", "first": 0.13, "best": 0.1}],
        "first_rows": [{"model": "built-in", "state": "cold", "median": 1.01, "best": 1.0}],
        "predictors": [
            {
                "model": "built-in",
                "state": "warm",
                "import": 0.3,
                "construct": 0.6,
                "first": 0.03,
                "further": 0.022,
                "decode": 0.008,
                "network": 0.012,
            }
        ],
    },
    "scaled-decoding.json": {
        "textures": True,
        "ratio": 2,
        "thresholds": {"m": 0.148},
        "runs": [
            {
                "what": "6000x4000",
                "images": 10,
                "ms": 430.0,
                "divisors": [
                    {"divided_by": by, "kept": kept, "grey": 0.2, "ms": ms, "models": {"m": _moved(largest)}}
                    for by, kept, ms, largest in ((4, 4.17, 62.0, 0.014), (8, 2.08, 36.0, 0.04))
                ],
            }
        ],
    },
    "pipeline.json": {
        "size": 224,
        "batch_size": 32,
        "precision": "bf16",
        "presets": {"batch": 643.0, "heavy": 140.0},
        "networks": {"mobilenetv2_100": 40.0, "resnet50": 13.0},
    },
    "metadata-cost.json": {
        "count": 10_000,
        "images": 2000,
        "pairs": 12,
        "parts": dict.fromkeys(("join", "rows", "both"), _ENDS),
        "share": {"median": 0.005, "low": 0.004, "high": 0.006},
        "whole": {"ratios": dict.fromkeys(("with_cpu", "control_cpu"), _RATIO)},
    },
    "configurations.json": {
        "rows": [
            {
                "name": "plain",
                "network": "vit",
                "steps": 350,
                "losses": [2.0, 1.5],
                "val_macro_auc": 0.62,
                "minutes": 1.0,
            }
        ]
    },
    "folds.json": {
        "images": 8513,
        "folds": 2,
        "epochs": 6,
        "seed": 1,
        "minutes": 100.2,
        "hardware": "two cores",
        "figures": [{"figure": "loss", "all": None, "mean": 0.757, "std": 0.014, "folds": [0.7, 0.8]}],
        "target_sensitivity": 0.9,
        "thresholds": [
            {
                "fold": None,
                "malignant": 1661,
                "threshold": 0.15,
                **dict.fromkeys(
                    ("left_out", "test"), dict.fromkeys(("sensitivity", "specificity"), _ESTIMATE)
                ),
            }
        ],
    },
    "resnet50-distilled.json": {
        "threshold": 0.5,
        "images": 1502,
        "confidence": 0.95,
        "figures": dict.fromkeys(("roc_auc", "pr_auc", "accuracy", "sensitivity", "ppv"), _ESTIMATE),
    },
    "builtin-models.json": {
        "models": [
            {
                "model": "m",
                "images": 1024,
                "runs": 5,
                "images_per_s": {
                    "without": {"median": 81.06, "low": 79.0, "high": 82.0},
                    "with": {"median": 76.0, "low": 75.0, "high": 77.0},
                },
            }
        ]
    },
    "duplicates.json": {
        "limit": 40,
        "images": 3,
        "changed_copies_near": {"half the sides": 0.9871},
        "pairs_of_one_lesion": 20,
        "of_those_near": 9,
        "pairs_of_other_lesions": 1_000_000,
        "of_them_near": 2,
    },
    "preprocessing.json": {
        "model": "m",
        "images": 300,
        "threshold": 0.148,
        "rows": [{"name": "Pillow bicubic", "grey": 0.26, "mean": 0.013, "largest": 0.19, "changed": 5}],
    },
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
        "speed.md": [
            "speed",
            "built in models",
            "precisions",
            "scale",
            "resume",
            "startup",
            "scaled decoding",
            "scaled marks",
            "memory",
            "many cores",
            "training",
        ],
        "serve.md": ["server", "server memory"],
        "gate.md": ["gate", "duplicates"],
        "training.md": ["trained models", "distilled", "folds", "configurations", "pipeline"],
        "metadata.md": ["metadata cost", "metadata gains"],
        "weights.md": ["preprocessing"],
        "aims.md": ["aims"],
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
    for name, content in SINGLE.items():
        (tmp_path / name).write_text(json.dumps({**ABOUT, **content}))
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


@pytest.mark.usefixtures("results")
@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("precisions", "| `skinclf openvino:bf16` | 40.0 | 4.00 | 80% |"),
        ("scale", "| 10,000 | 80.0 | 125.0 | 8.00 | 156 |"),
        ("resume", "| cost of the interruption, seconds | 1.5 |"),
        ("startup", "| built-in, warm | 0.30 | 0.60 | 0.03 | 22.0 | 8.0 | 12.0 | +10% |"),
        (
            "scaled decoding",
            "| 10 of 6000 x 4000, divided by 8 | 2.1 | 0.20 | 0.0400 (0.040) | 0.0400 (0.040) | 0.0400 (0.040) | 1 |",
        ),
        ("scaled decoding", "| `mel` | 0.040 |"),
        ("scaled decoding", "| 2 | 0.0400 (0.040) | 36 |"),
        ("scaled decoding", "| 3 | 0.0140 (0.014) | 62 |"),
        ("scaled decoding", "| 8 | 0.0000 (0.000) | 430 |"),
        (
            "pipeline",
            "The slowest preset, `heavy`, gives pictures 3.5 times as fast as mobilenetv2_100 takes them.",
        ),
        ("metadata cost", "| both, of a run without metadata | 0.5% | 0.4% | 0.6% |"),
        ("configurations", "| `plain` | vit | 350 | 2.000, 1.500 | 0.620 | 1.0 |"),
        ("folds", "| loss |  | 0.757 | 0.014 | 0.700 | 0.800 |"),
        (
            "folds",
            "| all of them | 1,661 | 0.150 |" + " 0.898 (0.876-0.919) |" * 4,
        ),
        ("distilled", "| ROC-AUC | 0.898 (0.876-0.919) | 0.890 |"),
        ("built in models", "| `m` | 1,024 | 81.1 (79.0-82.0) | 76.0 (75.0-77.0) |"),
        ("duplicates", "| the same image, half the sides | 3 | 98.7 % |"),
        ("duplicates", "| another image of the lesion | 20 | 45 % (9) |"),
        ("duplicates", "| an image of another lesion | 1,000,000 | 0.0002 % (2) |"),
        ("preprocessing", "| Pillow bicubic | 0.26 | 0.013 | 0.19 | 5 |"),
    ],
)
def test_each_benchmark_fills_its_block(name: str, row: str) -> None:
    assert row in measured.block(name, ROOT / "docs" / "speed.md").splitlines()


@pytest.mark.parametrize("model", model_blocks.builtin_models())
def test_figures_of_models_are_those_of_cards_and_bundles(model: str) -> None:
    metrics = json.loads((ROOT / "model_cards" / model / "metrics.json").read_text())
    value = metrics["binary"]["roc_auc"]
    config = json.loads((model_blocks.BUILTIN / model / "config.json").read_text())["skinclf"]
    rows = [x for x in measured.block("trained models", ROOT).splitlines() if x.startswith(f"| `{model}`")]
    if config.get("recipe"):
        assert not rows
    else:
        assert f"| {value['value']:.3f} ({value['low']:.3f}-{value['high']:.3f}) |" in rows[0]
    if config.get("metadata"):
        text = measured.block("metadata gains", ROOT)
        assert config["metadata"]["evidence"]["comparison"]["groups"][0]["name"] == "all"
        before, after, *_ = config["metadata"]["evidence"]["comparison"]["groups"][0]["malignant_roc_auc"]
        assert f"| `{model}` | malignant ROC-AUC | {before:.3f} | {after:.3f} |" in text


@pytest.mark.parametrize("model", model_blocks.builtin_models())
def test_files_of_the_evidence_are_decoded_in_full_and_the_stand_ins_are_not(model: str) -> None:
    config = json.loads((model_blocks.BUILTIN / model / "config.json").read_text())["skinclf"]
    reduction = Preprocess.from_dict(config["preprocess"]).reduction
    assert [reduction(*size) for size in ((600, 450), (450, 600), (1437, 958), (1439, 959))] == [1, 1, 1, 2]
    runs = json.loads((measured.RESULTS / "scaled-decoding.json").read_text())["runs"]
    for run in runs:
        width, height = map(int, run["what"].split("x"))
        assert run["divisors"][-1]["divided_by"] == reduction(width, height)


def test_a_busy_machine_is_said(results: Path) -> None:
    (results / "speed.json").write_text(json.dumps({**RESULTS, "load_before": 3.2}))
    assert "load was 3.2" in measured.block("speed", ROOT / "docs" / "speed.md")


@pytest.mark.usefixtures("results")
def test_changed_results_make_documents_stale() -> None:
    assert measured.stale() == [
        "README.md",
        "docs/gate.md",
        "docs/metadata.md",
        "docs/pictures/speed.svg",
        "docs/serve.md",
        "docs/speed.md",
        "docs/training.md",
        "docs/weights.md",
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
