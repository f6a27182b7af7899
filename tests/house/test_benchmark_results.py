"""What the benchmarks say of their results: the interval of a median, and files that name no place of a machine."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import results


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


def test_a_file_names_its_command_and_load_and_no_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "new" / "x.json"
    words = [
        "/home/me/benchmarks/run.py",
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
    assert found["command"] == "benchmarks/run.py scale --sizes 10"
    assert found["scale"] == [{"seconds": 1.23}]
    assert {"machine", "load_before", "seconds"} <= found.keys()
    assert "/home/me" not in file.read_text()
