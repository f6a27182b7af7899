"""Keras files with two inputs, an image and a vector of age, sex and site: as their own framework computes them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

# One process for everything that needs TensorFlow: importing it takes seconds.
WORK = """
import json, sys, warnings
from pathlib import Path
import numpy as np
warnings.simplefilter("ignore")
from support.two_inputs import ENCODING, OPTIONS, SIDE, WIDTH
from skinclf.conversion.convert import convert_model
from skinclf.conversion.verify import verify_model
from skinclf.errors import ModelError
from skinclf.inference.predictor import Predictor
from skinclf.models.load import load_model
from skinclf.models.metadata_encoding import MetadataEncoding
from skinclf.models.options import ModelOptions
from skinclf.tables.patient_metadata import Patient
import keras

folder, found = Path(sys.argv[1]), {}
images = np.random.default_rng(0).integers(0, 256, (5, SIDE, SIDE, 3), np.uint8)
entries = [{"age": 70, "sex": "male", "site": "face"}, {}, {"sex": "female"}, {"age": 20, "site": "foot"}, {"age": 50}]
encoding = MetadataEncoding.from_dict(ENCODING)
vectors = encoding.encode([Patient.of(one) for one in entries])
options = ModelOptions(**OPTIONS, metadata_encoding=encoding)


def make(first, dictionary):
    keras.utils.set_random_seed(1)
    image, beside = keras.layers.Input((SIDE, SIDE, 3), name="img"), keras.layers.Input((WIDTH,), name="clinical")
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(image)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.BatchNormalization()(x))
    y = keras.layers.BatchNormalization()(keras.layers.Dense(6, activation="relu")(beside))
    x = keras.layers.Concatenate()([x, y])
    x = keras.layers.Dense(7, activation="softmax", kernel_initializer=keras.initializers.RandomNormal(stddev=2))(x)
    inputs = [image, beside] if first == "image" else [beside, image]
    return keras.Model({one.name: one for one in inputs} if dictionary else inputs, x)


for first, dictionary, suffix in (
    ("image", False, ".keras"), ("vector", True, ".keras"), ("vector", False, ".h5"),
):
    name = f"{first}-{dictionary}{suffix}"
    model, file = make(first, dictionary), folder / name
    model.save(file)
    x = (images / np.float32(255)).astype(np.float32)
    given = [x, vectors] if first == "image" else [vectors, x]
    theirs = model.predict({"img": x, "clinical": vectors} if dictionary else given, verbose=0)
    found[f"{name} moves"] = float(np.ptp(theirs, axis=0).max())
    for runtime in ("keras", "torch", *(("openvino", "onnxruntime") if first == "image" else ())):
        own = Predictor(file, options=options, runtime=runtime, device="cpu", workers=0, batch_size=2)
        values = np.stack([p.values for p in own.predict(list(images), metadata=entries)])
        found[f"{name} {runtime}"] = float(np.abs(values - theirs).max())
spec = convert_model(file, folder / "bundle", options=options)
assert spec.golden[0].source.startswith("keras"), spec.golden[0].source
found["golden"] = max(verify_model(folder / "bundle", runtime=r).checks[0].difference for r in ("torch", "openvino"))
try:
    load_model(file, options=ModelOptions(**OPTIONS))
except ModelError as error:
    found["unstated"] = str(error)
three = keras.Model([*model.inputs, keras.layers.Input((2,))], model.output)
three.save(folder / "three.keras")
try:
    load_model(folder / "three.keras", options=options)
except ModelError as error:
    found["three"] = str(error)
print(json.dumps(found))
"""


@pytest.mark.tensorflow
def test_probabilities_are_those_of_keras(tmp_path):
    pytest.importorskip("tensorflow")
    tests = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {tests!r})\n{WORK}", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    unstated, three = found.pop("unstated"), found.pop("three")
    assert "a vector of 10 numbers beside the image. State `metadata_encoding`" in unstated
    assert unstated.count("vector-False: ") == 1
    assert "3 inputs and 1 outputs" in three
    moved = [found.pop(key) for key in list(found) if key.endswith("moves")]
    assert min(moved) > 0.1
    assert len(found) == 9
    assert {key: value for key, value in found.items() if not value < 1e-5} == {}
