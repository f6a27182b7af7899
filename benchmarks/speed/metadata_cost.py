"""What age, sex and site cost: `skinclf predict` on the same images with and without `--metadata`.

    python -m benchmarks.speed.metadata_cost --json docs/measured/metadata-cost.json

Three measurements, each of alternating runs, so that a drift of the machine cancels. Processor seconds are user and
system time of the whole process; wall-clock seconds stand beside them.

1. Parts: `write_predictions` for all rows with a stand-in that decodes and computes nothing, in one process, with and
   without metadata. The difference is everything that metadata adds: reading and joining the table, fusing, further
   columns, the manifest. It is small and thus known exactly.
2. Whole: the command on images, with and without metadata.
3. Control: two runs without metadata, compared like the others. Its interval is the noise of the second measurement.

The verdict is the first difference over the processor seconds that the same number of images takes without metadata. It
exits with 1 where the upper end of that share's interval is above the bar of 2 %.
"""

from __future__ import annotations

import gc
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

import click
import numpy as np

from benchmarks.common import make_images, markdown
from benchmarks.results import json_option, median_interval, report, rounded, write
from skinclf.inference.predictor import Predictor
from skinclf.inference.scorer import Pixels, ScoredBatch, Scorer, Slot
from skinclf.jobs.output import Output
from skinclf.jobs.run import write_predictions
from skinclf.models.load import load_model
from skinclf.models.spec import ModelSpec

AGES = ("", "0", "30.0", "45", "70.0", "85")
SEXES = ("male", "female", "unknown")
SITES = ("back", "face", "scalp", "lower extremity", "trunk", "unknown", "chest")
BAR = 0.02


def write_table(path: Path, images: Sequence[Path]) -> None:
    """A row for each image, in another order, as HAM10000 has it."""
    draw = random.Random(0)
    rows = [
        f"{image.stem},nv,{draw.choice(AGES)},{draw.choice(SEXES)},{draw.choice(SITES)}" for image in images
    ]
    draw.shuffle(rows)
    path.write_text("\n".join(["image_id,dx,age,sex,localization", *rows]) + "\n", encoding="utf-8")


class StandIn(Scorer):
    """A scorer of the model's contract that reads no file and has the same probabilities for every image."""

    batch_size = 16
    one_by_one = True
    layout = (Slot((1,), np.uint8),)
    fingerprint: Mapping[str, Any] = MappingProxyType({})
    info: Mapping[str, Any] = MappingProxyType({"runtime": "none", "device": "cpu", "precision": "fp32"})

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self.prepare = no_pixels
        values = np.random.default_rng(0).dirichlet(np.ones(len(spec.labels)), self.batch_size)
        self._values = values.astype(np.float32)

    def score(self, batch: Pixels) -> ScoredBatch:
        return ScoredBatch(self._values[: len(batch[0])])


def no_pixels(_: object) -> Pixels:
    """Stand-in for decoding."""
    return (np.zeros(1, np.uint8),)


def parts(folder: Path, count: int, pairs: int) -> dict[str, Any]:
    """Processor seconds that metadata adds to `count` rows when nothing else is done."""
    images = [folder / "none" / f"image-{number:07d}.jpg" for number in range(count)]
    write_table(folder / "rows.csv", images)
    names = [str(image) for image in images]
    scorer = StandIn(load_model().spec)

    def run(*, metadata: bool) -> tuple[float, float]:
        gc.collect()
        predictor, start = Predictor(scorer, workers=0), time.process_time()
        if metadata:
            predictor = predictor.with_metadata(folder / "rows.csv", names)
        joined = time.process_time()
        write_predictions(predictor, names, Output(path=folder / "rows-p.csv", overwrite=True))
        return joined - start, time.process_time() - joined

    run(metadata=True)
    joins, rows = [], []
    for number in range(pairs):
        found = {kind: run(metadata=kind) for kind in ((False, True) if number % 2 else (True, False))}
        joins.append(found[True][0])
        rows.append(found[True][1] - found[False][1])
    both = [a + b for a, b in zip(joins, rows, strict=True)]
    return {"join": median_interval(joins), "rows": median_interval(rows), "both": median_interval(both)}


