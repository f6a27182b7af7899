"""The importer against real TensorFlow: same file, same pixels, same probabilities."""

from __future__ import annotations

import csv
import importlib.util
import io
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.direct_graph import direct_answers
from support.hub_server import HubServer
from support.keras_fixtures import Array, assert_lively, stated
from support.keras_worker import KerasWorker
from support.keras_zoo import MODELS, SIZE
from support.pictures import encode

from skinclf.errors import UnsafeModelError
from skinclf.images.preprocess import scaling
from skinclf.images.synthetic import synthetic_lesion
from skinclf.labels import MALIGNANT
from skinclf.models.formats.keras.file import import_keras
from skinclf.models.loaded import LoadedModel, Stated
from skinclf.models.probabilities import probabilities

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.skipif(
        any(importlib.util.find_spec(x) is None for x in ("tensorflow", "keras", "tf_keras")),
        reason="needs tensorflow and tf_keras",
    ),
]
TOLERANCE = 1e-5
LEGACY, MODERN = "tf_keras", "keras"


@pytest.fixture(scope="module")
def keras_worker() -> Iterator[KerasWorker]:
    worker = KerasWorker()
    yield worker
    worker.close()


def load(path: Path, told: Stated) -> LoadedModel:
    return import_keras(path, told, name="m", source=str(path))


def answers(model: LoadedModel, images: Array) -> tuple[Array, Array]:
    """What the network answers, and what it answers when it computes in float64."""
    network, x = model.torch_network(), torch.from_numpy(images).permute(0, 3, 1, 2)
    with torch.inference_mode():
        single, double = network(x), network.double()(x.double())
    return tuple(probabilities(scores.numpy(), model.spec.activation) for scores in (single, double))


def expected(raw: Array) -> Array:
    return np.concatenate([1 - raw, raw], axis=1) if raw.shape[1] == 1 else raw


def compare(folder: Path, suffixes: list[str], told: Stated) -> tuple[LoadedModel, float]:
    """Compare every file with TensorFlow; one that holds the graph and the weights of the first is the same network."""
    first, difference = None, 0.0
    for suffix in suffixes:
        model = load(folder / f"model{suffix}", told)
        if first is None or not same_network(first, model):
            first, difference = model, max(difference, compare_answers(folder, suffix, model))
    assert first is not None
    return first, difference


def same_network(one: LoadedModel, other: LoadedModel) -> bool:
    """Whether two networks have the same operations, the same numbers, bit for bit, and the same last step."""
    (a, b), (x, y) = (one.spec, other.spec), (tensors(one), tensors(other))
    return (
        (a.model_args, a.activation) == (b.model_args, b.activation)
        and x.keys() == y.keys()
        and all(x[key].dtype == y[key].dtype and np.array_equal(x[key], y[key]) for key in x)
    )


def tensors(model: LoadedModel) -> Mapping[str, Array]:
    assert model.tensors is not None
    return model.tensors()


def compare_answers(folder: Path, suffix: str, model: LoadedModel) -> float:
    data = np.load(folder / "data.npz")
    wanted = expected(data["answers"])
    assert_lively(wanted)
    found, exact = answers(model, data["images"])
    difference = float(np.abs(found - wanted).max())
    # A random network may amplify float32's own rounding; how much, the same network in float64 tells.
    rounding = float(np.abs(found - exact).max())
    assert difference <= max(TOLERANCE, 4 * rounding), f"{suffix}: {difference:.2e}, rounding {rounding:.2e}"
    assert difference <= 10 * TOLERANCE, f"{suffix}: {difference:.2e}"
    direct = probabilities(direct_answers(model, data["images"]), model.spec.activation)
    difference_of_two = float(np.abs(direct - found).max())
    assert difference_of_two <= max(TOLERANCE, 4 * rounding), f"{suffix}, OpenVINO: {difference_of_two:.2e}"
    return difference


# --- families ----------------------------------------------------------------------------------

