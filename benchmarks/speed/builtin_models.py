"""Whole runs of every built-in model: `python -m benchmarks.speed.builtin_models`.

`skinclf predict` over JPEGs of 600 x 450 pixels, start-up and table included, without the image gate and with it, in
turn; a recipe computes each image several times and gets fewer of them.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click

from benchmarks.common import make_images
from benchmarks.results import json_option, median_interval, report, rounded, write
from skinclf.models.registry import list_models

#: Options of a way to run.
GATES = {"without": ("--gate", "off"), "with": ()}


def run(model: str, images: Path, out: Path, options: tuple[str, ...]) -> float:
    """Seconds of one run."""
    command = [sys.executable, "-m", "skinclf", "-q", "predict", "--image-dir", str(images), "--model", model]
    start = time.perf_counter()
    subprocess.run([*command, "--overwrite", "-o", str(out), *options], check=True)
    return time.perf_counter() - start


@click.command()
@click.option("--count", default=1024, show_default=True, help="Number of files.")
@click.option("--fewer", default=64, show_default=True, help="Number of files for a recipe.")
@click.option("--repeat", default=5, show_default=True, help="Runs of each kind.")
@click.option("--work", default="build/bench", type=click.Path(file_okay=False, path_type=Path))
@json_option
def main(count: int, fewer: int, repeat: int, work: Path, output: Path | None) -> None:
    """Print images per second of whole runs of the built-in models."""
    found: list[dict[str, Any]] = []
    for model in (known for known in list_models() if known.folder is not None):
        number = fewer if model.members else count
        folder = work / f"files-{number}"
        make_images(folder, number)
        seconds: dict[str, list[float]] = {gate: [] for gate in GATES}
        for turn in range(-1, repeat):  # the first fills caches
            for gate, options in GATES.items():
                taken = run(model.name, folder, work / "out.csv", options)
                if turn >= 0:
                    seconds[gate].append(taken)
        rates = {gate: median_interval([number / one for one in values]) for gate, values in seconds.items()}
        found.append({"model": model.name, "images": number, "runs": repeat, "images_per_s": rates})
        print(found[-1], flush=True)
    write(output, report(rounded({"models": found}, 2)))


if __name__ == "__main__":
    main()
