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
from common import NETWORKS, make_images, make_int8_bundle, stated


def other(
    way: str, images: str, count: int, network: str, model_file: str, device: str = "cpu"
) -> dict[str, float]:
    """Images per second, end to end, of a way in `contenders.py`."""
    files = make_images(Path(images), count)
    keras = way.startswith("keras")
    given = Path(model_file) if keras else NETWORKS[network][1]
    on = () if keras else (device,)
    with tempfile.TemporaryDirectory() as folder:
        seconds = getattr(contenders, way)(files, given, network, Path(folder) / "out.csv", *on)
    return {"images_per_s": count / seconds}


def skinclf(
    images: str, count: int, network: str, model_file: str, runtime: str, precision: str, device: str = "cpu"
) -> dict[str, float]:
    """skinclf on the same Keras file, folder to CSV by the engine of `skinclf predict`; then the limits.

    Decode alone on all workers, the network alone, and what both can give together: on a CPU they share the
    cores, on a GPU the slower one decides.
    """
    import numpy as np

    from skinclf import Predictor, write_predictions

    files = make_images(Path(images), count)
    how = {"runtime": runtime, "precision": precision, "device": device}
    if precision == "int8":
        predictor = Predictor(make_int8_bundle(Path(model_file).parent, network, files), **how)
    else:
        predictor = Predictor(model_file, options=stated(network), **how)
    size = predictor.batch_size or predictor.scorer.batch_size
    for _ in predictor.stream(files[: 2 * size]):
        pass
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        write_predictions(predictor, files, Path(folder) / "out.csv")
        rate = count / (time.perf_counter() - start)

    from concurrent.futures import ThreadPoolExecutor

    prepare = predictor.scorer.prepare
    with ThreadPoolExecutor(predictor.workers) as pool:
        pixels = np.stack([x for (x,) in pool.map(prepare, (files * size)[:size])])
        start = time.perf_counter()
        for _ in pool.map(prepare, files):
            pass
        decode = count / (time.perf_counter() - start)
    run = predictor.scorer.runtime.run
    run(pixels)
    rounds = max(1, count // size)
    start = time.perf_counter()
    for _ in range(rounds):
        run(pixels)
    model = rounds * size / (time.perf_counter() - start)
    limit = 1 / (1 / decode + 1 / model) if device == "cpu" else min(decode, model)
    return {"images_per_s": rate, "decode": decode, "model": model, "limit": limit}


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](**json.loads(sys.argv[2]))))