# (family, height, framework, head): odd and even sizes, down to the smallest allowed. Keras 3 saves each family in
# both of its formats, Keras 2 under another head; the heads are those of the five published projects (two of them
# PyTorch ones, rebuilt in Keras), and MobileNetV2 takes every one in both.
FAMILIES = [
    ("ResNet50", 64, MODERN, "devatreya"),
    ("ResNet50", 65, LEGACY, "skinsight"),
    ("ResNet101", 49, LEGACY, "assistant"),
    ("ResNet101", 32, MODERN, "dermalyze"),
    ("ResNet50V2", 64, MODERN, "skinsight"),
    ("ResNet50V2", 51, LEGACY, "analyzer"),
    ("VGG16", 48, MODERN, "assistant"),
    ("VGG16", 32, LEGACY, "devatreya"),
    ("VGG19", 33, MODERN, "analyzer"),
    ("VGG19", 40, LEGACY, "assistant"),
    ("InceptionV3", 76, MODERN, "devatreya"),
    ("InceptionV3", 75, LEGACY, "dermalyze"),
    ("Xception", 71, MODERN, "assistant"),
    ("Xception", 74, LEGACY, "skinsight"),
    ("DenseNet121", 48, MODERN, "skinsight"),
    ("DenseNet121", 39, LEGACY, "assistant"),
    ("MobileNet", 64, MODERN, "dermalyze"),
    ("MobileNet", 47, LEGACY, "analyzer"),
    *(
        ("MobileNetV2", size, framework, head)
        for framework in (MODERN, LEGACY)
        for size, head in (
            (64, "skinsight"),
            (65, "devatreya"),
            (50, "assistant"),
            (39, "analyzer"),
            (32, "dermalyze"),
        )
    ),
    ("MobileNetV3Small", 64, MODERN, "assistant"),
    ("MobileNetV3Small", 65, LEGACY, "dermalyze"),
    ("MobileNetV3Large", 50, LEGACY, "devatreya"),
    ("MobileNetV3Large", 64, MODERN, "analyzer"),
    ("EfficientNetB0", 64, MODERN, "skinsight"),
    ("EfficientNetB0", 65, LEGACY, "devatreya"),
    ("EfficientNetB1", 40, MODERN, "assistant"),
    ("EfficientNetB1", 37, LEGACY, "analyzer"),
    ("EfficientNetB2", 43, LEGACY, "skinsight"),
    ("EfficientNetB2", 48, MODERN, "dermalyze"),
    ("EfficientNetB3", 36, MODERN, "devatreya"),
    ("EfficientNetB3", 45, LEGACY, "assistant"),
    ("EfficientNetV2B0", 64, MODERN, "analyzer"),
    ("EfficientNetV2B0", 61, LEGACY, "assistant"),
    ("EfficientNetV2S", 48, MODERN, "skinsight"),
    ("EfficientNetV2S", 35, LEGACY, "devatreya"),
    ("ConvNeXtTiny", 64, MODERN, "assistant"),
]
#: How often a block is repeated at most, where a family differs from a whole one of the list in that number alone (and
#: in widths, which stay): ResNet50, EfficientNetB0, EfficientNetV2B0 and Keras 2's DenseNet121 are whole. Time grows with
#: the number of layers.
BLOCKS = {("DenseNet121", MODERN): 3} | {
    (family, framework): blocks
    for family, blocks in (
        ("ResNet101", 2),
        ("EfficientNetB1", 1),
        ("EfficientNetB2", 1),
        ("EfficientNetB3", 1),
        ("EfficientNetV2S", 2),
    )
    for framework in (MODERN, LEGACY)
}
SCALES_ITSELF = ("EfficientNet", "MobileNetV3", "ConvNeXt")


@pytest.mark.slow
@pytest.mark.parametrize(("family", "size", "framework", "head"), FAMILIES)
def test_family(
    keras_worker: KerasWorker,
    tmp_path: Path,
    family: str,
    size: int,
    framework: str,
    head: str,
    record_property: Any,
) -> None:
    formats = [".h5", ".keras"] if framework == MODERN else [".h5"]
    made = keras_worker(
        folder=tmp_path,
        framework=framework,
        family=family,
        size=[size, size + 5],
        head=head,
        formats=formats,
        scaled=not family.startswith(SCALES_ITSELF),
        blocks=BLOCKS.get((family, framework)),
    )
    told = stated(made["outputs"], height=size, width=size + 5)
    model, difference = compare(tmp_path, formats, told)
    assert model.spec.activation == ("sigmoid" if head == "devatreya" else "softmax")
    record_property(f"{family} {framework} {head}", f"{difference:.1e}")


# --- every layer ---------------------------------------------------------------------------------

#: What one of the two frameworks cannot save, or does not have.
FORMATS = {
    ("modern_idle", MODERN): [".keras"],
    ("modern_idle", LEGACY): [],
    ("idle", MODERN): [".keras"],
    ("preprocess_caffe", LEGACY): [".h5"],
    ("shared_between", MODERN): [".h5"],  # `.keras` holds such a layer once, and Keras itself cannot load it
    ("shared_between", LEGACY): [".h5"],
}


@pytest.mark.parametrize("framework", [MODERN, LEGACY])
@pytest.mark.parametrize("name", MODELS)
def test_layers(keras_worker: KerasWorker, tmp_path: Path, name: str, framework: str) -> None:
    formats = FORMATS.get((name, framework), [".h5", ".keras"])
    if not formats:
        pytest.skip("Keras 3 only")
    made = keras_worker(folder=tmp_path, framework=framework, model=name, formats=formats)
    told = stated(made["outputs"], height=SIZE[0], width=SIZE[1])
    if name == "from_logits":
        data = dict(np.load(tmp_path / "data.npz"))
        shifted = np.exp(data["answers"] - data["answers"].max(1, keepdims=True))
        np.savez(
            tmp_path / "data.npz", images=data["images"], answers=shifted / shifted.sum(1, keepdims=True)
        )
    compare(tmp_path, formats, told)


