"""`skinclf.models.load`: whatever a user calls a model, and what they may say about it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.bundles import random_network
from support.keras_fixtures import tiny, tiny_weights, write_h5, write_keras
from support.timm_folder import timm_folder
from support.transformers_folder import VIT, write

from skinclf.errors import HubError, InvalidArgumentError, MissingExtraError, ModelError, UnsafeModelError
from skinclf.images.preprocess import scaling
from skinclf.labels import HAM10000, MALIGNANT, parse_labels
from skinclf.models import registry
from skinclf.models.hub import fetch as hub
from skinclf.models.load import load_model, load_spec
from skinclf.models.options import HubOptions, ModelOptions
from skinclf.models.spec import ModelSpec

ABC = ModelOptions(labels="a,b,c", preprocess=scaling("unit", height=16, width=16))


@pytest.fixture
def builtin(tmp_path, monkeypatch, tiny_bundle) -> Path:
    """The bundle as if it shipped with skinclf under the default's name."""
    shutil.copytree(tiny_bundle, tmp_path / "builtin" / registry.DEFAULT)
    monkeypatch.setattr(registry, "BUILTIN", tmp_path / "builtin")
    return tmp_path / "builtin" / registry.DEFAULT


@pytest.fixture(scope="module")
def h5(tmp_path_factory) -> Path:
    return write_h5(tmp_path_factory.mktemp("keras") / "net.h5", tiny(), tiny_weights())


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# --- what a model can be ------------------------------------------------------------------------


@pytest.mark.parametrize("name", [None, "default", registry.DEFAULT])
def test_the_builtin_model(builtin, name):
    loaded = load_model(name)
    assert loaded.spec.source == "builtin"
    assert loaded.spec.labels == HAM10000
    assert loaded.folder == builtin
    assert loaded.network is None  # nothing is built before a runtime asks
    assert loaded.torch_network()(torch.zeros(1, 3, 64, 64)).shape == (1, 7)


def test_a_bundle_folder_its_weights_file_and_a_path(tiny_bundle):
    for model in (str(tiny_bundle), tiny_bundle, tiny_bundle / "model.safetensors"):
        loaded = load_model(model)
        assert loaded.spec.name == "tiny"
        assert loaded.folder == tiny_bundle
        assert loaded.torch_network() is not None


def test_a_relative_path_and_the_home_folder(tiny_bundle, tmp_path, monkeypatch):
    shutil.copytree(tiny_bundle, tmp_path / "user" / "bundle")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    for model in ("user/bundle", "./user/bundle", "~/user/bundle"):
        assert load_model(model).spec.labels == HAM10000


@pytest.mark.parametrize("suffix", [".h5", ".pth", ".onnx", ""])
def test_a_files_content_decides_not_its_name(tmp_path, h5, suffix):
    shutil.copy(h5, tmp_path / f"model{suffix}")
    loaded = load_model(tmp_path / f"model{suffix}", options=ABC)
    assert loaded.spec.labels.codes == ("a", "b", "c")
    assert loaded.spec.name == "model"
    torch.save(random_network("resnet18", 3, seed=0), tmp_path / f"other{suffix}")
    assert load_model(tmp_path / f"other{suffix}", options=ABC).spec.architecture == "resnet18"


def test_a_keras_archive(tmp_path):
    names = {"conv": "conv2d", "out": "dense"}
    path = write_keras(tmp_path / "net.keras", tiny(), tiny_weights(), names=names)
    loaded = load_model(path, options=ABC)
    assert loaded.artifact == path
    assert loaded.torch_network()(torch.zeros(1, 3, 16, 16)).shape == (1, 3)


def test_an_onnx_file(tmp_path):
    pytest.importorskip("onnx")
    from support.onnx_file import save

    save(tmp_path / "net.dat", ending="Softmax")
    loaded = load_model(tmp_path / "net.dat", options=ModelOptions(labels="ham10000", preprocess="unit"))
    assert loaded.spec.architecture == "onnx"
    assert (loaded.spec.preprocess.height, loaded.spec.preprocess.width) == (8, 8)


