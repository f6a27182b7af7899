"""What the tests of runs share."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from skinclf.images.discovery import Inputs
from skinclf.inference.predictor import Predictor
from skinclf.jobs.output import Output
from skinclf.jobs.progress import Summary
from skinclf.jobs.run import write_predictions
from support.damaged_files import Damaged
from support.fake_scorer import FakeScorer


def fill(image_dir: Path, damaged_files: dict[str, Damaged]) -> Path:
    """Make thirty names of the eight images, of which three are damaged, one of them with an odd name."""
    for i in range(8, 27):
        (image_dir / f"img-{i}.jpg").symlink_to(image_dir / f"img-{i % 8}.jpg")
    for name, kind in (("a.jpg", "empty"), ('img-5 "odd",\n.jpg', "truncated_jpeg"), ("z.jpg", "text")):
        shutil.copy(damaged_files[kind].path, image_dir / name)
    return image_dir


def write(
    path: Path,
    inputs: Path | Inputs,
    *,
    scorer: Any = None,
    predictor: Predictor | None = None,
    **options: Any,
) -> Summary:
    """Write a table: options of the run, of the predictor and of the output, each passed on to its own."""
    run = {k: options.pop(k) for k in ("on_error", "stop", "progress", "shard") if k in options}
    made = {k: options.pop(k) for k in ("batch_size", "workers", "threshold") if k in options}
    predictor = predictor or Predictor(scorer or FakeScorer(), **{"workers": 2, **made})
    inputs = Inputs([inputs]) if isinstance(inputs, Path) else inputs
    return write_predictions(predictor, inputs, Output(path=path, **options), **run)


def manifest(path: Path) -> dict[str, Any]:
    """Read the manifest beside a table."""
    state: dict[str, Any] = json.loads(path.with_name(path.name + ".run.json").read_text())
    return state


def interrupted(whole: Path, tmp_path: Path, size: int, name: str = "part.csv") -> Path:
    """What a kill leaves when the table has `size` bytes."""
    path = tmp_path / name
    path.write_bytes(whole.read_bytes()[:size])
    shutil.copy(whole.with_suffix(".npy"), path.with_suffix(".npy"))
    state = manifest(whole)
    state["complete"] = False
    path.with_name(path.name + ".run.json").write_text(json.dumps(state))
    return path
