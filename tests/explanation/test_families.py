"""Every architecture that is trained here, and checkpoints of other libraries, have a map with no option."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from support.transformers_folder import SWIN, VIT, write
from torch import nn

from skinclf.explanation.gradients import GradientNetwork
from skinclf.explanation.target import make_target
from skinclf.images.preprocess import Preprocess
from skinclf.labels import HAM10000
from skinclf.models.architectures.build import build_network
from skinclf.models.formats.transformers import import_transformers_folder
from skinclf.models.loaded import LoadedModel, Stated
from skinclf.models.spec import ModelSpec
from skinclf_training.config.read import load_config
from skinclf_training.torch.networks.build import architecture

CONFIGS = Path(__file__).parents[2] / "training" / "configs"


def trained() -> dict[str, tuple[str, dict, int]]:
    """Architecture, arguments and size of each PyTorch configuration, once for each network."""
    found: dict[str, tuple[str, dict, int]] = {}
    for path in sorted(CONFIGS.glob("*.yaml")):
        config = load_config(str(path))
        if config.framework == "torch":
            name, arguments = architecture(config.model)
            key = f"{name} {json.dumps(arguments, sort_keys=True)}"
            size = config.preprocess.build().height if "vit" in name else 96
            found.setdefault(key, (name, arguments, size))
    return found


def assert_a_map(name: str, arguments: dict, size: int) -> None:
    torch.manual_seed(0)
    spec = ModelSpec(
        name="m",
        architecture=name,
        model_args=arguments,
        labels=HAM10000,
        preprocess=Preprocess(height=size, width=size),
        weights_sha256="0" * 64,
    )
    assert_maps(spec, build_network(spec).eval())


def assert_maps(spec: ModelSpec, network: nn.Module) -> None:
    """The automatic layer gives a map that is not constant."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.2)
    e = GradientNetwork(LoadedModel(spec=spec, network=network))
    shape = (spec.preprocess.height, spec.preprocess.width, 3)
    pixels = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    found = e.grad_cam(pixels, make_target("malignant", HAM10000, 0), e.layer(None))
    assert min(found.shape) >= 2
    assert np.isfinite(found).all()
    assert np.ptp(found) > 1e-6 * np.abs(found).max() > 0


@pytest.mark.slow
@pytest.mark.parametrize("key", trained())
def test_every_architecture_of_the_training_configurations(key):
    assert_a_map(*trained()[key])


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "squeezenet1_1", "mobilenet_v3_small", "swin_t"])
def test_networks_of_torchvision(name):
    assert_a_map("skinclf/torchvision", {"name": name}, 96)


@pytest.mark.parametrize("config", [VIT, SWIN], ids=["vit", "swin"])
def test_checkpoints_of_transformers(config, tmp_path):
    loaded = import_transformers_folder(write(tmp_path, config), Stated(), name="m", source="user/m")
    assert_maps(loaded.spec, loaded.torch_network())
