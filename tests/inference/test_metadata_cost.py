"""What metadata adds to a run, counted in calls and not in seconds, so that a busy machine cannot change the verdict.

`benchmarks/speed/metadata_cost.py` measures the same in processor seconds.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.fake_scorer import SIZE, FakeScorer
from support.metadata import fake_terms

from skinclf.inference.predictor import Predictor
from skinclf.jobs.run import write_predictions
from skinclf.models.metadata_terms import MetadataTerms

#: Python and C calls of one row, at most: to read and join it, and to fuse and write it.
JOIN, ROW = 115, 34


def no_pixels(_: Any) -> tuple[np.ndarray]:
    return (np.zeros((SIZE, SIZE, 3), np.uint8),)


def calls(work: Callable[[], Any]) -> int:
    """Calls of functions, of Python and of C, that some work needs in this thread."""
    count = 0

    def seen(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    sys.setprofile(seen)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


@pytest.fixture
def predictor() -> Predictor:
    scorer = FakeScorer(prepare=no_pixels, embeddings=False)
    scorer.spec = scorer.spec.replace(metadata=fake_terms(scorer.spec))
    return Predictor(scorer, workers=0, batch_size=16)


def table_of(folder, count):
    """Names of images, and a table of them in another order."""
    names = [str(folder / f"ISIC_{number:07d}.jpg") for number in range(count)]
    table = folder / f"{count}.csv"
    words = (",,", "70.0,male,face", "30,female,back", "45,unknown,foot")
    rows = [f"ISIC_{n:07d},nv,{words[n % 4]}" for n in reversed(range(count))]
    table.write_text("\n".join(["image_id,dx,age,sex,localization", *rows]) + "\n")
    return names, table


def test_joining_takes_a_few_calls_a_row_however_many_rows_there_are(tmp_path, predictor):
    found = {}
    for count in (400, 1600):
        names, table = table_of(tmp_path, count)
        found[count] = calls(lambda names=names, table=table: predictor.with_metadata(table, names))
    further = (found[1600] - found[400]) / 1200
    assert further <= JOIN, f"{further:.0f} calls a row"
    assert found[400] <= JOIN * 400 + 5000, "a fixed cost at the start"


def test_fusing_and_writing_take_a_few_calls_a_row(tmp_path, predictor):
    names, table = table_of(tmp_path, 320)
    fused = predictor.with_metadata(table, names)
    write_predictions(predictor, names, tmp_path / "first.csv")
    plain = calls(lambda: write_predictions(predictor, names, tmp_path / "plain.csv"))
    both = calls(lambda: write_predictions(fused, names, tmp_path / "both.csv"))
    assert (both - plain) / len(names) <= ROW, f"{(both - plain) / len(names):.0f} calls a row"


def test_the_network_runs_once_and_the_terms_once_a_batch(tmp_path, predictor, monkeypatch):
    names, table = table_of(tmp_path, 64)
    fused: list[int] = []
    own = MetadataTerms.fuse

    def fuse(self, probabilities, places):
        fused.append(len(probabilities))
        return own(self, probabilities, places)

    monkeypatch.setattr(MetadataTerms, "fuse", fuse)
    write_predictions(predictor, names, tmp_path / "plain.csv")
    once = list(predictor.scorer.calls)
    assert fused == []
    write_predictions(predictor.with_metadata(table, names), names, tmp_path / "both.csv")
    assert predictor.scorer.calls == [*once, *once]
    assert fused == [16] * 4


def test_a_table_of_metadata_imports_nothing_further(tmp_path):
    names, table = table_of(tmp_path, 4)
    code = (
        "import sys; from skinclf.inference.predictor import Predictor\n"
        "predictor = Predictor(workers=0); before = set(sys.modules)\n"
        f"predictor.with_metadata({str(table)!r}, {names!r})\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    found = [name for name in done.stdout.split() if not name.startswith(("skinclf.", "encodings."))]
    assert found == []
