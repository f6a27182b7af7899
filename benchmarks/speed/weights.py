"""Keras files without TensorFlow: time and memory of loading, speed of rebuilt networks beside native ones.

    $ python -m benchmarks.speed.weights first-image  # a ResNet50 `.h5` of 100 MB: seconds and peak memory of a process
    $ python -m benchmarks.speed.weights graphs       # rebuilt ResNet50 and EfficientNet-B0 beside timm's

TensorFlow is needed once, to write the files.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click

from benchmarks.common import NETWORKS, machine, make_images, make_keras_model

#: The binary ResNet50 of devatreya/skin-lesion-resnet50 with random weights: 24,778,625 parameters.
_BINARY_RESNET50 = """
import sys, keras
from keras import layers as k
inputs = k.Input((224, 224, 3))
base = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(224, 224, 3))
x = k.Dropout(0.5)(k.BatchNormalization()(k.GlobalAveragePooling2D()(base(inputs, training=False))))
x = k.Dropout(0.5)(k.BatchNormalization()(k.Dense(512, activation="relu")(x)))
x = k.Dropout(0.3)(k.Dense(256, activation="relu")(x))
model = keras.Model(inputs, k.Dense(1, activation="sigmoid", dtype="float32")(x))
assert model.count_params() == 24_778_625, model.count_params()
model.save(sys.argv[1])
"""
_FIRST_IMAGE = """
import json, resource, sys, time
start = time.perf_counter()
from skinclf import Predictor
from skinclf.models.options import ModelOptions
imported = time.perf_counter()
predictor = Predictor(
    sys.argv[1], options=ModelOptions(labels="malignant", preprocess="caffe"), runtime=sys.argv[3], device="cpu"
)
predictor.predict(sys.argv[2])
done = time.perf_counter()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"import": imported - start, "load and predict": done - imported, "peak": peak}))
"""


@click.group()
@click.option("--work", default="build/bench", type=click.Path(path_type=Path), show_default=True)
@click.pass_context
def bench(context: click.Context, work: Path) -> None:
    """Benchmarks of the Keras importer."""
    work.mkdir(parents=True, exist_ok=True)
    context.obj = work.resolve()
    click.echo(json.dumps(machine()))


@bench.command("first-image")
@click.option("--repeat", default=5, show_default=True)
@click.option("--runtime", "runtimes", multiple=True, default=["torch"], show_default=True)
@click.pass_obj
def first_image(work: Path, repeat: int, runtimes: tuple[str, ...]) -> None:
    """Seconds and peak memory from nothing to the first image's probability, each time in a fresh process."""
    file = work / "binary-resnet50.h5"
    if not file.exists():
        subprocess.run([sys.executable, "-c", _BINARY_RESNET50, str(file)], check=True, capture_output=True)
    (image,) = make_images(work / "images-1", 1)
    click.echo(f"{file.stat().st_size / 1e6:.1f} MB")
    click.echo("runtime       whole process  of it imports  load and predict  peak MB")
    for runtime in runtimes:
        for _ in range(repeat):
            start = time.perf_counter()
            command = [sys.executable, "-c", _FIRST_IMAGE, str(file), str(image), runtime]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            whole = time.perf_counter() - start
            part = json.loads(done.stdout.strip().splitlines()[-1])
            click.echo(
                f"{runtime:12s}  {whole:11.2f} s  {part['import']:11.2f} s  {part['load and predict']:14.2f} s  "
                f"{part['peak']:7.0f}"
            )


@bench.command()
@click.option("--network", "networks", multiple=True, default=list(NETWORKS), show_default=True)
@click.option("--precision", default="fp32", type=click.Choice(["fp32", "bf16"]), show_default=True)
@click.option("--compiled", is_flag=True, help="With torch.compile.")
@click.option("--batch", default=32, show_default=True)
@click.option("--rounds", default=9, show_default=True)
@click.pass_obj
def graphs(
    work: Path, networks: tuple[str, ...], precision: str, compiled: bool, batch: int, rounds: int
) -> None:
    """Images per second of a network rebuilt from its Keras file and of timm's own, interleaved in one process.

    Both run in the torch runtime (BatchNorm folded, channels_last) at 224 px. Keras' ResNet50 halves the image in
    a block's first convolution, timm's in its second, which costs 6 % more multiplications.
    """
    import numpy as np
    import timm

    from skinclf.models.load import load_model
    from skinclf.models.loaded import LoadedModel
    from skinclf.models.options import ModelOptions
    from skinclf.runtimes.create import create_runtime

    pixels = np.random.default_rng(0).integers(0, 256, (batch, 224, 224, 3), np.uint8)
    for network in networks:
        scale, labels = ("caffe", "malignant") if NETWORKS[network][1] == 2 else ("raw", "ham10000")
        rebuilt = load_model(
            make_keras_model(work, network), options=ModelOptions(labels=labels, preprocess=scale)
        )
        native = LoadedModel(
            spec=rebuilt.spec, network=timm.create_model(network, num_classes=NETWORKS[network][1]).eval()
        )
        name = "torch-compile" if compiled else "torch"
        runs = [
            create_runtime(model, runtime=name, device="cpu", precision=precision).run
            for model in (rebuilt, native)
        ]
        seconds = [[_timed(run, pixels) for run in runs] for _ in range(rounds + 1)][1:]
        ours, theirs = (statistics.median(row[i] for row in seconds) for i in (0, 1))
        ratio = statistics.median(row[1] / row[0] for row in seconds)
        click.echo(
            f"{network:16s} rebuilt {batch / ours:6.1f} images/s, timm {batch / theirs:6.1f} images/s, "
            f"ratio {ratio:.2f} (above 1: the rebuilt one is faster)"
        )


def _timed(run: Callable[[object], object], pixels: object) -> float:
    start = time.perf_counter()
    run(pixels)
    return time.perf_counter() - start


if __name__ == "__main__":
    bench()
