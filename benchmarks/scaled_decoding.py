"""Effect of scaled JPEG decoding on a model's probabilities: `python benchmarks/scaled_decoding.py`.

Large photographs are stood in for by small pictures enlarged to the size of a camera's, with noise of a sensor and
compressed again: textures of a real one between two and ten pixels are not in them. `--image-dir` takes true ones.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
from PIL import Image

from skinclf.images.decode import load_picture
from skinclf.images.discovery import scan_directory
from skinclf.images.preprocess import Preprocess
from skinclf.images.synthetic import synthetic_lesion
from skinclf.models.load import load_model
from skinclf.models.probabilities import probabilities
from skinclf.runtimes.create import create_runtime


def stand_ins(count: int, width: int, height: int) -> Iterator[bytes]:
    """Synthetic pictures, enlarged with noise; every second one is a progressive JPEG."""
    for seed in range(count):
        picture = Image.fromarray(synthetic_lesion(1000 + seed, width=900, height=600))
        pixels = np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC)).astype(np.int16)
        rng = np.random.default_rng(seed)
        pixels += np.rint(rng.standard_normal(pixels.shape, np.float32) * 6).astype(np.int16)
        buffer = io.BytesIO()
        noisy = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
        noisy.save(buffer, "JPEG", quality=90, progressive=bool(seed % 2))
        yield buffer.getvalue()


@click.command()
@click.option("--model", default=None)
@click.option("--image-dir", default=None, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--count", default=24, help="Number of stand-ins, or of images at most.")
@click.option("--width", default=6000)
@click.option("--height", default=4000)
@click.option("--ratio", default=2, help="Least ratio of decoded to resized size.")
def main(model: str | None, image_dir: Path | None, count: int, width: int, height: int, ratio: int) -> None:
    """Print how far pixels and probabilities move between full and scaled decoding, and the time of both."""
    loaded = load_model(model)
    spec = loaded.spec
    runtime = create_runtime(loaded, runtime="torch", device="cpu")
    full = replace(spec.preprocess, scaled_decoding=0)
    scaled = replace(full, scaled_decoding=ratio)
    if image_dir is None:
        photographs: Iterator[bytes] = stand_ins(count, width, height)
        what = f"{count} stand-ins of {width} x {height}"
    else:
        paths = list(scan_directory(image_dir))[:count]
        photographs = (Path(path).read_bytes() for path in paths)
        what = f"{len(paths)} images of {image_dir.name}"

    seconds = {"full": 0.0, "scaled": 0.0}

    def pixels(data: bytes, preprocess: Preprocess, way: str) -> np.ndarray:
        start = time.perf_counter()
        array = preprocess.pixels(load_picture(data, draft=preprocess.reduction))
        seconds[way] += time.perf_counter() - start
        return array

    grey, moved, flips, labels, divisors = [], [], 0, 0, set()
    malignant = list(spec.labels.malignant_indices or ())
    for data in photographs:
        with Image.open(io.BytesIO(data)) as picture:
            divisors.add(scaled.reduction(*picture.size))
        pair = np.stack([pixels(data, full, "full"), pixels(data, scaled, "scaled")]).astype(np.float32)
        grey.append(float(np.abs(pair[0] - pair[1]).mean()))
        rows = np.concatenate([runtime.run(p[None]) for p in pair])
        first, second = probabilities(rows, spec.activation, spec.calibration)
        moved.append((float(np.abs(first - second).max()), abs(float((first - second)[malignant].sum()))))
        above = [row[malignant].sum() >= spec.threshold for row in (first, second)]
        flips += above[0] != above[1]
        labels += int(first.argmax() != second.argmax())
    largest, at_risk = np.array(moved).T
    number = len(moved)
    print(f"{spec.name}, {what}, ratio {ratio}, divided by {sorted(divisors)}, {os.cpu_count()} cores\n")
    print("| full against scaled decoding | mean | largest |\n| --- | --- | --- |")
    print(f"| pixels of the input, grey levels (mean of an image) | {np.mean(grey):.3f} | {max(grey):.3f} |")
    print(f"| P(malignant) | {at_risk.mean():.5f} | {at_risk.max():.5f} |")
    print(f"| the class probability that moves most | {largest.mean():.5f} | {largest.max():.5f} |\n")
    print(f"Decisions at {spec.threshold:.3f} changed: {flips} of {number}; most probable class: {labels}.")
    full_ms, scaled_ms = (1000 * seconds[way] / number for way in ("full", "scaled"))
    print(
        f"Decoding and resizing: {full_ms:.0f} ms in full, {scaled_ms:.0f} ms scaled, {full_ms / scaled_ms:.1f} times."
    )


if __name__ == "__main__":
    main()
