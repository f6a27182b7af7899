"""A transplanted EfficientNet-B0 computes nearly what the MobileNetV2 did."""

from __future__ import annotations

import pytest

pytest.importorskip("lightning", reason="training needs the extra `train`")

import numpy as np
import timm
import torch
from safetensors.torch import load_file, save_file

from skinclf.errors import InvalidArgumentError, ModelError
from skinclf.images.synthetic import synthetic_lesion
from skinclf.models.registry import BUILTIN
from skinclf_training.torch.networks.transplant import transplant

SOURCE = BUILTIN / "ham10000-mobilenetv2" / "model.safetensors"


def efficientnet():
    torch.manual_seed(0)
    return timm.create_model("efficientnet_b0", num_classes=7).eval()


def mobilenet():
    network = timm.create_model("mobilenetv2_100", num_classes=7).eval()
    network.load_state_dict({k: v.float() for k, v in load_file(SOURCE).items()}, strict=False)
    return network


@pytest.fixture(scope="module")
def transplanted():
    network = efficientnet()
    fresh = transplant(network, SOURCE)
    return network, fresh


def test_features_are_those_of_the_source(transplanted):
    """What differs by design: SiLU for ReLU6, the gates, and later a block less."""
    network, _ = transplanted
    pictures = np.stack([synthetic_lesion(i, width=224, height=224) for i in range(3)])
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2).float().sub(127.5).div(127.5)

    def early(net):
        return net.blocks[1](net.blocks[0](net.bn1(net.conv_stem(x))))

    def features(net):
        return net.forward_features(x)

    with torch.inference_mode():
        wanted, got, random = (features(net).flatten() for net in (mobilenet(), network, efficientnet()))
    assert torch.corrcoef(torch.stack([wanted, got]))[0, 1] > 0.5
    assert abs(torch.corrcoef(torch.stack([wanted, random]))[0, 1]) < 0.2
    # The scale is carried through gates and sharpened activations.
    with torch.inference_mode():
        assert 0.7 < early(network).std() / early(mobilenet()).std() < 1.5


def test_old_channels_do_not_read_new_ones(transplanted):
    network, _ = transplanted
    reader = network.blocks[3][0].conv_pw.weight  # 40 channels, of which MobileNetV2 had 32
    assert reader.shape[:2] == (240, 40)
    assert torch.equal(reader[:192, 32:], torch.zeros(192, 8, 1, 1))
    assert reader[192:, 32:].abs().min() > 0


def test_kernels_lie_in_the_middle(transplanted):
    network, _ = transplanted
    kernel = network.blocks[2][0].conv_dw.weight
    source = load_file(SOURCE)["blocks.2.0.conv_dw.weight"].float()
    assert torch.equal(kernel[:, :, 1:4, 1:4], source)
    assert torch.equal(kernel[:, :, 0], torch.zeros_like(kernel[:, :, 0]))


def test_block_without_counterpart_is_the_identity(transplanted):
    network, _ = transplanted
    x = torch.randn(1, 192, 4, 4)
    with torch.inference_mode():
        assert torch.equal(network.blocks[5][3](x), x)


def test_names_what_stays_random(transplanted):
    _, fresh = transplanted
    assert "blocks.5.3.conv_pw.weight" in fresh
    assert "blocks.1.0.se.conv_reduce.weight" in fresh
    assert not [name for name in fresh if name.startswith(("conv_stem", "blocks.0.0.conv_dw", "classifier"))]


def test_other_number_of_classes_keeps_a_fresh_classifier():
    network = timm.create_model("efficientnet_b0", num_classes=3)
    assert "classifier.weight" in transplant(network, SOURCE)


def test_refuses_other_networks_and_files(tmp_path):
    with pytest.raises(ModelError, match="efficientnet_b0"):
        transplant(timm.create_model("mobilenetv2_140", num_classes=7), SOURCE)
    with pytest.raises(InvalidArgumentError, match="cannot be read"):
        transplant(efficientnet(), tmp_path / "missing.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match="no tensor conv_stem"):
        transplant(efficientnet(), tmp_path / "other.safetensors")
