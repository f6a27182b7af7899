"""`skinclf.models.formats.transformers`: ViT and Swin as transformers runs them, without transformers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from support.transformers_folder import PROCESSOR, SWIN, VIT, write

from skinclf.errors import ModelError
from skinclf.images.preprocess import scaling
from skinclf.images.synthetic import synthetic_lesion
from skinclf.labels import HAM10000
from skinclf.models.formats.transformers import import_transformers_folder
from skinclf.models.loaded import Stated


def load(folder, **stated):
    return import_transformers_folder(folder, Stated(**stated), name="m", source="user/m")


@pytest.mark.parametrize(
    "config", [VIT, SWIN, {**VIT, "layer_norm_eps": 0.01}], ids=["vit", "swin", "vit-eps"]
)
def test_the_same_numbers_as_transformers(tmp_path, config):
    transformers = pytest.importorskip("transformers")
    folder = write(tmp_path, config)
    theirs = transformers.AutoModelForImageClassification.from_pretrained(folder).eval()
    network = load(folder).torch_network()
    assert sum(p.numel() for p in network.parameters()) == sum(p.numel() for p in theirs.parameters())
    x = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = theirs(x).logits
        found = network(x)
    assert expected.std() > 0.1
    assert (found - expected).abs().max() < 2e-6


def test_images_are_prepared_as_transformers_prepares_them(tmp_path):
    transformers = pytest.importorskip("transformers")
    preprocess = load(write(tmp_path, VIT)).spec.preprocess
    processor = transformers.ViTImageProcessor.from_pretrained(tmp_path)
    image = synthetic_lesion(2, width=200, height=150)
    expected = np.asarray(processor(Image.fromarray(image), return_tensors="np")["pixel_values"])[0]
    found = preprocess.normalize(preprocess.pixels(image)[None])[0]
    # Two grey levels: their processor resizes tensors or Pillow images, by version.
    assert np.abs(found - expected).max() <= 2.01 / 255 / 0.25


@pytest.mark.parametrize("config", [VIT, SWIN], ids=["vit", "swin"])
def test_labels_preprocessing_and_network_come_from_the_files(tmp_path, config):
    loaded = load(write(tmp_path, config))
    assert loaded.spec.labels == HAM10000
    assert loaded.spec.preprocess == scaling("unit", height=64, width=64, mean=(0.5,) * 3, std=(0.25,) * 3)
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert loaded.torch_network()(x).shape == (2, 7)


def test_a_swin_needs_its_two_stages_in_the_right_places(tmp_path):
    """The merging between stages has different owners in the two libraries."""
    from safetensors.torch import load_file

    network = load(write(tmp_path, SWIN)).torch_network()
    name = "swin.encoder.layers.0.downsample.reduction.weight"
    ours = network.state_dict()["layers.1.downsample.reduction.weight"]
    assert torch.equal(ours, load_file(tmp_path / "model.safetensors")[name])


def test_the_older_processor_form(tmp_path):
    older = {
        "size": 64,
        "do_resize": True,
        "do_normalize": True,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    assert load(write(tmp_path, VIT, older)).spec.preprocess.scale == pytest.approx(1 / 255)
    raw = {"size": 64, "do_normalize": False, "do_rescale": False, "resample": 3}
    assert load(write(tmp_path, VIT, raw)).spec.preprocess == scaling(
        "raw", height=64, width=64, interpolation="bicubic"
    )


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (
            {"model_type": "resnet", "architectures": ["ResNetForImageClassification"]},
            "ResNetForImageClassification",
        ),
        ({"architectures": ["ViTForMaskedImageModeling"]}, "ViTForMaskedImageModeling"),
        ({"architectures": [], "model_type": "clip"}, "'clip'"),
        ({"hidden_act": "relu"}, "'relu'"),
        ({"num_channels": 1}, "1 channels"),
        ({"id2label": {i: f"LABEL_{i}" for i in range(7)}}, "`labels`"),
        ({"id2label": {i: f"n{i:08d}" for i in range(7)}}, "ImageNet"),
        ({"id2label": None}, "`labels`"),
        ({"image_size": 128}, "128 x 128"),
        ({"num_hidden_layers": 10**9}, "depth"),
        ({"hidden_size": 10**9, "num_attention_heads": 1}, "width"),
        ({"hidden_size": "48"}, "width"),
        ({"num_attention_heads": 5}, "do not divide"),
        ({"intermediate_size": 64}, "do not fit"),
        ({"layer_norm_eps": "x"}, "positive number"),
    ],
)
def test_other_networks_and_hostile_numbers_are_refused(tmp_path, config, says):
    folder = write(tmp_path, VIT)
    (folder / "config.json").write_text(json.dumps({**VIT, **config}))
    with pytest.raises(ModelError, match=says):
        load(folder).torch_network()


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"use_absolute_embeddings": True}, "absolute position"),
        ({"window_size": 7}, "do not tile"),
        ({"depths": [2, 10**9]}, "lists of whole numbers"),
        ({"depths": [2, 2, 2]}, "do not fit"),
        ({"embed_dim": 10**8}, "width"),
    ],
)
def test_other_swins_are_refused(tmp_path, config, says):
    folder = write(tmp_path, SWIN)
    (folder / "config.json").write_text(json.dumps({**SWIN, **config}))
    with pytest.raises(ModelError, match=says):
        load(folder).torch_network()


@pytest.mark.parametrize(
    "processor",
    [
        None,
        {**PROCESSOR, "size": {"shortest_edge": 64}},
        {**PROCESSOR, "do_center_crop": True},
        {**PROCESSOR, "do_resize": False},
        {**PROCESSOR, "resample": 9},
    ],
)
def test_a_preprocessing_that_cannot_be_repeated_must_be_stated(tmp_path, processor):
    folder = write(tmp_path, VIT, processor)
    with pytest.raises(ModelError, match="`preprocess`"):
        load(folder)
    stated = scaling("tf", height=64, width=64)
    assert load(folder, preprocess=stated).spec.preprocess == stated
