"""Effect of scaled JPEG decoding on probabilities, and its cost: `python -m benchmarks.answers.scaled_decoding`.

Every photograph is decoded in full and at each divisor of libjpeg that keeps twice the resized size or more. Large
photographs are stood in for by small ones of `--textures`, or synthetic ones, enlarged to the size of a camera's, every
second one sharpened, with noise of a sensor and compressed again; `--image-dir` takes true ones. Beside each divisor
stands a control: the picture of the full decoding of which as many values are moved by one grey level, at random.
"""

from __future__ import annotations

import io
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from benchmarks.results import json_option, report, rounded, write
from skinclf.images.decode import load_picture
from skinclf.images.discovery import scan_directory
from skinclf.images.preprocess import Preprocess
from skinclf.images.synthetic import synthetic_lesion
from skinclf.models.load import load_model
from skinclf.models.loaded import LoadedModel
from skinclf.models.probabilities import probabilities
from skinclf.runtimes.create import create_runtime

#: Least ratio of decoded to resized size that `Preprocess` admits.
LEAST = 2


def textures(folder: Path | None, count: int) -> Iterator[tuple[str, Image.Image]]:
    """Names and pictures of a folder, drawn at random but always the same, or synthetic ones."""
    if folder is None:
        for seed in range(count):
            yield (
                f"synthetic {1000 + seed}",
                Image.fromarray(synthetic_lesion(1000 + seed, width=900, height=600)),
            )
        return
    paths = sorted(scan_directory(folder))
    for path in random.Random(0).sample(paths, min(count, len(paths))):
        yield Path(path).stem, load_picture(path)


