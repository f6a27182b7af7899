"""One measurement per process: `python jobs.py JOB '{"argument": ...}'` prints one line of JSON."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parent))

import contenders
from common import NETWORKS, make_images


def other(way: str, images: str, count: int, network: str, model_file: str) -> dict[str, float]:
    """A way of `contenders.py`: end-to-end images per second."""
    files = make_images(Path(images), count)
    with tempfile.TemporaryDirectory() as folder:
        given = Path(model_file) if way.startswith("keras") else NETWORKS[network][1]
        seconds = getattr(contenders, way)(files, given, network, Path(folder) / "out.csv")
    return {"images_per_s": count / seconds}


def _predictor(network: str, model_file: str, runtime: str, precision: str):
    from skinclf import Predictor

    scale = "caffe" if network == "resnet50" else "raw"
    labels = "malignant" if NETWORKS[network][1] == 2 else "ham10000"
    return Predictor(
        model_file, labels=labels, preprocess=scale, runtime=runtime, precision=precision, device="cpu"
    )


def skinclf(
    images: str, count: int, network: str, model_file: str, runtime: str, precision: str
) -> dict[str, float]:
    """skinclf on the same Keras file: folder to CSV, by the engine that `skinclf predict` uses."""
    files = make_images(Path(images), count)
    predictor = _predictor(network, model_file, runtime, precision)
    predictor.predict(files[:32])
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        predictor.write(files, Path(folder) / "out.csv")
        seconds = time.perf_counter() - start
    return {"images_per_s": count / seconds}


def limits(
    images: str, count: int, network: str, model_file: str, runtime: str, precision: str
) -> dict[str, float]:
    """Decode alone on all cores, the network alone, and what both can give together on a CPU."""
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    from skinclf.decoding import default_workers
    from skinclf.images import load_image

    files = make_images(Path(images), count)
    predictor = _predictor(network, model_file, runtime, precision)
    preprocess = predictor.spec.preprocess

    def decode(path: Path) -> np.ndarray:
        return preprocess.pixels(load_image(path, draft=preprocess.draft_size))

    with ThreadPoolExecutor(default_workers()) as pool:
        pixels = np.stack(list(pool.map(decode, files[:32])))
        start = time.perf_counter()
        for _ in pool.map(decode, files):
            pass
        decode_rate = count / (time.perf_counter() - start)
    run = predictor.scorer.runtime.run
    run(pixels)
    rounds = max(1, count // len(pixels))
    start = time.perf_counter()
    for _ in range(rounds):
        run(pixels)
    model_rate = rounds * len(pixels) / (time.perf_counter() - start)
    return {"decode": decode_rate, "model": model_rate, "limit": 1 / (1 / decode_rate + 1 / model_rate)}


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](**json.loads(sys.argv[2]))))
