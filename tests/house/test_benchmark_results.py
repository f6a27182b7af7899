"""What the benchmarks say of their results: the interval of a median, and files that name no place of a machine."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks import common, results


@pytest.mark.parametrize(
    ("n", "low", "high", "confidence"), [(5, 1, 5, 0.9375), (6, 1, 6, 0.96875), (12, 3, 10, 0.9614)]
)
def test_the_interval_of_a_median_lies_between_order_statistics(
    n: int, low: int, high: int, confidence: float
) -> None:
    # Ranks and confidence as in tables of the sign test.
    found = results.median_interval([float(x) for x in range(n, 0, -1)])
    assert (found["low"], found["median"], found["high"]) == (low, (n + 1) / 2, high)
    assert found["confidence"] == pytest.approx(confidence, abs=1e-4)


def test_one_value_has_no_confidence() -> None:
    assert results.median_interval([2.0]) == {"median": 2.0, "low": 2.0, "high": 2.0, "confidence": 0.0}


ROOT = Path(__file__).parents[2]
MEASURED = ROOT / "docs" / "measured"
#: Measured on data that are not here; the file says on which.
ON_DATA = {
    "configurations.json",
    "duplicates.json",
    "folds.json",
    "preprocessing.json",
    "resnet50-distilled.json",
}


def made_by_make() -> dict[str, str]:
    """Files that `make bench` writes for the documents, to their commands."""
    text = (ROOT / "Makefile").read_text().partition("\nbench:")[2].partition("\n\n")[0]
    lines = [line for line in text.splitlines() if "docs/measured/" in line]
    return {line.rpartition("docs/measured/")[2]: line for line in lines}


def test_make_bench_writes_every_measured_file() -> None:
    made, read = made_by_make(), set()
    for path in (ROOT / "docs" / "generator").glob("*.py"):
        read |= set(re.findall(r'[("](\w[\w-]+\.json)"\)', path.read_text(encoding="utf-8")))
    read -= {"metrics.json", "config.json", "robustness.json"}
    there = {path.name for path in MEASURED.glob("*.json")}
    assert len(read) >= 15
    assert made.keys() == (read | there) - ON_DATA
    assert there >= ON_DATA
    for command in made.values():
        module = re.search(r"python -m (benchmarks[.\w]+) ", command)
        assert module is not None, command
        assert (ROOT / f"{module[1].replace('.', '/')}.py").is_file()


@pytest.mark.parametrize("path", sorted(MEASURED.glob("*.json")), ids=lambda p: p.stem)
def test_a_measured_file_says_how_it_can_be_repeated(path: Path) -> None:
    found = json.loads(path.read_text())
    if path.name in ON_DATA:
        assert re.match(r"(-m benchmarks[.\w]+|skinclf \w+)( |$)", found["command"])
        assert len(found["note"]) > 20
        return
    versions = found["machine"] if "machine" in found else found["versions"]
    assert {"openvino", "torch"} & versions.keys()
    if "machine" in found:
        assert int(versions["cores"]) >= 1
        assert versions["processor"]


def test_the_machine_is_named_with_cores_threads_and_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    found = common.machine()
    assert {"processor", "cores", "python", "skinclf", "torch", "OMP_NUM_THREADS"} <= found.keys()
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert "OMP_NUM_THREADS" not in common.machine()


def test_a_file_names_its_command_and_load_and_no_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "new" / "x.json"
    words = [
        "/home/me/benchmarks/speed/run.py",
        "--work",
        "/home/me/work",
        "scale",
        "--sizes",
        "10",
        "--json",
        str(file),
    ]
    monkeypatch.setattr(sys, "argv", words)
    results.write(file, results.report(results.rounded({"scale": [{"seconds": 1.23456}]}, 2)))
    found = json.loads(file.read_text())
    assert found["command"] == "-m benchmarks.speed.run scale --sizes 10"
    assert found["scale"] == [{"seconds": 1.23}]
    assert {"machine", "load_before", "seconds"} <= found.keys()
    assert "/home/me" not in file.read_text()
