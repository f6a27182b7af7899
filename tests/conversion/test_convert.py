"""`skinclf.conversion.convert`: any model to a bundle with the same bits, and the replay of golden samples."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from support.bundles import random_network
from support.keras_fixtures import tiny, tiny_weights, write_h5
from support.timm_folder import timm_folder
from support.transformers_folder import SWIN, VIT, write

from skinclf.conversion import convert
from skinclf.conversion.convert import TOLERANCE, convert_model
from skinclf.conversion.verify import verify_model
from skinclf.errors import ImageError, ModelError, OutputError
from skinclf.images.preprocess import scaling
from skinclf.images.synthetic import synthetic_lesion
from skinclf.labels import HAM10000
from skinclf.models.architectures.published import PublishedNetwork
from skinclf.models.bundle import read_spec, write_bundle
from skinclf.models.load import load_model
from skinclf.models.loaded import LoadedModel
from skinclf.models.options import ModelOptions
from skinclf.models.spec import ModelSpec

SMALL = scaling("torch", height=64, width=64)


def published_file(path):
    torch.save(PublishedNetwork("dermalyze", "efficientnet_b0", 7).state_dict(), path / "c.pt")
    return path / "c.pt", ModelOptions(preprocess=SMALL)


def resnet_file(path):
    torch.save(random_network("resnet18", 7, seed=1), path / "r.pth")
    return path / "r.pth", ModelOptions(labels="ham10000", preprocess=SMALL)


def keras_file(path):
    return write_h5(path / "k.h5", tiny(), tiny_weights()), ModelOptions(
        labels="a,b,c", preprocess="caffe", malignant=["a"]
    )


def sigmoid_file(path):
    torch.save(random_network("resnet18", 1, seed=2), path / "s.pth")
    return path / "s.pth", ModelOptions(labels="benign,malignant", preprocess=SMALL)


SOURCES = {
    "published": published_file,
    "resnet": resnet_file,
    "sigmoid": sigmoid_file,
    "keras": keras_file,
    "timm": lambda path: (timm_folder(path / "t"), ModelOptions()),
    "vit": lambda path: (write(path / "v", VIT), ModelOptions()),
    "swin": lambda path: (write(path / "s", SWIN), ModelOptions()),
}


class Converted(NamedTuple):
    """A model, the bundle that was made of it, and whatever its file was."""

    original: LoadedModel
    spec: ModelSpec
    folder: Path
    file: Path


@pytest.fixture(scope="module", params=SOURCES)
def converted(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("convert")
    model, options = SOURCES[request.param](folder)
    original = load_model(model, options=options)
    original = replace(original, network=original.torch_network())
    with pytest.MonkeyPatch.context() as patch:
        # The Keras file's own framework has a test of its own below.
        patch.setattr(convert, "find_spec", lambda name: None)
        spec = convert_model(model, folder / "bundle", name="mine", options=options)
    # The bundle needs nothing of the source afterwards.
    (shutil.rmtree if model.is_dir() else type(model).unlink)(model)
    return Converted(original, spec, folder / "bundle", model)


def test_the_bundle_gives_the_same_bits(converted):
    bundle, spec, original = load_model(converted.folder), converted.spec, converted.original
    assert bundle.spec == read_spec(converted.folder) == spec
    for field in ("labels", "preprocess", "activation", "architecture"):
        assert getattr(spec, field) == getattr(original.spec, field)
    x = torch.randn(2, 3, spec.preprocess.height, spec.preprocess.width)
    with torch.inference_mode():
        assert torch.equal(bundle.torch_network()(x), original.torch_network()(x))
    origin = spec.training["converted_from"]
    assert origin == {"source": str(converted.file), "revision": None, "sha256": original.spec.weights_sha256}


def test_the_golden_sample_is_marked_and_replayed(converted):
    (golden,) = converted.spec.golden
    assert converted.spec.name == "mine"
    assert golden.source.startswith("skinclf ")
    assert "torch" in golden.source
    assert sum(golden.probabilities) == pytest.approx(1, abs=1e-6)
    report = verify_model(converted.folder)
    assert report.ok
    assert report.runtime == "torch"
    assert report.checks[0].difference < 1e-6
    assert report.checks[0].tolerance == TOLERANCE


def test_converting_a_bundle_keeps_calibration_and_operating_points(two_label_bundle, tmp_path):
    before = read_spec(two_label_bundle)
    after = convert_model(two_label_bundle, tmp_path / "again")
    for field in ("calibration", "operating_points", "default_operating_point", "license", "activation"):
        assert getattr(after, field) == getattr(before, field)
    assert verify_model(tmp_path / "again").ok


def test_a_sample_and_a_card_of_ones_own(tiny_bundle, tmp_path):
    picture = synthetic_lesion(33, width=90, height=70)
    spec = convert_model(tiny_bundle, tmp_path / "b", sample=picture, card="# Mine\n")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "b" / spec.golden[0].file)), picture)
    assert (tmp_path / "b" / "README.md").read_text() == "# Mine\n"


def test_shared_tensors_are_written_apart(tmp_path):
    state = random_network("resnet18", 7, seed=3)
    state["layer1.0.bn2.weight"] = state["layer1.0.bn1.weight"]
    torch.save(state, tmp_path / "tied.pth")
    convert_model(
        tmp_path / "tied.pth", tmp_path / "b", options=ModelOptions(labels=HAM10000, preprocess=SMALL)
    )
    assert verify_model(tmp_path / "b").ok


def test_a_folder_in_use_is_left_alone(tiny_bundle, tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="not an empty folder"):
        convert_model(tiny_bundle, tmp_path / "b")
    assert [p.name for p in (tmp_path / "b").iterdir()] == ["notes.txt"]


def test_a_framework_that_disagrees_stops_the_conversion(tiny_bundle, tmp_path, monkeypatch):
    other = np.full(7, 1 / 7, np.float32)
    monkeypatch.setattr(convert, "_by_its_framework", lambda loaded, pixels: (other, "keras 9"))
    with pytest.raises(ModelError, match=r"skinclf and keras 9 differ by 0\.\d+ on the golden sample"):
        convert_model(tiny_bundle, tmp_path / "b")
    assert not (tmp_path / "b").exists()


# --- verify -------------------------------------------------------------------------------------


def change_config(folder, **own):
    config = json.loads((folder / "config.json").read_text())
    config["skinclf"].update(own)
    (folder / "config.json").write_text(json.dumps(config))


def test_verify_notices_other_preprocessing(bundle_copy):
    assert verify_model(bundle_copy).ok
    wrong = scaling("torch", height=64, width=64, interpolation="nearest").to_dict()
    change_config(bundle_copy, preprocess=wrong)
    report = verify_model(bundle_copy)
    assert not report.ok
    assert report.checks[0].difference > 1e-4


def test_verify_notices_other_weights(bundle_copy, bundle_factory):
    spec = read_spec(bundle_copy)
    write_bundle(bundle_copy, spec, random_network("test_efficientnet", 7, seed=9))
    assert not verify_model(bundle_copy).ok


def test_verify_notices_damaged_weights(bundle_copy):
    data = bytearray((bundle_copy / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (bundle_copy / "model.safetensors").write_bytes(data)
    with pytest.raises(ModelError, match="SHA-256"):
        verify_model(bundle_copy)


def test_not_a_number_is_never_ok(bundle_copy):
    spec = read_spec(bundle_copy)
    state = {
        k: v * float("nan") if v.is_floating_point() else v
        for k, v in random_network("test_efficientnet", 7, seed=1).items()
    }
    write_bundle(bundle_copy, spec, state)
    assert not verify_model(bundle_copy).ok


def test_verify_in_other_runtimes(tiny_bundle):
    for name in ("openvino", "onnxruntime"):
        pytest.importorskip(name)
        report = verify_model(tiny_bundle, runtime=name)
        assert (report.ok, report.runtime) == (True, name)


def test_verify_says_what_it_is_doing(tiny_bundle):
    seen = []
    verify_model(tiny_bundle, progress=seen.append)
    assert seen == ["golden/sample.png"]


def test_a_golden_sample_that_is_not_there(bundle_copy):
    (bundle_copy / "golden" / "sample.png").unlink()
    with pytest.raises(ImageError, match="no such file"):
        verify_model(bundle_copy)


def test_verify_needs_a_bundle_with_a_sample(tmp_path, bundle_copy):
    file, options = resnet_file(tmp_path)
    with pytest.raises(ModelError, match="no golden sample"):
        verify_model(file, options=options)
    change_config(bundle_copy, golden=[])
    with pytest.raises(ModelError, match="no golden sample"):
        verify_model(bundle_copy)


@pytest.mark.parametrize(
    ("golden", "says"),
    [
        ({"file": "../outside.png"}, "inside its bundle"),
        ({"file": "/etc/passwd"}, "inside its bundle"),
        ({"probabilities": [0.5, 0.5]}, "2 of 7 probabilities"),
    ],
)
def test_odd_golden_samples(bundle_copy, golden, says):
    own = json.loads((bundle_copy / "config.json").read_text())["skinclf"]["golden"][0]
    change_config(bundle_copy, golden=[{**own, **golden}])
    with pytest.raises(ModelError, match=says):
        verify_model(bundle_copy)


# --- with the frameworks themselves -------------------------------------------------------------


@pytest.mark.tensorflow
def test_keras_itself_computes_the_golden_sample(tmp_path):
    pytest.importorskip("tensorflow")
    code = f"""
from pathlib import Path
import keras
from keras import layers
from skinclf.conversion.convert import convert_model
from skinclf.conversion.verify import verify_model
from skinclf.models.options import ModelOptions

keras.utils.set_random_seed(0)
inputs = keras.Input((32, 32, 3))
x = layers.Conv2D(8, 3, activation="relu")(inputs)
x = layers.GlobalAveragePooling2D()(layers.BatchNormalization()(x))
for head, labels in ((layers.Dense(7, activation="softmax"), "ham10000"), (layers.Dense(1, activation="sigmoid"), "malignant")):
    for suffix in (".h5", ".keras"):
        file = Path({str(tmp_path)!r}) / (labels + suffix)
        keras.Model(inputs, head(x)).save(file)
        spec = convert_model(file, file.with_suffix(suffix + ".bundle"), options=ModelOptions(labels=labels, preprocess="caffe"))
        assert spec.golden[0].source.startswith("keras " + keras.__version__ + ", tensorflow"), spec.golden
        report = verify_model(file.with_suffix(suffix + ".bundle"))
        assert report.ok and report.checks[0].difference < 1e-5, report
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