def stand_in(picture: Image.Image, width: int, height: int, seed: int) -> bytes:
    """The centre of a picture, enlarged; sharpening, noise, progressive files and chroma sampling alternate."""
    factor = min(picture.width / width, picture.height / height)
    box = (picture.width - factor * width) / 2, (picture.height - factor * height) / 2
    whole = (*box, picture.width - box[0], picture.height - box[1])
    large = picture.resize((width, height), Image.Resampling.BICUBIC, box=whole)
    if seed % 2:
        large = large.filter(ImageFilter.UnsharpMask(radius=1 / factor, percent=80, threshold=0))
    rng, level = np.random.default_rng(seed), (2, 6)[seed // 2 % 2]
    pixels = np.asarray(large).astype(np.int16)
    pixels += np.rint(rng.standard_normal(pixels.shape, np.float32) * level).astype(np.int16)
    noisy, buffer = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)), io.BytesIO()
    sampling = ("4:2:0", "4:4:4")[seed // 8 % 2]
    noisy.save(buffer, "JPEG", quality=90, progressive=bool(seed // 4 % 2), subsampling=sampling)
    return buffer.getvalue()


def kept(preprocess: Preprocess, size: tuple[int, int], by: int) -> float:
    """Ratio of the decoded to the resized size, of the side where it is smaller."""
    cols, rows = (-(-side // by) for side in size)
    place = preprocess.placement(rows, cols)
    return min(rows / place.height, cols / place.width)


class Network:
    """A model, its network, and how its probabilities moved."""

    def __init__(self, model: LoadedModel) -> None:
        self.spec, self._runtime = model.spec, create_runtime(model, device="cpu")
        self.names = [label.code for label in self.spec.labels]
        self.moved: dict[int, list[dict[str, Any]]] = {}

    def _answer(self, pixels: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        return probabilities(self._runtime.run(pixels[None]), self.spec.activation, self.spec.calibration)[0]

    def add(self, name: str, by: int, full: npt.NDArray[Any], scaled: npt.NDArray[Any]) -> None:
        """Compare one picture, decoded in full, with itself decoded down."""
        rng = np.random.default_rng(len(self.moved.get(by, ())))
        differ = np.abs(full.astype(np.int16) - scaled).mean()
        step = (rng.random(full.shape) < differ) * rng.choice((-1, 1), full.shape)
        control = np.clip(full + step, 0, 255).astype(full.dtype)
        first, second, third = (self._answer(x) for x in (full, scaled, control))
        rule, pair = self.spec.decision, np.stack([first, second])
        predicted = pair.argmax(axis=1) if rule is None else rule.decide(pair)
        malignant, threshold = list(self.spec.labels.malignant_indices or ()), self.spec.threshold
        before, after = float(first[malignant].sum()), float(second[malignant].sum())
        self.moved.setdefault(by, []).append(
            {
                "name": name,
                "classes": np.abs(second - first),
                "control": np.abs(third - first).max(),
                "malignant": abs(after - before),
                "decision": (before >= threshold) != (after >= threshold),
                "class": bool(predicted[0] != predicted[1]),
            }
        )

    def result(self, by: int) -> dict[str, Any]:
        """How far one divisor moved the probabilities."""
        rows = self.moved[by]
        classes = np.stack([row["classes"] for row in rows])
        most = classes.max(axis=1)
        at = int(most.argmax())
        return {
            "class_mean": float(classes.mean()),
            "most_mean": float(most.mean()),
            "most_largest": float(most[at]),
            "by_class": dict(zip(self.names, classes.max(axis=0).tolist(), strict=True)),
            "worst": {"picture": rows[at]["name"], "class": self.names[int(classes[at].argmax())]},
            "control_mean": float(np.mean([row["control"] for row in rows])),
            "control_largest": float(np.max([row["control"] for row in rows])),
            "malignant_mean": float(np.mean([row["malignant"] for row in rows])),
            "malignant_largest": float(np.max([row["malignant"] for row in rows])),
            "decisions_changed": int(sum(row["decision"] for row in rows)),
            "classes_changed": int(sum(row["class"] for row in rows)),
        }


def compare(models: list[LoadedModel], photographs: Iterator[tuple[str, bytes]]) -> dict[str, Any]:
    """How far pixels and probabilities move for each divisor, and the processor's milliseconds."""
    networks = [Network(model) for model in models]
    preprocess = models[0].spec.preprocess
    ms: dict[int, list[float]] = {}
    grey: dict[int, list[float]] = {}
    ratios: dict[int, list[float]] = {}
    count, total = 0, 0

    def pixels(data: bytes, by: int) -> npt.NDArray[Any]:
        start = time.process_time()
        array = preprocess.pixels(load_picture(data, draft=lambda _width, _height: by))
        ms.setdefault(by, []).append(1000 * (time.process_time() - start))
        return array

    for name, data in photographs:
        count, total = count + 1, total + len(data)
        with Image.open(io.BytesIO(data)) as picture:
            size = picture.size
        full = pixels(data, 1)
        for by in (2, 4, 8):
            ratio = kept(preprocess, size, by)
            if ratio < LEAST:
                continue
            scaled = pixels(data, by)
            ratios.setdefault(by, []).append(ratio)
            grey.setdefault(by, []).append(float(np.abs(full.astype(np.int16) - scaled).mean()))
            for network in networks:
                network.add(name, by, full, scaled)
    divisors = [
        {
            "divided_by": by,
            "images": len(ratios[by]),
            "kept": min(ratios[by]),
            "grey": float(np.mean(grey[by])),
            "ms": float(np.median(ms[by])),
            "models": {network.spec.name: network.result(by) for network in networks},
        }
        for by in sorted(ratios)
    ]
    return {
        "images": count,
        "megabytes": total / 1e6 / max(count, 1),
        "ms": float(np.median(ms[1])),
        "divisors": divisors,
    }


@click.command()
@click.option(
    "--model", "names", multiple=True, default=("ham10000-mobilenetv2", "ham10000-efficientnet-lite0")
)
@click.option(
    "--textures", "folder", default=None, type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.option("--image-dir", default=None, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--count",
    default=60,
    help="Number of stand-ins of each size (a third of it for the largest), or of images.",
)
@click.option(
    "--size",
    "sizes",
    multiple=True,
    default=("1440x960", "2048x1536", "3000x2000", "6000x4000"),
    help="Pixels of the stand-ins.",
)
@click.option(
    "--save",
    default=None,
    type=click.Path(file_okay=False, path_type=Path),
    help="Write the stand-ins to this folder, for skinclf models precision --scaled-decoding, and stop.",
)
@json_option
def main(
    names: tuple[str, ...],
    folder: Path | None,
    image_dir: Path | None,
    count: int,
    sizes: tuple[str, ...],
    save: Path | None,
    output: Path | None,
) -> None:
    """Print how far pixels and probabilities move between full and scaled decoding, and the time of both."""
    models = [load_model(name) for name in names]
    if any(model.spec.preprocess != models[0].spec.preprocess for model in models):
        raise click.UsageError(
            "--model: these models have different preprocessings; measure them one by one."
        )
    found = []

    def enlarged(width: int, height: int) -> Iterator[tuple[str, bytes]]:
        number = max(1, count // 3) if width * height > 10_000_000 else count
        for seed, (name, picture) in enumerate(textures(folder, number)):
            yield name, stand_in(picture, width, height, seed)

    if save is not None:
        save.mkdir(parents=True, exist_ok=True)
        for size in sizes:
            for name, data in enlarged(*map(int, size.split("x"))):
                (save / f"{size}-{name}.jpg".replace(" ", "-")).write_bytes(data)
        return
    if image_dir is None:
        given = {size: enlarged(*map(int, size.split("x"))) for size in sizes}
    else:
        paths = list(scan_directory(image_dir))[:count]
        given = {image_dir.name: ((Path(path).stem, Path(path).read_bytes()) for path in paths)}
    for what, photographs in given.items():
        found.append({"what": what, **compare(models, photographs)})
        print(json.dumps(rounded(found[-1], 5), indent=1), flush=True)
    about = {
        "textures": image_dir is None and folder is not None,
        "ratio": models[0].spec.preprocess.scaled_decoding,
        "thresholds": {model.spec.name: model.spec.threshold for model in models},
    }
    write(output, report(rounded({**about, "runs": found}, 5)))


if __name__ == "__main__":
    main()
