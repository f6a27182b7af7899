"""One measurement per process: `python -m benchmarks.speed.jobs JOB '{"argument": ...}'` prints one line of JSON."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from benchmarks.common import NETWORKS, builtin_model, make_images, make_int8_bundle, make_photographs, stated
from benchmarks.speed import contenders

if TYPE_CHECKING:
    from skinclf import Predictor

#: Built-in model of the network that the other ways run on photographs.
MOBILENET = "ham10000-mobilenetv2"


def files_of(images: str, count: int, kind: str) -> list[Path]:
    """Small JPEGs of 600 x 450, or photographs of 6000 x 4000."""
    make = {"small": make_images, "photographs": make_photographs}[kind]
    return make(Path(images), count)


def other(
    way: str,
    images: str,
    count: int,
    network: str,
    model_file: str,
    device: str = "cpu",
    kind: str = "small",
) -> dict[str, float]:
    """Images per second, end to end, of a way in `contenders.py`."""
    files = files_of(images, count, kind)
    keras = way.startswith("keras")
    given = Path(model_file) if keras else NETWORKS[network][1]
    on = () if keras else (device,)
    with tempfile.TemporaryDirectory() as folder:
        seconds = getattr(contenders, way)(files, given, network, Path(folder) / "out.csv", *on)
    return {"images_per_s": count / seconds}


def skinclf(
    images: str, count: int, network: str, model_file: str, runtime: str, precision: str, device: str = "cpu"
) -> dict[str, float]:
    """skinclf on the same Keras file, folder to CSV by the engine of `skinclf predict`; then the limits."""
    from skinclf import Predictor

    files = make_images(Path(images), count)
    how = {"runtime": runtime, "precision": precision, "device": device}
    if precision == "int8":
        predictor = Predictor(make_int8_bundle(Path(model_file).parent, network, files), **how)
    else:
        predictor = Predictor(model_file, options=stated(network), **how)
    return _rates(predictor, files, device)


def builtin(images: str, count: int, kind: str, scaled_decoding: int) -> dict[str, float]:
    """The built-in MobileNetV2 by `--runtime auto`, JPEGs in full (0) or scaled (2), folder to CSV; then the limits."""
    from skinclf import Predictor

    return _rates(
        Predictor(builtin_model(scaled_decoding, MOBILENET), device="cpu", gate="off"),
        files_of(images, count, kind),
        "cpu",
    )


def memory(images: str, count: int, scaled_decoding: int, workers: int) -> dict[str, float]:
    """Peak resident memory in MB of this process, which classifies photographs in `workers` threads."""
    from skinclf import Predictor

    predictor = Predictor(
        builtin_model(scaled_decoding, MOBILENET), device="cpu", workers=workers, gate="off"
    )
    failed = sum(not p.ok for p in predictor.stream(make_photographs(Path(images), count)))
    assert not failed
    # Not `getrusage`, whose peak includes that of the parent before this program was started.
    status = Path("/proc/self/status").read_text()
    return {"peak_mb": int(status.partition("VmHWM:")[2].split()[0]) / 1024}


def _rates(predictor: Predictor, files: list[Path], device: str) -> dict[str, float]:
    """Images per second of a run, and its limit.

    Decode alone on all workers, the network alone, and what both can give together: on a CPU they share the
    cores, on a GPU the slower one decides.
    """
    import numpy as np

    from skinclf import write_predictions

    count = len(files)
    size = predictor.batch_size or predictor.scorer.batch_size
    for _ in predictor.stream(files[: min(2 * size, count)]):
        pass
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        write_predictions(predictor, files, Path(folder) / "out.csv")
        rate = count / (time.perf_counter() - start)

    from concurrent.futures import ThreadPoolExecutor

    prepare = predictor.scorer.prepare
    with ThreadPoolExecutor(predictor.workers) as pool:
        pixels = np.stack([x for (x,) in pool.map(prepare, files[: predictor.workers])])
        pixels = pixels[np.arange(size) % len(pixels)]
        start = time.perf_counter()
        for _ in pool.map(prepare, files):
            pass
        decode = count / (time.perf_counter() - start)
    run = predictor.scorer.runtime.run
    run(pixels)
    rounds = max(4, count // size)
    start = time.perf_counter()
    for _ in range(rounds):
        run(pixels)
    model = rounds * size / (time.perf_counter() - start)
    limit = 1 / (1 / decode + 1 / model) if device == "cpu" else min(decode, model)
    info = predictor.scorer.info
    return {
        "images_per_s": rate,
        "decode": decode,
        "network": model,
        "limit": limit,
        "runtime": info["runtime"],
        "precision": info["precision"],
    }


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](**json.loads(sys.argv[2]))))
