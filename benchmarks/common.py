"""Shared parts of the benchmarks: images, models, one process per measurement, the description of the machine."""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from skinclf._version import __version__

if TYPE_CHECKING:
    from skinclf.models.loaded import LoadedModel
    from skinclf.models.options import ModelOptions

#: timm's name to Keras' name and the number of outputs.
NETWORKS = {
    "resnet50": ("ResNet50", 2),
    "efficientnet_b0": ("EfficientNetB0", 7),
    "mobilenetv2_100": ("MobileNetV2", 7),
}


def make_images(folder: Path, count: int, *, distinct: int = 64) -> list[Path]:
    """Make `count` JPEGs of 600 x 450 pixels (quality 75): `distinct` synthetic pictures, and hard links to them."""
    from PIL import Image

    from skinclf.images.synthetic import synthetic_lesion

    folder.mkdir(parents=True, exist_ok=True)
    for number in range(min(count, distinct)):
        path = folder / f"image-{number:07d}.jpg"
        if not path.exists():
            Image.fromarray(synthetic_lesion(number)).save(path, quality=75)
    for number in range(distinct, count):
        path = folder / f"image-{number:07d}.jpg"
        if not path.exists():
            os.link(folder / f"image-{number % distinct:07d}.jpg", path)
    return [folder / f"image-{number:07d}.jpg" for number in range(count)]


def make_photographs(
    folder: Path,
    count: int,
    *,
    width: int = 6000,
    height: int = 4000,
    noise: float = 3.0,
    quality: int = 75,
    distinct: int = 4,
    progressive: bool = False,
) -> list[Path]:
    """Make `count` JPEGs of a camera's size: `distinct` stand-ins for photographs, and hard links to them.

    A stand-in is a synthetic lesion enlarged by bicubic interpolation, with Gaussian noise of `noise` grey levels in
    every channel, compressed again: 1.1 MB for 6000 x 4000 at the defaults, 2.2 MB at noise 2 and quality 90. Larger
    files take longer to decode at any size, because all of their bits are read.
    """
    import numpy as np
    from PIL import Image

    from skinclf.images.synthetic import synthetic_lesion

    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"photograph-{number:05d}.jpg" for number in range(count)]
    for number, path in enumerate(paths[:distinct]):
        if path.exists():
            continue
        lesion = Image.fromarray(synthetic_lesion(1000 + number, width=900, height=600))
        pixels = np.asarray(lesion.resize((width, height), Image.Resampling.BICUBIC)).astype(np.float32)
        pixels += np.random.default_rng(number).standard_normal(pixels.shape, np.float32) * np.float32(noise)
        picture = Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))
        picture.save(path, "JPEG", quality=quality, progressive=progressive)
    for number, path in enumerate(paths[distinct:], start=distinct):
        if not path.exists():
            os.link(paths[number % distinct], path)
    return paths


def make_keras_model(folder: Path, network: str) -> Path:
    """Path of the network as a Keras file with random weights, written once by a process of its own."""
    path = folder / f"{network}.h5"
    if not path.exists():
        name, classes = NETWORKS[network]
        code = f"import keras; keras.applications.{name}(weights=None, classes={classes}).save({str(path)!r})"
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return path


def make_int8_bundle(folder: Path, network: str, images: Sequence[Path]) -> Path:
    """Bundle of the same network with an int8 version, calibrated on synthetic pictures: for measuring speed only."""
    path = folder / f"{network}-int8"
    if not (path / "config.json").exists():
        from skinclf.conversion.quantize import quantize_model
        from skinclf.models.load import load_model

        model = load_model(make_keras_model(folder, network), options=stated(network))
        quantize_model(model, [str(x) for x in images[:64]], path, calibration=32)
    return path


def stated(network: str) -> ModelOptions:
    """Labels and preprocessing of the Keras file: those of devatreya's published project, with OpenCV's resize."""
    from skinclf.images.preprocess import scaling
    from skinclf.models.options import ModelOptions

    name = {"resnet50": "caffe", "efficientnet_b0": "raw", "mobilenetv2_100": "tf"}[network]
    labels = "malignant" if NETWORKS[network][1] == 2 else "ham10000"
    return ModelOptions(labels=labels, preprocess=scaling(name, library="opencv"))


def builtin_model(scaled_decoding: int, name: str | None = None) -> LoadedModel:
    """A built-in model, with JPEGs decoded in full (0) or at no less than so many times the resized size (2)."""
    from skinclf.models.load import load_model

    loaded = load_model(name)
    preprocess = replace(loaded.spec.preprocess, scaled_decoding=scaled_decoding)
    return replace(loaded, spec=replace(loaded.spec, preprocess=preprocess))


def cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Table in Markdown, as in docs/speed.md."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def measure(job: str, **arguments: object) -> dict[str, float]:
    """Run one job of `benchmarks.speed.jobs` in a fresh process and return the numbers it printed."""
    command = [sys.executable, "-m", "benchmarks.speed.jobs", job, json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{job} failed:\n{done.stderr[-2000:]}")
    result: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def medians(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Median of every number over repetitions; a word is that of the first."""
    return {
        key: value if isinstance(value, str) else statistics.median(row[key] for row in rows)
        for key, value in rows[0].items()
    }


def machine() -> dict[str, str]:
    """Description of the machine: processor, cores, a limit of threads, GPU, versions of packages."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        model = next((x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), model)
        flags = next((x for x in lines if x.startswith("flags")), "")
        model += " (AVX512-BF16)" if "avx512_bf16" in flags else ""
    packages = (
        "torch",
        "timm",
        "openvino",
        "nncf",
        "onnxruntime",
        "tensorflow",
        "transformers",
        "pillow",
        "opencv-python-headless",
    )
    versions = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    gpu = shutil.which("nvidia-smi")
    if gpu:
        query = [gpu, "--query-gpu=name,driver_version", "--format=csv,noheader"]
        named = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()
        versions = {"gpu": named, **versions} if named else versions
    threads = os.environ.get("OMP_NUM_THREADS")
    facts = {"processor": model, "cores": str(cores()), **({"OMP_NUM_THREADS": threads} if threads else {})}
    return {**facts, "skinclf": __version__, "python": platform.python_version(), **versions}
