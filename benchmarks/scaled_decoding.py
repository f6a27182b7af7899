"""Effect of scaled JPEG decoding on a model's probabilities: `python benchmarks/scaled_decoding.py`.

Large photographs are stood in for by small pictures enlarged to the size of a camera's, with noise of a sensor and
compressed again: textures of a real one between two and ten pixels are not in them. `--image-dir` takes true ones.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image
from results import json_option, report, rounded, write

from skinclf.images.decode import load_picture
from skinclf.images.discovery import scan_directory
from skinclf.images.preprocess import Preprocess
from skinclf.images.synthetic import synthetic_lesion
from skinclf.models.load import load_model
from skinclf.models.loaded import LoadedModel
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


def compare(loaded: LoadedModel, photographs: Iterator[bytes], ratio: int) -> dict[str, Any]:
    """How far pixels and probabilities move between full and scaled decoding, and the milliseconds of both."""
    spec = loaded.spec
    runtime = create_runtime(loaded, runtime="torch", device="cpu")
    full = replace(spec.preprocess, scaled_decoding=0)
    scaled = replace(full, scaled_decoding=ratio)
    seconds = {"full": 0.0, "scaled": 0.0}

    def pixels(data: bytes, preprocess: Preprocess, way: str) -> np.ndarray:
        start = time.perf_counter()
        array = preprocess.pixels(load_picture(data, draft=preprocess.reduction))
        seconds[way] += time.perf_counter() - start
        return array

    moved: dict[str, list[float]] = {"grey": [], "malignant": [], "class": []}
    flips, labels, divisors = 0, 0, set()
    malignant = list(spec.labels.malignant_indices or ())
    for data in photographs:
        with Image.open(io.BytesIO(data)) as picture:
            divisors.add(scaled.reduction(*picture.size))
        pair = np.stack([pixels(data, full, "full"), pixels(data, scaled, "scaled")]).astype(np.float32)
        moved["grey"].append(float(np.abs(pair[0] - pair[1]).mean()))
        rows = np.concatenate([runtime.run(p[None]) for p in pair])
        first, second = probabilities(rows, spec.activation, spec.calibration)
        moved["class"].append(float(np.abs(first - second).max()))
        moved["malignant"].append(abs(float((first - second)[malignant].sum())))
        above = [row[malignant].sum() >= spec.threshold for row in (first, second)]
        flips += bool(above[0] != above[1])
        labels += int(first.argmax() != second.argmax())
    number = len(moved["grey"])
    return {
        "images": number,
        "divided_by": sorted(divisors),
        "moved": {key: {"mean": sum(x) / number, "largest": max(x)} for key, x in moved.items()},
        "decisions_changed": flips,
        "classes_changed": labels,
        "ms": {way: 1000 * value / number for way, value in seconds.items()},
    }


@click.command()
@click.option("--model", default=None)
@click.option("--image-dir", default=None, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--count", default=24, help="Number of stand-ins of each size, or of images at most.")
@click.option(
    "--size", "sizes", multiple=True, default=("6000x4000", "1440x960"), help="Pixels of the stand-ins."
)
@click.option("--ratio", default=2, help="Least ratio of decoded to resized size.")
@json_option
def main(
    model: str | None,
    image_dir: Path | None,
    count: int,
    sizes: tuple[str, ...],
    ratio: int,
    output: Path | None,
) -> None:
    """Print how far pixels and probabilities move between full and scaled decoding, and the time of both."""
    loaded, found = load_model(model), []
    if image_dir is None:
        given = {size: stand_ins(count, *map(int, size.split("x"))) for size in sizes}
    else:
        paths = list(scan_directory(image_dir))[:count]
        given = {image_dir.name: (Path(path).read_bytes() for path in paths)}
    for what, photographs in given.items():
        found.append({"what": what, **compare(loaded, photographs, ratio)})
        print(json.dumps(rounded(found[-1], 5), indent=1), flush=True)
    about = {"model": loaded.spec.name, "threshold": loaded.spec.threshold, "ratio": ratio}
    write(output, report(rounded({**about, "runs": found}, 5)))


if __name__ == "__main__":
    main()