def test_timm_and_transformers_folders(tmp_path):
    assert load_model(timm_folder(tmp_path / "timm")).spec.architecture == "test_efficientnet"
    assert load_model(write(tmp_path / "vit", VIT)).spec.architecture == "skinclf/transformers-vit"
    assert load_model(tmp_path / "timm" / "model.safetensors").spec.labels == HAM10000


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no-such-model", "No model is known"),
        ("skin-lesion-resnet5", "Did you mean skin-lesion-resnet50"),
        ("weights.h5", "No model is known|no such file"),
        ("./nothing", "no such file or folder"),
        ("/nothing/here", "no such file or folder"),
        ("models/weights.h5", "no such file or folder"),
        ("~/nothing.pt", "no such file or folder"),
        (Path("nothing"), "no such file or folder"),
    ],
)
def test_what_is_not_there(name, says):
    with pytest.raises(ModelError, match=says):
        load_model(name, hub=HubOptions(offline=True))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS pointer"),
        (b"hello world, this is text", "not a model file"),
        (b"PK\x03\x04 nothing", "damaged or incomplete zip"),
        (b"\x89HDF\r\n\x1a\n", "net"),
        (b"\x08\x00\x00\x00\x00\x00\x00\x00{", "safetensors"),
    ],
)
def test_files_that_are_no_models(tmp_path, content, says):
    (tmp_path / "net.h5").write_bytes(content)
    with pytest.raises(ModelError, match=says):
        load_model(tmp_path / "net.h5", options=ABC)


