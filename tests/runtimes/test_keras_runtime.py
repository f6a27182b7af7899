"""`skinclf.runtimes.keras`: TensorFlow runs the file itself."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from skinclf.errors import InvalidArgumentError, MissingExtraError, ModelError
from skinclf.images.preprocess import scaling
from skinclf.labels import HAM10000
from skinclf.models.loaded import LoadedModel
from skinclf.models.spec import ModelSpec
from skinclf.runtimes.create import create_runtime
from skinclf.runtimes.keras import KerasRuntime

# One process for everything that needs TensorFlow: importing it takes seconds.
WORK = """
import json, sys, warnings
from pathlib import Path
import numpy as np
warnings.simplefilter("ignore")
import keras
from skinclf.labels import HAM10000, MALIGNANT
from skinclf.models.loaded import LoadedModel
from skinclf.images.preprocess import scaling
from skinclf.runtimes.create import create_runtime
from skinclf.models.probabilities import probabilities
from skinclf.models.spec import ModelSpec

try:
    import tf_keras
except ImportError:
    tf_keras = None
folder, found = Path(sys.argv[1]), {}
pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
preprocess = scaling("caffe", height=32, width=32)


def make(k, outputs, activation, policy, layer):
    k.utils.set_random_seed(1)
    k.mixed_precision.set_global_policy(policy)
    inputs = k.layers.Input((32, 32, 3))
    x = k.layers.Conv2D(8, 3, activation="relu")(k.layers.BatchNormalization()(inputs))
    x = k.layers.Dense(outputs, activation=None if layer else activation)(k.layers.GlobalAveragePooling2D()(x))
    if layer:
        x = k.layers.Activation(activation)(x) if activation == "sigmoid" else k.layers.Softmax()(x)
    model = k.Model(inputs, x)
    k.mixed_precision.set_global_policy("float32")
    return model


cases = [
    (7, "softmax", "softmax", "float32", False), (7, None, "softmax", "float32", False),
    (1, "sigmoid", "sigmoid", "float32", False), (1, None, "sigmoid", "float32", False),
    (1, "sigmoid", "identity", "float32", False), (7, "softmax", "identity", "float32", False),
    (7, "softmax", "softmax", "mixed_float16", False), (7, "softmax", "softmax", "float32", True),
    (1, "sigmoid", "sigmoid", "float32", True),
]
for library, suffix in ((keras, ".keras"), (keras, ".h5"), (tf_keras, ".h5")):
    if library is None:
        continue
    for outputs, ends, activation, policy, layer in cases:
        model = make(library, outputs, ends, policy, layer)
        file = folder / ("m" + suffix)
        model.save(file)
        exact = make(library, outputs, ends, "float32", layer)
        exact.set_weights(model.get_weights())
        p = np.asarray(exact(preprocess.normalize(pixels).transpose(0, 2, 3, 1)), np.float64)
        if ends is None:
            p = np.exp(p) / np.exp(p).sum(1, keepdims=True) if outputs > 1 else 1 / (1 + np.exp(-p))
        if outputs == 1:
            p = np.concatenate([1 - p, p], axis=1)
        spec = ModelSpec(name="k", architecture="skinclf/keras-graph", preprocess=preprocess, activation=activation,
                         labels=HAM10000 if outputs > 1 else MALIGNANT)
        runtime = create_runtime(LoadedModel(spec=spec, artifact=file), device="cpu")
        assert runtime.name == "keras", runtime.name
        scores = runtime.run(pixels)
        assert scores.dtype == np.float32
        key = f"{library.__name__}{suffix} {outputs} {ends} {activation} {policy} {layer}"
        found[key] = float(np.abs(probabilities(scores, activation) - p).max())
    inputs = library.layers.Input((32, 32, 3))
    x = library.layers.Dense(7, activation="softmax")(library.layers.GlobalAveragePooling2D()(inputs))
    named = library.Model({"image": inputs}, {"diagnosis": x})
    named.save(folder / ("m" + suffix))
    runtime = create_runtime(LoadedModel(
        spec=ModelSpec(name="k", architecture="skinclf/keras-graph", preprocess=preprocess, labels=HAM10000),
        artifact=folder / ("m" + suffix)), device="cpu")
    p = np.asarray(library.Model(inputs, x)(preprocess.normalize(pixels).transpose(0, 2, 3, 1)))
    found[f"{library.__name__}{suffix} named"] = float(np.abs(probabilities(runtime.run(pixels), "softmax") - p).max())
import tensorflow as tf
allowed, whole = tf.config.experimental.tensor_float_32_execution_enabled, []
graph = runtime._model
runtime._model = lambda *a, **k: (whole.append(not allowed()), graph(*a, **k))[1]
runtime.run(pixels)
found["TF32 in the model"], found["TF32 off after it"] = float(whole != [True]), float(not allowed())
print(json.dumps(found))
"""


@pytest.mark.tensorflow
def test_probabilities_are_those_of_keras(tmp_path):
    pytest.importorskip("tensorflow")
    done = subprocess.run(
        [sys.executable, "-c", WORK, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) >= 18
    assert {key: value for key, value in found.items() if not value < 1e-6} == {}


def model(artifact, *, architecture="skinclf/keras-graph"):
    spec = ModelSpec(
        name="k", architecture=architecture, labels=HAM10000, preprocess=scaling("caffe", height=32, width=32)
    )
    return LoadedModel(spec=spec, artifact=artifact)


def test_only_keras_files_run_here(tmp_path):
    for other in (model(None), model(tmp_path / "m.onnx", architecture="onnx")):
        with pytest.raises(ModelError, match="not a Keras file"):
            create_runtime(other, runtime="keras")


def test_without_tensorflow_the_message_holds_the_line_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(MissingExtraError, match=r"skinclf\[tensorflow\]"):
        KerasRuntime(model(tmp_path / "m.h5"))


def test_other_precisions_are_refused(tmp_path):
    with pytest.raises(InvalidArgumentError, match="auto and fp32"):
        KerasRuntime(model(tmp_path / "m.h5"), precision="bf16")


@pytest.mark.parametrize(
    ("gives", "activation", "values", "expected"),
    [
        ("softmax", "softmax", [[0.25, 0.75]], np.log([[0.25, 0.75]])),
        ("sigmoid", "sigmoid", [[0.25]], [[np.log(1 / 3)]]),
        ("softmax", "softmax", [[0.0, 1.0]], [[np.log(np.finfo(np.float32).tiny), 0.0]]),
        ("linear", "softmax", [[-3.0, 2.0]], [[-3.0, 2.0]]),
        ("softmax", "identity", [[0.25, 0.75]], [[0.25, 0.75]]),
    ],
)
def test_what_a_file_gives_becomes_raw_outputs(gives, activation, values, expected):
    runtime = KerasRuntime.__new__(KerasRuntime)
    runtime._activation, runtime._gives = activation, gives
    assert np.allclose(runtime._raw(np.asarray(values)), expected, rtol=1e-6)
