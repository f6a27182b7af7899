"""What age, sex and site cost: `skinclf predict` on the same images with and without `--metadata`, in turns.

    python metadata_cost.py --count 10000 --pairs 3

Each run is a process of its own. Printed as JSON are wall-clock and CPU seconds (user and system) of every run, and for
each pair and their median the ratio with / without. The built-in model is taken; its compiled network is in the cache
after the first run, which is not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from common import machine, make_images

AGES = ("", "0", "30.0", "45", "70.0", "85")
SEXES = ("male", "female", "unknown")
SITES = ("back", "face", "scalp", "lower extremity", "trunk", "unknown", "chest")


def write_table(path: Path, images: list[Path]) -> None:
    """A row for each image, in another order, as HAM10000 has it."""
    draw = random.Random(0)
    rows = [
        f"{image.stem},nv,{draw.choice(AGES)},{draw.choice(SEXES)},{draw.choice(SITES)}" for image in images
    ]
    draw.shuffle(rows)
    path.write_text("\n".join(["image_id,dx,age,sex,localization", *rows]) + "\n", encoding="utf-8")


def seconds(command: list[str]) -> dict[str, float]:
    """Wall-clock and CPU time of a process."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": wall, "cpu": cpu}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--model", action="append", default=[])
    args = parser.parse_args()
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        images = make_images(folder / "images", args.count)
        write_table(folder / "m.csv", images)
        base = [sys.executable, "-m", "skinclf", "predict"]
        base += [part for model in args.model for part in ("--model", model)]
        predict = [*base, "--image-dir", str(folder / "images")]
        output = ["--output", os.fspath(folder / "p.csv"), "--overwrite"]
        kinds = {"without": output, "with": [*output, "--metadata", str(folder / "m.csv")]}
        seconds([*base, str(images[0]), *output])
        runs: list[dict[str, dict[str, float]]] = []
        for number in range(args.pairs):
            order = list(kinds) if number % 2 == 0 else list(reversed(kinds))
            runs.append({kind: seconds([*predict, *kinds[kind]]) for kind in order})
    ratios = {unit: [run["with"][unit] / run["without"][unit] for run in runs] for unit in ("wall", "cpu")}
    report = {
        "count": args.count,
        "runs": runs,
        "ratios": ratios,
        "median": {unit: statistics.median(values) for unit, values in ratios.items()},
        "machine": machine(),
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
