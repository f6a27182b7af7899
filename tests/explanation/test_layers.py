"""Layers: one is found for every family of networks, and its map is not constant."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from skinclf.explanation import Explainer
from skinclf.explanation.layers import choose_layer, spatial_layers
from skinclf.images.preprocess import Preprocess
from skinclf.labels import HAM10000
from skinclf.models.loaded import LoadedModel
from skinclf.models.spec import ModelSpec


def vit(**options):
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(
        img_size=(64, 64), patch_size=8, embed_dim=32, depth=3, num_heads=2, num_classes=7, **options
    )


def deit():
    from timm.models.deit import VisionTransformerDistilled

    return VisionTransformerDistilled(
        img_size=64, patch_size=8, embed_dim=32, depth=3, num_heads=2, num_classes=7
    )


def swin():
    from timm.models.swin_transformer import SwinTransformer

    return SwinTransformer(
        img_size=64, patch_size=2, window_size=4, embed_dim=16, depths=(2, 2), num_heads=(2, 2), num_classes=7
    )


def densenet():
    from timm.models.densenet import DenseNet

    return DenseNet(growth_rate=8, block_config=(2, 2, 2), num_classes=7)


def convnext():
    from timm.models.convnext import ConvNeXt

    return ConvNeXt(depths=(1, 1, 2, 1), dims=(8, 16, 24, 32), num_classes=7)


def named(name: str):
    import timm

    return timm.create_model(name, num_classes=7)


def torchvision_densenet():
    from torchvision.models.densenet import DenseNet

    return DenseNet(growth_rate=8, block_config=(2, 2), num_init_features=16, num_classes=7)


#: Family, its network, and the layer that is expected; the class token's networks stop before the last block.
FAMILIES: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "resnet": (partial(named, "resnet10t"), "layer4"),
    "mobilenetv3": (partial(named, "mobilenetv3_small_050"), "blocks"),
    "mobilenetv2": (partial(named, "mobilenetv2_035"), "bn2"),
    "efficientnet": (partial(named, "test_efficientnet"), "bn2"),
    "convnext": (convnext, "norm_pre"),
    "densenet": (densenet, "features"),
    "densenet of torchvision": (torchvision_densenet, "features"),
    "vit": (vit, "blocks.1"),
    "vit with registers": (partial(vit, reg_tokens=4), "blocks.1"),
    "vit with mean pooling": (partial(vit, class_token=False, global_pool="avg"), "norm"),
    "deit": (deit, "blocks.1"),
    "swin": (swin, "norm"),
}


def model_of(network: nn.Module) -> LoadedModel:
    for module in network.modules():  # random weights alone would leave some heads at zero
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.2)
    spec = ModelSpec(
        name="family",
        architecture="family",
        labels=HAM10000,
        preprocess=Preprocess(height=64, width=64, std=(0.3, 0.3, 0.3), mean=(0.5, 0.5, 0.5)),
        weights_sha256="0" * 64,
    )
    return LoadedModel(spec=spec, network=network.eval())


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_a_map_with_no_option(family, synthetic_image):
    make, expected = FAMILIES[family]
    torch.manual_seed(0)
    e = Explainer(model_of(make()), runtime="torch", workers=0)
    assert e.method == "gradcam"
    assert e.layer == expected
    found = e.explain(synthetic_image)
    assert np.ptp(found.map) > 0
    assert np.unique(np.round(found.map / np.abs(found.map).max(), 3)).size > 3


def test_a_class_tokens_last_block_would_show_nothing(synthetic_image):
    torch.manual_seed(0)
    model = model_of(vit())
    from skinclf.errors import ImageError

    with pytest.raises(ImageError, match="zero"):
        Explainer(model, layer="blocks.2", runtime="torch", workers=0).explain(synthetic_image)


def test_tokens_before_the_patches_are_left_out():
    for network, prefix in (
        (vit(), 1),
        (vit(reg_tokens=4), 5),
        (deit(), 2),
        (vit(class_token=False, global_pool="avg"), 0),
    ):
        layers = spatial_layers(network.eval(), torch.zeros(1, 3, 64, 64))
        (block,) = [layer for layer in layers if layer.name == "blocks.1"]
        assert (block.grid, block.prefix, block.channels) == ((8, 8), prefix, 32)


def test_the_grid_of_other_shapes_than_a_square():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches = nn.Conv2d(3, 6, 8, 8)
            self.blocks = nn.Sequential(nn.Identity(), nn.Identity(), nn.Identity())
            self.last = nn.Identity()

        def forward(self, x):
            tokens = self.patches(x).flatten(2).transpose(1, 2)
            tokens = torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1)
            return self.last(self.blocks(tokens).permute(0, 1, 2))[:, 0]

    network = Tokens().eval()
    layers = spatial_layers(network, torch.zeros(1, 3, 32, 80))
    assert {layer.name: (layer.grid, layer.layout) for layer in layers}["blocks"] == ((4, 10), "tokens")
    assert choose_layer(layers, network).name == "blocks.1"


def test_channels_last_are_told_from_the_aspect_ratio():
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 16, 8, 8)
            self.turn = nn.Identity()

        def forward(self, x):
            return self.turn(self.conv(x).permute(0, 2, 3, 1)).mean(dim=(1, 2))

    first, last = spatial_layers(Last().eval(), torch.zeros(1, 3, 64, 96))
    assert (first.layout, first.grid, first.channels) == ("channels first", (8, 12), 16)
    assert (last.layout, last.grid, last.channels) == ("channels last", (8, 12), 16)


def test_a_layer_may_be_named_by_its_end_when_that_is_clear():
    class Nested(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleDict({"conv5_block3_out": nn.Conv2d(3, 4, 4, 4)})

        def forward(self, x):
            return self.layers["conv5_block3_out"](x).mean(dim=(2, 3))

    network = Nested().eval()
    layers = spatial_layers(network, torch.zeros(1, 3, 32, 32))
    assert choose_layer(layers, network, "conv5_block3_out").name == "layers.conv5_block3_out"
