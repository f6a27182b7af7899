"""Start-up and single images: from the command to the first row, `Predictor()`, and one image at a time.

`cold` has an empty cache of compiled networks, `warm` the cache that the run before left. In both, the files and
Python's bytecode are in the operating system's cache; bytecode is kept in the working folder, whatever
`PYTHONDONTWRITEBYTECODE` says.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.common import make_images, make_keras_model

#: Facts that a Keras file lacks, as options of the command and of `ModelOptions`.
STATED = {"labels": "malignant", "preprocess": "caffe-opencv"}
_LIMIT_SECONDS = 120


def models(work: Path) -> dict[str, Path | None]:
    """The built-in model, and a ResNet50 of Keras with random weights."""
    folder = work / "startup"
    folder.mkdir(parents=True, exist_ok=True)
    return {"built-in": None, "ResNet50 .h5": make_keras_model(folder, "resnet50")}


def environment(work: Path) -> dict[str, str]:
    """The environment of a measured process: its own cache, and bytecode, as an installed package has it."""
    own = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    folder = work.resolve() / "startup"
    return {**own, "SKINCLF_CACHE": str(folder / "cache"), "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}


def first_rows(work: Path, repeat: int) -> list[dict[str, Any]]:
    """Seconds from `skinclf predict` to its first row, cold and warm: median and best."""
    (image,) = make_images(work / "images-1", 1)
    seconds: dict[tuple[str, str], list[float]] = {}
    table = work / "startup" / "first.csv"
    for model in models(work).values():  # for the bytecode
        _first_row(Path(image), table, model, environment(work))
    for _ in range(repeat):
        for name, model in models(work).items():
            cache = work / "startup" / "cache"
            shutil.rmtree(cache, ignore_errors=True)
            for state in ("cold", "warm"):
                taken = _first_row(Path(image), table, model, environment(work))
                seconds.setdefault((name, state), []).append(taken)
    return [
        {"model": name, "state": state, "median": median(values), "best": min(values)}
        for (name, state), values in seconds.items()
    ]


def _first_row(image: Path, table: Path, model: Path | None, env: dict[str, str]) -> float:
    table.unlink(missing_ok=True)
    command = [
        sys.executable,
        "-m",
        "skinclf",
        "-q",
        "predict",
        str(image),
        "--output",
        str(table),
        "--overwrite",
    ]
    if model is not None:
        command += ["--model", str(model), *(x for key, text in STATED.items() for x in (f"--{key}", text))]
    start = time.perf_counter()
    process = subprocess.Popen(
        command,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    while process.poll() is None and not _has_row(table):
        time.sleep(0.002)
    taken = time.perf_counter() - start
    try:
        _, message = process.communicate(timeout=_LIMIT_SECONDS)
    finally:
        process.kill()
    if process.returncode or not _has_row(table):
        raise RuntimeError(f"skinclf predict ended with {process.returncode}: {message.decode()[-500:]}")
    return taken


def _has_row(table: Path) -> bool:
    return table.exists() and table.read_bytes().count(b"\n") >= 2


def predictors(work: Path, repeat: int) -> list[dict[str, Any]]:
    """`Predictor()` in a process of its own, cold and warm, then one image after the other: medians of the runs."""
    (image,) = make_images(work / "images-1", 1)
    runs: dict[tuple[str, str], list[dict[str, float]]] = {}
    for _ in range(repeat):
        for name, model in models(work).items():
            cache = work / "startup" / "cache"
            shutil.rmtree(cache, ignore_errors=True)
            for state in ("cold", "warm"):
                done = subprocess.run(
                    [sys.executable, "-m", "benchmarks.speed.startup", str(image), str(model or "")],
                    env=environment(work),
                    check=True,
                    capture_output=True,
                    text=True,
                )
                runs.setdefault((name, state), []).append(json.loads(done.stdout))
    return [
        {"model": name, "state": state, **{key: median(run[key] for run in found) for key in found[0]}}
        for (name, state), found in runs.items()
    ]


def one_by_one(image: str, model: str, count: int = 60) -> dict[str, float]:
    """Seconds of each step in this process; the three ways to spend a further image are interleaved."""
    start = time.perf_counter()
    from skinclf import Predictor
    from skinclf.models.options import ModelOptions

    seconds = {"import": time.perf_counter() - start}
    start = time.perf_counter()
    options: dict[str, Any] = {"model": model, "options": ModelOptions(**STATED)} if model else {}
    predictor = Predictor(**options)
    seconds["construct"] = time.perf_counter() - start
    start = time.perf_counter()
    predictor.predict(image)
    seconds["first"] = time.perf_counter() - start
    scorer = predictor.scorer
    batch = tuple(slot[None] for slot in scorer.prepare(image))
    ways = {
        "further": lambda: predictor.predict(image),
        "decode": lambda: scorer.prepare(image),
        "network": lambda: scorer.score(batch),
    }
    return seconds | _medians(ways, count)


def _medians(ways: dict[str, Callable[[], object]], count: int) -> dict[str, float]:
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for step in range(count + 5):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if step >= 5:
                taken[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in taken.items()}


def main(arguments: Sequence[str]) -> None:
    """One process of `predictors`."""
    image, model = arguments
    print(json.dumps(one_by_one(image, model)))


if __name__ == "__main__":
    main(sys.argv[1:])