def test_a_folder_without_a_model_and_a_config_of_something_else(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"x")
    with pytest.raises(ModelError, match=r"no config\.json in it \(photo\.jpg\)"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text('{"name": "x"}')
    with pytest.raises(ModelError, match="none of skinclf, timm or transformers"):
        load_model(tmp_path)


# --- what may be said about it ------------------------------------------------------------------


def test_a_foreign_file_needs_what_it_cannot_say(h5):
    with pytest.raises(ModelError, match="`preprocess`"):
        load_model(h5, options=ModelOptions(labels="a,b,c"))
    with pytest.raises(ModelError, match="`labels`"):
        load_model(h5, options=ModelOptions(preprocess=ABC.preprocess))


def test_preprocessing_from_a_name_a_file_or_an_object(h5, tmp_path):
    stated = scaling("caffe", height=16, width=16, library="opencv")
    file = tmp_path / "preprocess.json"
    file.write_text(json.dumps(stated.to_dict()))
    for given in (stated, file, str(file)):
        assert (
            load_model(h5, options=ModelOptions(labels="a,b,c", preprocess=given)).spec.preprocess == stated
        )
    with pytest.raises(InvalidArgumentError, match="caffee: expected caffe, tf, torch, unit, raw"):
        load_model(h5, options=ModelOptions(labels="a,b,c", preprocess="caffee"))
    file.write_text("{}")
    with pytest.raises(ModelError, match="missing keys"):
        load_model(h5, options=ModelOptions(labels="a,b,c", preprocess=file))


def test_a_scalings_name_takes_the_files_size(h5):
    assert load_model(
        h5, options=ModelOptions(labels="a,b,c", preprocess="caffe")
    ).spec.preprocess == scaling("caffe", height=16, width=16)


def test_malignant_codes(h5, tmp_path):
    assert load_model(h5, options=ABC).spec.labels.malignant_indices is None
    assert load_model(h5, options=replace(ABC, malignant=["a", "C"])).spec.labels.malignant_indices == (0, 2)
    assert load_model(
        timm_folder(tmp_path / "t"), options=ModelOptions(malignant=["mel"])
    ).spec.labels.malignant_indices == (4,)
    with pytest.raises(InvalidArgumentError, match="Unknown label 'x'"):
        load_model(h5, options=replace(ABC, malignant=["x"]))


@pytest.mark.parametrize(
    "stated",
    [
        {"labels": "ham10000"},
        {"labels": ",".join(HAM10000.codes)},
        {"labels": HAM10000},
        {"preprocess": "torch"},
        {"preprocess": scaling("torch", height=64, width=64)},
        {"malignant": ["mel", "bcc", "akiec"]},
        {"architecture": "test_efficientnet"},
    ],
)
def test_saying_what_a_bundle_says_is_no_error(tiny_bundle, stated):
    assert load_model(tiny_bundle, options=ModelOptions(**stated)).spec.labels == HAM10000


@pytest.mark.parametrize(
    ("stated", "says"),
    [
        ({"labels": "isic2019-7"}, "`labels` mel,nv"),
        ({"labels": "benign,malignant"}, "`labels`"),
        ({"preprocess": "caffe"}, "`preprocess`"),
        ({"preprocess": scaling("torch", height=96, width=96)}, "`preprocess`"),
        ({"malignant": ["mel"]}, "`malignant` mel"),
        ({"architecture": "resnet50"}, "`architecture` resnet50"),
    ],
)
def test_contradicting_a_bundle_is_an_error(tiny_bundle, stated, says):
    with pytest.raises(ModelError, match=says):
        load_model(tiny_bundle, options=ModelOptions(**stated))


def test_a_revision_belongs_to_the_hub_alone(tiny_bundle, builtin):
    for model in (tiny_bundle, None):
        with pytest.raises(InvalidArgumentError, match="not on the Hub"):
            load_model(model, hub=HubOptions(revision="v1"))


# --- the Hub ------------------------------------------------------------------------------------


def test_a_bundle_on_the_hub(server, cache, tiny_bundle):
    sha = server.add_repo("user/lesions", files_of(tiny_bundle))
    loaded = load_model("user/lesions")
    assert (loaded.spec.source, loaded.spec.revision) == ("user/lesions", sha)
    assert (loaded.folder / "golden" / "sample.png").is_file()
    assert loaded.torch_network() is not None
    server.stop()
    for again in (
        load_model("hf-hub:user/lesions", hub=HubOptions(offline=True)),
        load_model(f"user/lesions@{sha}"),
    ):
        assert again.spec == loaded.spec
    with pytest.raises(HubError):
        load_model("user/other", hub=HubOptions(offline=True))


def test_something_here_is_never_looked_for_on_the_hub(server, cache, tiny_bundle, tmp_path, monkeypatch):
    server.add_repo("user/lesions", {"config.json": b"{}"})
    shutil.copytree(tiny_bundle, tmp_path / "user" / "lesions")
    monkeypatch.chdir(tmp_path)
    assert load_model("user/lesions").spec.labels == HAM10000
    assert server.log == []
    with pytest.raises(ModelError):
        load_model("hf-hub:user/lesions")
    assert server.log


def test_a_timm_repository_and_one_file_of_another(server, cache, tmp_path, h5):
    server.add_repo("user/net", files_of(timm_folder(tmp_path / "timm")))
    server.add_repo("user/keras", {"a.h5": h5.read_bytes(), "b.h5": b"x"})
    loaded = load_model("user/net")
    assert (loaded.spec.labels, loaded.spec.license) == (HAM10000, "mit")
    spec = load_model("user/keras/a.h5", options=ABC).spec
    assert (spec.source, spec.name) == ("user/keras", "user/keras")
    with pytest.raises(HubError, match="name one"):
        load_model("user/keras", options=ABC)


KERAS = "devatreya/skin-lesion-resnet50"


@pytest.fixture
def published(server, cache, monkeypatch):
    """The registered Keras model, with a small network in its place."""
    config = tiny()
    config["config"]["layers"][0]["config"]["batch_input_shape"] = [None, 224, 224, 3]
    config["config"]["layers"][-1]["config"].update(units=1, activation="sigmoid")
    weights = tiny_weights()
    weights["out"] = {"kernel": weights["out"]["kernel"][:, :1], "bias": weights["out"]["bias"][:1]}
    path = write_h5(cache.parent.parent / "published.h5", config, weights)
    return server.add_repo(KERAS, {"resnet50_best.h5": path.read_bytes()})


def test_a_registered_model_brings_its_labels_and_preprocessing(published):
    for name in (
        "skin-lesion-resnet50",
        KERAS,
        f"hf-hub:{KERAS}",
        f"{KERAS}@main",
        f"{KERAS}/resnet50_best.h5",
    ):
        spec = load_model(name).spec
        assert (spec.name, spec.source, spec.revision) == ("skin-lesion-resnet50", KERAS, published)
        assert spec.labels == MALIGNANT
        assert spec.activation == "sigmoid"
        assert (spec.preprocess.library, spec.preprocess.color) == ("opencv", "bgr")


def test_a_registered_variant_is_chosen_by_name(published):
    spec = load_model("skin-lesion-resnet50", options=ModelOptions(preprocess="pillow-bicubic")).spec
    assert (spec.preprocess.library, spec.preprocess.interpolation) == ("pillow", "bicubic")
    with pytest.raises(InvalidArgumentError, match="expected opencv, pillow-bicubic, caffe"):
        load_model("skin-lesion-resnet50", options=ModelOptions(preprocess="nearest"))


def test_a_downloaded_folder_needs_no_network_and_no_words(server, published, tmp_path):
    folder = tmp_path / "model"
    hub.download_to("skin-lesion-resnet50", folder)
    expected = load_model("skin-lesion-resnet50").spec
    server.stop()
    assert load_model(folder).spec == expected
    data = bytearray((folder / "resnet50_best.h5").read_bytes())
    data[-1] ^= 1
    (folder / "resnet50_best.h5").write_bytes(data)
    with pytest.raises(ModelError, match="damaged or was replaced"):
        load_model(folder)


def test_downloaded_bundles_and_timm_folders(server, cache, tiny_bundle, tmp_path):
    server.add_repo("user/lesions", files_of(tiny_bundle))
    server.add_repo("user/net", files_of(timm_folder(tmp_path / "timm")))
    for name in ("user/lesions", "user/net"):
        hub.download_to(name, tmp_path / "down" / name)
    server.stop()
    assert load_model(tmp_path / "down/user/lesions").folder == tmp_path / "down/user/lesions"
    spec = load_model(tmp_path / "down/user/net").spec
    assert (spec.source, spec.license, len(spec.revision)) == ("user/net", "mit", 40)


def test_a_note_beside_a_model_cannot_reach_outside(server, published, tmp_path):
    folder = tmp_path / "model"
    hub.download_to("skin-lesion-resnet50", folder)
    note = json.loads((folder / hub.SOURCE).read_text())
    for name in ("../secret.h5", "/etc/passwd", "a/../../b"):
        (folder / hub.SOURCE).write_text(json.dumps({**note, "filename": name}))
        with pytest.raises(ModelError, match="does not stay"):
            load_model(folder)


# --- load_spec ----------------------------------------------------------------------------------


def test_the_contract_alone_fetches_no_weights(server, cache, tiny_bundle, tmp_path):
    server.add_repo("user/lesions", files_of(tiny_bundle))
    server.add_repo("user/net", files_of(timm_folder(tmp_path / "timm")))
    assert load_spec("user/lesions").labels == HAM10000
    assert load_spec("user/net", options=ModelOptions(malignant=["mel"])).labels.malignant_indices == (4,)
    assert not server.seen("model.safetensors")
    assert load_spec("user/lesions") == load_model("user/lesions").spec
    assert load_spec("user/net").replace(weights_sha256=None) == load_model("user/net").spec.replace(
        weights_sha256=None
    )


def test_the_contract_of_a_file_that_says_little(server, cache, h5):
    server.add_repo("user/keras", {"a.h5": h5.read_bytes(), "config.json": b'{"name": "x"}'})
    assert load_spec("user/keras/a.h5", options=ABC) == load_model("user/keras/a.h5", options=ABC).spec
    assert isinstance(load_spec(h5, options=ABC), ModelSpec)


def test_no_torch_for_contracts(tiny_bundle, tmp_path):
    timm_folder(tmp_path / "t")
    code = (
        "import sys; from skinclf.models.load import load_model, load_spec\n"
        f"for m in ({str(tiny_bundle)!r}, {str(tmp_path / 't')!r}): load_spec(m); load_model(m)\n"
        "sys.exit(str([m for m in ('torch', 'timm', 'h5py', 'onnx') if m in sys.modules]) if 'torch' in sys.modules else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_predictor_takes_what_is_stated(h5):
    from skinclf.inference.predictor import Predictor

    predictor = Predictor(h5, runtime="torch", device="cpu", workers=0, options=ABC)
    image = np.full((20, 20, 3), 120, np.uint8)
    assert sum(predictor.predict(image).values) == pytest.approx(1, abs=1e-6)
    assert predictor.spec.labels == parse_labels("a,b,c")
    assert issubclass(UnsafeModelError, ModelError)
    assert not issubclass(MissingExtraError, ModelError)
