"""Published models by name."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from skinclf.errors import InvalidArgumentError, ModelError
from skinclf.images.preprocess import Preprocess, scaling
from skinclf.labels import HAM10000, MALIGNANT
from skinclf.models import registry
from skinclf.models.registry import PublishedModel, find_model, get_model, list_models
from skinclf.models.spec import ModelSpec


def spec(name: str) -> ModelSpec:
    return ModelSpec(
        name=name,
        architecture="mobilenetv2_100",
        labels=HAM10000,
        preprocess=scaling("torch", height=224, width=224),
        license="CC-BY-NC-4.0",
        weights_sha256="ab" * 32,
    )


@pytest.fixture
def builtin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of built-in bundles with the default and one that the code does not name."""
    for name in (registry.DEFAULT, "ham10000-another"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(spec(name).to_config()))
    (tmp_path / "notes").mkdir()
    monkeypatch.setattr(registry, "BUILTIN", tmp_path)
    return tmp_path


def test_built_in_models_are_found_by_their_folders(builtin):
    names = [model.name for model in list_models()]
    assert names[:2] == [registry.DEFAULT, "ham10000-another"]
    model = get_model("ham10000-another")
    assert model.folder == builtin / "ham10000-another"
    assert (model.source, model.repo_id, model.revision) == ("builtin", None, None)
    assert model.labels == HAM10000
    assert model.preprocess() == spec("x").preprocess
    assert (model.license, model.sha256, model.task) == ("CC-BY-NC-4.0", "ab" * 32, "multiclass")


def test_default_is_an_alias(builtin):
    assert get_model("default") == get_model(registry.DEFAULT) == list_models()[0]


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"skinclf": {"license": 1}}'])
def test_a_damaged_built_in_model_is_named(builtin, text):
    (builtin / "ham10000-another" / "config.json").write_text(text)
    with pytest.raises(ModelError, match=r"ham10000-another: the built-in model is damaged|needs 'taxonomy'"):
        list_models()


def test_the_built_in_folders_of_this_installation_agree_with_their_contracts():
    from skinclf.models.bundle import read_spec

    for model in list_models():
        if model.folder is not None:
            contract = read_spec(model.folder)
            assert model.labels == contract.labels
            assert model.preprocess() == contract.preprocess
            assert model.sha256 == contract.weights_sha256


def test_the_binary_resnet50():
    model = get_model("devatreya/skin-lesion-resnet50")
    assert model == get_model("skin-lesion-resnet50")
    assert (model.filename, model.adapter, model.labels) == ("resnet50_best.h5", "keras", MALIGNANT)
    assert list(model.variants) == ["opencv", "pillow-bicubic"]
    trained = model.preprocess()
    assert (trained.library, trained.interpolation, trained.color) == ("opencv", "bilinear", "bgr")
    readme = model.preprocess("pillow-bicubic")
    assert (readme.library, readme.interpolation) == ("pillow", "bicubic")
    grey = np.full((1, 224, 224, 3), [10, 20, 30], np.uint8)
    # Caffe style: blue first, the means of ImageNet subtracted, no scaling.
    assert trained.normalize(grey)[0, :, 0, 0].tolist() == pytest.approx(
        [30 - 103.939, 20 - 116.779, 10 - 123.68]
    )


def test_the_third_party_model_is_marked_unverified():
    model = get_model("efficientnetv2s-skin-cancer-classifier")
    assert model.repo_id == "Miguel764/efficientnetv2s-skin-cancer-classifier"
    assert not model.verified
    assert "nverified" in model.description
    assert model.labels is not None
    assert model.labels.codes == ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
    ends = np.array([0, 255, 0], np.uint8) * np.ones((1, 224, 224, 1), np.uint8)
    assert model.preprocess().normalize(ends)[0, :, 0, 0].tolist() == pytest.approx([-1, 1, -1])


@pytest.mark.parametrize("model", list_models(), ids=lambda model: model.name)
def test_every_model_says_what_it_must(model):
    assert model.disclaimer
    assert model.license
    assert model.description
    assert model.labels is not None
    for variant in model.variants:
        assert isinstance(model.preprocess(variant), Preprocess)
    assert (model.folder is None) != (model.repo_id is None)


@pytest.mark.parametrize("model", list_models(), ids=lambda model: model.name)
def test_models_travel_as_json(model):
    again = PublishedModel.from_dict(json.loads(json.dumps(model.to_dict())))
    assert again.replace(folder=model.folder) == model


def test_unknown_names_list_what_is_spelt_alike():
    with pytest.raises(ModelError, match="Did you mean skin-lesion-resnet50"):
        get_model("Skin-Lesion-Resnet-50")
    with pytest.raises(ModelError, match=r"Known: .*devatreya/skin-lesion-resnet50"):
        get_model("zzzz")
    assert find_model("zzzz") is None


def test_unknown_variants_and_missing_preprocessing():
    model = get_model("skin-lesion-resnet50")
    with pytest.raises(InvalidArgumentError, match="opencv, pillow-bicubic"):
        model.preprocess("nearest")
    with pytest.raises(ModelError, match="`preprocess`"):
        model.replace(variants={}).preprocess()
    with pytest.raises(ModelError, match="malformed"):
        model.replace(variants={"x": {"scaling": "caffe", "heigth": 224}}).preprocess()


def test_listing_imports_nothing_heavy():
    code = (
        "import sys; from skinclf.models.registry import list_models; list_models();"
        "print([m for m in ('numpy', 'torch', 'PIL', 'huggingface_hub', 'h5py') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
