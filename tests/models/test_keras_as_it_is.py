"""Keras files that only Keras runs (`runtime="keras"`), and layers rebuilt from them, against `model.predict`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support.keras_fixtures import layer, stated, tiny, tiny_weights, write_h5

from skinclf.errors import ModelError, UnsafeModelError
from skinclf.models.formats.keras.file import import_keras

# One process for everything that needs TensorFlow: importing it takes seconds.
WORK = """
import json, sys, warnings
from dataclasses import replace
from pathlib import Path
warnings.simplefilter("ignore")
import numpy as np, keras
import tensorflow as tf
from support.keras_fixtures import stated
from skinclf.models.formats.keras.file import import_keras
from skinclf.models.probabilities import probabilities
from skinclf.runtimes.create import create_runtime
try:
    import tf_keras
except ImportError:
    tf_keras = None
rng, found = np.random.default_rng(0), {}
pixels = rng.integers(0, 256, (2, 40, 36, 3), np.uint8)


def attention(L, x):
    x = L.Reshape((-1, 8))(L.Conv2D(8, 8, strides=8)(x))
    return L.GlobalAveragePooling1D()(L.MultiHeadAttention(2, 4)(x, x))


def scale(L, x):
    from keras.src.applications.convnext import LayerScale
    return LayerScale(0.3, 6)(L.Conv2D(6, 3)(x))


both = {
    "group norm": ("keras", lambda L, x: L.GroupNormalization(1)(x)),
    "attention": ("keras", attention),
    "transposed": ("keras", lambda L, x: L.Conv2DTranspose(4, 3)(x)),
    "center crop": ("torch", lambda L, x: L.CenterCrop(31, 20)(x)),
    "random crop": ("torch", lambda L, x: L.RandomCrop(24, 16)(x)),
}
three = {
    "mean": ("keras", lambda L, x: keras.ops.mean(x, axis=(1, 2))),
    "resize": ("keras", lambda L, x: keras.ops.image.resize(x, (30, 20), interpolation="bicubic")),
    "cast": ("torch", lambda L, x: keras.ops.cast(x, "float32")),
    "cast to half": ("torch", lambda L, x: L.Rescaling(1.0)(keras.ops.cast(x, "float16"))),
    "layer scale": ("torch", scale),
}
two = {
    "tf resize": ("keras", lambda L, x: tf.image.resize(x, (30, 20), method="bicubic")),
    "tf mean": ("keras", lambda L, x: tf.reduce_mean(x, axis=[1, 2])),
    "tf cast": ("torch", lambda L, x: tf.cast(x, "float32")),
}
plans = [(keras, ".keras", n, *x) for n, x in (both | three).items()]
# Keras' own loader finds no operation such as Mean in a .h5 file, which records no module.
plans += [(keras, ".h5", n, *x) for n, x in (both | {"layer scale": three["layer scale"]}).items()]
plans += [(tf_keras, ".h5", n, *x) for n, x in (both | two).items()] if tf_keras else []
for number, (k, suffix, name, runtime, part) in enumerate(plans):
    ending = ("softmax", "sigmoid")[number % 2]
    x = i = k.Input((40, 36, 3))
    x = part(k.layers, k.layers.Rescaling(1 / 255)(x))
    x = k.layers.GlobalAveragePooling2D()(x) if len(x.shape) == 4 else x
    model = k.Model(i, k.layers.Dense(7, activation=ending)(x))
    model.set_weights([w + rng.normal(0, 0.3, w.shape).astype("f4") if w.ndim else w for w in model.get_weights()])
    file = Path(sys.argv[1]) / ("m" + suffix)
    model.save(file)
    want = model.predict(pixels.astype(np.float32), verbose=0)
    told = replace(stated(7, height=40, width=36), runtime=runtime)
    loaded = import_keras(file, told, name="m", source="s")
    got = probabilities(create_runtime(loaded, runtime=runtime, device="cpu").run(pixels), loaded.spec.activation)
    right = loaded.has_network == (runtime == "torch") and loaded.spec.activation.startswith(
        "softmax" if ending == "softmax" else "independent")
    found[f"{k.__name__}{suffix} {name} {ending}"] = float(np.abs(got - want).max()) if right else 9.0
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def differences(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    pytest.importorskip("tensorflow")
    command = [sys.executable, "-c", WORK, str(tmp_path_factory.mktemp("keras"))]
    # The child process finds what this one finds: the package and the helpers of the tests.
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_probabilities_are_those_of_model_predict(differences):
    assert len(differences) >= 20
    assert {key: value for key, value in differences.items() if not value < 1e-5} == {}


def load(path: Path, runtime: str, *, height: int = 16):
    told = replace(stated(3, height=height), runtime=runtime)
    return import_keras(path, told, name="mine", source="somewhere")


def test_the_advice_of_the_refusal_works_when_followed(tmp_path):
    path = write_h5(
        tmp_path / "m.h5", tiny(layer("Conv2DTranspose", "up", filters=3, kernel_size=3)), tiny_weights()
    )
    with pytest.raises(ModelError, match=r"'Conv2DTranspose'.*`runtime` keras runs the file as it is"):
        load(path, "auto")
    loaded = load(path, "keras")
    assert not loaded.has_network
    assert loaded.artifact == path


@pytest.mark.parametrize(
    "bad",
    [
        layer("TFOpLambda", "read", function="io.read_file"),
        layer("TFOpLambda", "write", function="io.write_file"),
        layer("TFOpLambda", "picture", function="image.decode_png"),
        layer("TFSMLayer", "program", filepath="/somewhere"),
        layer("TorchModuleWrapper", "pickle", module="..."),
        layer(
            "GroupNormalization",
            "g",
            gamma_initializer={"module": "os", "class_name": "system", "config": {}},
        ),
        layer(
            "GroupNormalization", "g", beta_initializer={"module": "keras.utils", "class_name": "get_file"}
        ),
        layer("Conv2DTranspose", "c", filters=3, kernel_size=3, activation="mine"),
        layer("TimeDistributed", "t", layer={"class_name": "TFSMLayer", "config": {}}),
    ],
)
def test_what_could_run_or_read_something_else_never_reaches_keras(tmp_path, bad):
    path = write_h5(tmp_path / "m.h5", tiny(bad), tiny_weights())
    with pytest.raises(UnsafeModelError):
        load(path, "keras")


@pytest.mark.parametrize("size", [[None, None], [None, 16], [16, None]])
def test_an_input_of_any_size_asks_for_the_size(tmp_path, size):
    model = tiny()
    first = model["config"]["layers"][0]["config"]
    key = "batch_shape" if "batch_shape" in first else "batch_input_shape"
    first[key] = [None, *size, 3]
    path = write_h5(tmp_path / "m.h5", model, tiny_weights())
    told = stated(3, height=16)
    assert import_keras(path, told, name="mine", source="s").spec.preprocess.height == 16
    with pytest.raises(ModelError, match="`input_size`"):
        import_keras(path, replace(told, any_size=True), name="mine", source="s")


def test_a_file_of_keras_1_is_named_as_such(tmp_path):
    path = write_h5(tmp_path / "m.h5", tiny(), tiny_weights())
    import h5py

    with h5py.File(path, "r+") as file:
        file.attrs["keras_version"] = "1.2.2"
    with pytest.raises(ModelError, match=r"written by Keras 1\.2\.2.*save it again"):
        load(path, "auto")