# --- other files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("framework", [MODERN, LEGACY])
@pytest.mark.parametrize("suffix", [".weights.h5", "_weights.h5"])
@pytest.mark.parametrize("name", ["depthwise", "nesting", "simple_cnn", "adapted"])
def test_weights_only(
    keras_worker: KerasWorker, tmp_path: Path, name: str, suffix: str, framework: str
) -> None:
    """With the architecture as JSON: today's layout, and the one that Keras 2 kept before."""
    if framework == MODERN and suffix == "_weights.h5":
        pytest.skip("Keras 3 no longer writes these")
    made = keras_worker(folder=tmp_path, framework=framework, model=name, formats=[suffix], json=True)
    told = stated(made["outputs"], height=SIZE[0], width=SIZE[1])
    told = Stated(labels=told.labels, preprocess=told.preprocess, architecture=str(tmp_path / "model.json"))
    compare(tmp_path, [suffix], told)


@pytest.mark.parametrize("framework", [MODERN, LEGACY])
def test_real_lambdas_are_refused(keras_worker: KerasWorker, tmp_path: Path, framework: str) -> None:
    keras_worker(folder=tmp_path, framework=framework, model="lambda", formats=[".h5", ".keras"])
    for suffix in (".h5", ".keras"):
        with pytest.raises(UnsafeModelError, match="'sneaky' is a Lambda"):
            load(tmp_path / f"model{suffix}", stated(3, height=16))


PREDICT = """
import pathlib, sys
from skinclf_cli.main import run
status = run(sys.argv[1:])
# Not `ru_maxrss`: a child begins with the peak of its parent there.
place = pathlib.Path("/proc/self/status")
lines = place.read_text().splitlines() if place.exists() else []
print(*(x.split()[1] for x in lines if x.startswith("VmHWM")))
sys.exit(status)
"""


@pytest.mark.slow
@pytest.mark.parametrize("framework", [MODERN, LEGACY])
def test_binary_resnet50_from_a_jpeg(keras_worker: KerasWorker, tmp_path: Path, framework: str) -> None:
    """The published model by its name, from JPEG files to rows, against the arithmetic of its author's code.

    A Hub of the test's own holds a network of the published one's shape; the command line runs in a process of its
    own, whose peak memory is bounded.
    """
    cv2 = pytest.importorskip("cv2")
    buffers = [encode(synthetic_lesion(seed)) for seed in range(6)]
    for number, data in enumerate(buffers):
        (tmp_path / f"{number}.jpg").write_bytes(data)
    decoded = [np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in buffers]
    resized = np.stack([cv2.resize(x, (224, 224)).astype(np.float32) for x in decoded])
    np.save(tmp_path / "inputs.npy", resized[..., ::-1] - np.array([103.939, 116.779, 123.68], np.float32))
    made = keras_worker(
        folder=tmp_path,
        framework=framework,
        family="ResNet50",
        head="devatreya",
        size=[224, 224],
        formats=[".h5"],
        inputs=tmp_path / "inputs.npy",
    )
    assert made["parameters"] == 24_778_625
    wanted = expected(np.load(tmp_path / "data.npz")["answers"])
    assert_lively(wanted)

    model = load(
        tmp_path / "model.h5", Stated(labels=MALIGNANT, preprocess=scaling("caffe", library="opencv"))
    )
    state = {
        k: v for k, v in model.torch_network().state_dict().items() if not k.endswith("num_batches_tracked")
    }
    assert sum(v.numel() for v in state.values()) == 24_778_625
    assert [tuple(v.shape) for k, v in state.items() if "dense" in k and v.ndim == 2] == [
        (512, 2048),
        (256, 512),
        (1, 256),
    ]

    repository, table = "devatreya/skin-lesion-resnet50", tmp_path / "preds.csv"
    with HubServer() as hub:
        sha = hub.add_repo(repository, {"resnet50_best.h5": (tmp_path / "model.h5").read_bytes()})
        environment = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
        rows, _ = predict(environment, table, "--model", repository, "--image-dir", str(tmp_path))
    assert [(Path(row["image"]).name, row["status"]) for row in rows] == [
        (f"{n}.jpg", "ok") for n in range(6)
    ]
    malignant = np.array([float(row["probability_malignant"]) for row in rows])
    np.testing.assert_allclose(malignant, wanted[:, 1], rtol=0, atol=TOLERANCE)
    assert [row["predicted_class"] for row in rows] == [MALIGNANT[int(p >= 0.5)].name for p in wanted[:, 1]]
    assert sha in table.with_name("preds.csv.run.json").read_text()
    # From the cache, and no more memory for a first image than was promised.
    image = str(tmp_path / "0.jpg")
    (row,), peak = predict(environment, table, "--model", repository, "--offline", "--overwrite", image)
    assert float(row["probability_malignant"]) == pytest.approx(malignant[0], abs=1e-6)
    assert peak is None or peak < 1.2e9


def predict(
    environment: dict[str, str], table: Path, *arguments: str
) -> tuple[list[dict[str, str]], int | None]:
    """Rows of `skinclf predict` in a process of its own, and its peak memory in bytes where that can be read."""
    command = [
        sys.executable,
        "-c",
        PREDICT,
        "predict",
        *arguments,
        "--output",
        str(table),
        "--runtime",
        "torch",
    ]
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    peak = done.stdout.split()
    return rows, int(peak[-1]) * 1024 if peak else None
