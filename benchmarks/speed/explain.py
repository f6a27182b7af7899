"""Time of `skinclf explain` beside `skinclf predict --runtime torch`, on the same images with the same model.

Not a test: it asserts nothing. Whole processes, interleaved (A B A B ...); medians are shown. The aim is at most three
times the time of predictions. Usage: python -m benchmarks.speed.explain [--count 100] [--repeat 3] [--method gradcam]
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import click

from benchmarks.common import machine, make_images, markdown


@click.command()
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/bench"), show_default=True)
@click.option("--count", default=100, show_default=True, help="Images.")
@click.option("--repeat", default=3, show_default=True)
@click.option("--method", multiple=True, default=["gradcam"], show_default=True)
@click.option("--model", default=None, help="Model; the built-in one by default.")
def main(work: Path, count: int, repeat: int, method: tuple[str, ...], model: str | None) -> None:
    """Measure maps beside predictions."""
    click.echo(f"{json.dumps(machine())}\n")
    folder = work / f"images-{count}"
    make_images(folder, count)
    common = ["--image-dir", str(folder), "--runtime", "torch", *(["--model", model] if model else [])]
    ways = {"predict": ["predict", *common, "--output", str(work / "explain.csv"), "--overwrite"]}
    for name in method:
        maps = work / f"maps-{name}"
        shutil.rmtree(maps, ignore_errors=True)
        ways[f"explain {name}"] = [
            "explain",
            *common,
            "--method",
            name,
            "--output",
            str(maps),
            "--overwrite",
        ]
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeat):
        for name, arguments in ways.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-m", "skinclf", "-q", *arguments], check=True)
            seconds[name].append(time.perf_counter() - start)
    base = statistics.median(seconds["predict"])
    rows = [
        [
            name,
            f"{statistics.median(s):.1f}",
            f"{count / statistics.median(s):.1f}",
            f"{statistics.median(s) / base:.2f}",
        ]
        for name, s in seconds.items()
    ]
    click.echo(markdown([f"{count} images", "seconds", "images/s", "times predict"], rows))


if __name__ == "__main__":
    main()