def seconds(command: Sequence[str]) -> dict[str, float]:
    """Wall-clock and processor seconds of a process."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"wall": wall, "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}


def whole(folder: Path, count: int, pairs: int, model: str | None) -> dict[str, Any]:
    """Ratios of the command with and without metadata, and of two runs without."""
    images = make_images(folder / "images", count)
    write_table(folder / "m.csv", images)
    base = [sys.executable, "-m", "skinclf", "predict", *(("--model", model) if model else ())]
    predict = [*base, "--image-dir", str(folder / "images"), "-o", os.fspath(folder / "p.csv"), "--overwrite"]
    kinds = {"without": predict, "with": [*predict, "--metadata", str(folder / "m.csv")], "again": predict}
    first = [*base, str(images[0]), "-o", os.fspath(folder / "p.csv"), "--overwrite"]
    start = median(seconds(first)["cpu"] for _ in range(4))  # the first of them fills the cache
    runs = []
    for number in range(pairs):
        # The run with metadata stands between the two without it, before the one or the other.
        order = ("without", "with", "again") if number % 2 else ("again", "with", "without")
        runs.append({kind: seconds(kinds[kind]) for kind in order})
        click.echo(f"{number + 1}: {rounded(runs[-1], 2)}")
    ratios = {
        f"{name}_{unit}": median_interval(
            [2 * run[over][unit] / (run["without"][unit] + run["again"][unit]) for run in runs]
            if over == "with"
            else [run[over][unit] / run["without"][unit] for run in runs]
        )
        for name, over in (("with", "with"), ("control", "again"))
        for unit in ("wall", "cpu")
    }
    alone = median([run[kind]["cpu"] - start for run in runs for kind in ("without", "again")])
    if alone <= start:
        raise click.ClickException(f"{count} images take no longer than the start; give more with --images.")
    return {"runs": runs, "ratios": ratios, "cpu_start": start, "cpu_per_image": alone / count}


@click.command()
@click.option("--count", default=10_000, show_default=True, help="Rows of the first measurement.")
@click.option("--images", default=2_000, show_default=True, help="Images of each run of the others.")
@click.option("--pairs", default=12, show_default=True, help="Alternating runs of each kind.")
@click.option("--model", default=None, help="Model; the built-in one by default.")
@json_option
def main(count: int, images: int, pairs: int, model: str | None, output: Path | None) -> None:
    """Print what metadata costs, and whether that is within the bar."""
    with TemporaryDirectory() as scratch:
        found = parts(Path(scratch), count, pairs)
        run = whole(Path(scratch), images, pairs, model)
    alone = run["cpu_start"] + count * run["cpu_per_image"]
    share = {key: found["both"][key] / alone for key in ("median", "low", "high")}
    ends = ("median", "low", "high")
    rows = [
        [f"processor seconds of {words}, {count:,} rows", *(f"{found[key][end]:.3f}" for end in ends)]
        for key, words in (("join", "reading and joining"), ("rows", "fusing and writing"), ("both", "both"))
    ]
    rows.append([f"of {alone:.0f} processor seconds without", *(f"{share[end]:.2%}" for end in ends)])
    for key, words in (
        ("with_cpu", "whole command with / without, processor"),
        ("control_cpu", "without / without, processor"),
        ("with_wall", "whole command with / without, wall clock"),
        ("control_wall", "without / without, wall clock"),
    ):
        rows.append([words, *(f"{run['ratios'][key][end]:.3f}" for end in ends)])
    click.echo(markdown(["", "median", "from", "to"], rows))
    held = share["high"] <= BAR
    click.echo(f"\nAt most {BAR:.0%} more: {'yes' if held else 'NO'}.")
    settings = {"count": count, "images": images, "pairs": pairs, "bar": BAR, "held": held}
    write(output, report(rounded({**settings, "parts": found, "share": share, "whole": run})))
    raise SystemExit(0 if held else 1)


if __name__ == "__main__":
    main()
