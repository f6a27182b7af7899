"""`skinclf.models.formats.timm`: what timm wrote, prepared and run as timm does it."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from support.bundles import random_network
from timm.models import save_for_hf

from skinclf.errors import ModelError, UnsafeModelError
from skinclf.images.preprocess import scaling
from skinclf.images.synthetic import synthetic_lesion
from skinclf.labels import HAM10000, ISIC2019_7, MALIGNANT, parse_labels
from skinclf.models.formats.class_names import labels_from_names
from skinclf.models.formats.timm import import_timm_folder, read_timm_spec
from skinclf.models.loaded import Stated

NAMES = ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"]


def write(folder, *, architecture="test_efficientnet", outputs=7, config=None, **kwargs):
    """A folder as timm's own `save_for_hf` writes it; returns timm's network."""
    model = timm.create_model(architecture, num_classes=outputs, **kwargs)
    state = random_network(architecture, outputs, seed=5) if not kwargs else model.state_dict()
    model.load_state_dict(state)
    save_for_hf(
        model.eval(), folder, safe_serialization=True, model_config={"label_names": NAMES, **(config or {})}
    )
    return model


def change(folder, **changes):
    file = folder / "config.json"
    config = json.loads(file.read_text())
    config["pretrained_cfg"].update(changes.pop("pretrained_cfg", {}))
    config.update(changes)
    file.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))


def load(folder, **stated):
    return import_timm_folder(folder, Stated(**stated), name="m", source="user/m", revision="a" * 40)


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "m")
    return tmp_path / "m"


def test_the_same_bits_and_labels_as_timm(tmp_path):
    theirs = write(tmp_path)
    loaded = load(tmp_path)
    x = torch.randn(2, 3, 160, 160)
    with torch.inference_mode():
        assert torch.equal(loaded.torch_network()(x), theirs(x))
    spec = loaded.spec
    assert spec.labels == HAM10000
    assert (spec.architecture, spec.activation, spec.revision) == ("test_efficientnet", "softmax", "a" * 40)
    assert len(spec.weights_sha256) == 64


def test_plain_timm_loads_the_same_folder(tmp_path):
    write(tmp_path)
    theirs = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    x = torch.randn(1, 3, 160, 160)
    with torch.inference_mode():
        assert torch.equal(load(tmp_path).torch_network()(x), theirs(x))


@pytest.mark.parametrize(
    "cfg",
    [
        {"crop_pct": 0.875, "crop_mode": "center", "interpolation": "bicubic"},
        {"crop_pct": 0.95, "crop_mode": "center", "interpolation": "bilinear"},
        {"crop_pct": 0.9, "crop_mode": "center", "input_size": [3, 96, 128]},
        {"crop_pct": 1.0, "crop_mode": "squash", "interpolation": "bicubic"},
        {"crop_pct": 1.0, "crop_mode": "border", "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
    ],
)
@pytest.mark.parametrize("size", [(600, 450), (113, 222)])
def test_images_are_prepared_as_timm_prepares_them(folder, cfg, size):
    pytest.importorskip("torchvision")
    change(folder, pretrained_cfg=cfg)
    preprocess = load(folder).spec.preprocess
    image = synthetic_lesion(1, width=size[0], height=size[1])
    full = json.loads((folder / "config.json").read_text())["pretrained_cfg"]
    transform = timm.data.create_transform(**timm.data.resolve_data_config(pretrained_cfg=full))
    expected = transform(Image.fromarray(image)).numpy()
    found = preprocess.normalize(preprocess.pixels(image)[None])[0]
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 2e-6


@pytest.mark.parametrize(
    "cfg",
    [
        {"crop_pct": 0.9, "crop_mode": "squash"},
        {"crop_pct": 1.0, "crop_mode": "border", "mean": [0.4, 0.5, 0.6]},
        {"crop_pct": 1.0, "crop_mode": "reflect"},
    ],
)
def test_a_transform_that_cannot_be_repeated_is_refused_unless_one_is_stated(folder, cfg):
    change(folder, pretrained_cfg=cfg)
    with pytest.raises(ModelError, match="`preprocess` as a JSON file"):
        load(folder)
    assert load(folder, preprocess=scaling("torch")).spec.preprocess == scaling("torch")


def test_older_repositories_have_the_keys_at_the_top(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps({**config.pop("pretrained_cfg"), **config, "label_names": NAMES})
    )
    assert load(folder).spec.preprocess.height == 160


@pytest.mark.parametrize("names", [None, [], [f"LABEL_{i}" for i in range(7)], list("0123456")])
def test_missing_labels_are_an_error_that_says_how(folder, names):
    change(folder, label_names=names)
    with pytest.raises(ModelError, match="`labels`"):
        load(folder)
    assert load(folder, labels=HAM10000).spec.labels == HAM10000


def test_imagenet_models_are_refused_by_name(tmp_path):
    write(tmp_path, outputs=1000, config={"label_names": None})
    with pytest.raises(ModelError, match="ImageNet"):
        load(tmp_path)


def test_one_output_serves_two_labels(tmp_path):
    write(tmp_path, outputs=1, config={"label_names": None})
    spec = load(tmp_path, labels=parse_labels("benign,malignant")).spec
    assert (spec.activation, spec.num_outputs) == ("sigmoid", 1)
    with pytest.raises(ModelError, match="1 outputs but there are 7 labels"):
        load(tmp_path, labels=HAM10000)


def test_model_args_and_a_fixed_input_size_are_kept(tmp_path):
    theirs = write(tmp_path, architecture="test_vit", img_size=96)
    change(tmp_path, pretrained_cfg={"input_size": [3, 96, 96], "fixed_input_size": True})
    x = torch.randn(1, 3, 96, 96)
    with torch.inference_mode():
        assert torch.equal(load(tmp_path).torch_network()(x), theirs(x))


def test_pytorch_model_bin_is_taken_when_there_is_no_safetensors(folder):
    from safetensors.torch import load_file

    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"pytorch_model\.bin"):
        load(folder)
    torch.save({f"timm_model.{k}": v for k, v in state.items()}, folder / "pytorch_model.bin")
    found = load(folder).torch_network().state_dict()
    assert all(torch.equal(found[k], v) for k, v in state.items())


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"architecture": "hf-hub:evil/net"}, ModelError, "no such network"),
        ({"architecture": "local-dir:/tmp"}, ModelError, "no such network"),
        ({"architecture": "resnet9000"}, ModelError, "no such network"),
        ({"architecture": "resnet18"}, ModelError, "model_args ask for 11,189,723 numbers"),
        ({"architecture": "resnet18", "model_args": None}, ModelError, "do not fit"),
        ({"model_args": {"checkpoint_path": "/etc/passwd"}}, UnsafeModelError, "checkpoint_path"),
        ({"model_args": {"pretrained_cfg": {"url": "http://x"}}}, UnsafeModelError, "pretrained_cfg"),
        ({"model_args": {"stem_size": 10**9}}, ModelError, "1000000000 of something"),
        ({"model_args": {"no_such_thing": 1}}, ModelError, "cannot build"),
        ({"model_args": {"in_chans": 1}}, ModelError, "1 channels"),
        ({"model_args": []}, None, ""),
        ({"model_args": [1]}, ModelError, "must be objects"),
        ({"num_classes": 8}, ModelError, "num_classes is 8, but model_args have 7"),
        ({"num_classes": 8, "model_args": None}, ModelError, "8 outputs but 7 class names"),
        ({"num_classes": "7"}, ModelError, "num_classes"),
        ({"label_names": {"0": "a", "2": "b"}}, ModelError, "gaps"),
        ({"label_names": {"x": "a"}}, ModelError, "expected output indices"),
        ({"label_names": "akiec"}, ModelError, "expected a list"),
        ({"pretrained_cfg": {"input_size": [1, 28, 28]}}, ModelError, "RGB"),
        ({"pretrained_cfg": {"input_size": [3, 10**7, 10**7]}}, ModelError, "4096"),
        ({"pretrained_cfg": {"input_size": 224}}, ModelError, "malformed"),
        ({"pretrained_cfg": {"mean": ["x", 1, 2]}}, ModelError, "malformed"),
        ({"pretrained_cfg": {"interpolation": "random"}}, ModelError, "interpolation"),
    ],
)
def test_odd_and_hostile_configurations(folder, changes, error, says):
    change(folder, **changes)
    if error is None:
        load(folder).torch_network()
        return
    with pytest.raises(error, match=says):
        load(folder).torch_network()


def test_a_size_that_the_weights_do_not_have_costs_no_memory(tmp_path):
    write(tmp_path, architecture="test_vit")
    change(tmp_path, model_args={"embed_dim": 4096, "depth": 20, "num_heads": 64})
    with pytest.raises(ModelError, match=r"model_args ask for \d,\d{3},\d{3},\d{3} numbers"):
        load(tmp_path).torch_network()


def test_reading_the_contract_needs_no_torch(folder):
    code = (
        "import sys; from pathlib import Path; from skinclf.models.loaded import Stated; "
        "from skinclf.models.formats.timm import read_timm_spec; "
        f"read_timm_spec(Path({str(folder)!r}), Stated(), name='m', source='s'); "
        "assert 'torch' not in sys.modules and 'timm' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert read_timm_spec(folder, Stated(), name="m", source="s").labels == HAM10000


@pytest.mark.parametrize(
    ("names", "codes", "malignant"),
    [
        (["MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC"], ISIC2019_7.codes, (0, 2, 3)),
        (["Benign", "Malignant"], MALIGNANT.codes, (1,)),
        (["Malignant", "Benign"], ("malignant", "benign"), (0,)),
        (
            [
                "benign_keratosis-like_lesions",
                "basal_cell_carcinoma",
                "actinic_keratoses",
                "melanocytic_Nevi",
                "melanoma",
            ],
            (
                "benign_keratosis_like_lesions",
                "basal_cell_carcinoma",
                "actinic_keratoses",
                "melanocytic_nevi",
                "melanoma",
            ),
            (1, 2, 4),
        ),
        (["mel", "other"], ("mel", "other"), None),
        ({1: "nv", 0: "mel"}, ("mel", "nv"), (0,)),
    ],
)
def test_class_names_become_labels(names, codes, malignant):
    labels = labels_from_names(names, len(codes), name="m")
    assert labels.codes == codes
    assert labels.malignant_indices == malignant
