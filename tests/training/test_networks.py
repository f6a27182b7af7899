"""Networks that training can build: counted, started, and built again by the SDK."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from skinclf.errors import InvalidArgumentError, ModelError, UnsafeModelError
from skinclf.images.preprocess import scaling
from skinclf.labels import HAM10000
from skinclf.models.architectures import build_named, load_tensors
from skinclf.models.architectures.build import restore_network
from skinclf.models.architectures.efficientnet import set_stochastic_depth
from skinclf.models.architectures.heads import make_head
from skinclf.models.spec import ModelSpec
from skinclf_training.config.read import ModelConfig
from skinclf_training.torch.networks.build import architecture, body_prefix, build_network, head_names

PUBLISHED = {
    "skin-condition-assistant": ("efficientnet_b0", 8, 4_338_052),
    "melanoma-analyzer": ("efficientnet_v2_s", 2, 20_180_050),
    "dermalyze-s": ("efficientnet_v2_s", 7, 20_968_023),
    "dermalyze-m": ("efficientnet_v2_m", 7, 53_648_891),
    "dermalyze-l": ("efficientnet_v2_l", 7, 118_024_807),
}
HEAD = ("batchnorm", "dropout=0.5", "dense=12", "relu", "dropout=0.3")


def count(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_projects_have_their_number_of_parameters(name: str) -> None:
    variant, outputs, wanted = PUBLISHED[name]
    design = name[:-2] if name.startswith("dermalyze") else name
    config = ModelConfig(
        architecture="skinclf/published-efficientnet", args={"design": design, "variant": variant}
    )
    with torch.device("meta"):
        network, _ = build_network(config, outputs)
    assert count(network) == wanted


def test_the_simple_network_is_devatreyas() -> None:
    network, _ = build_network(ModelConfig(architecture="simple_cnn"), 1)
    # Keras counts running statistics too.
    assert sum(v.numel() for k, v in network.state_dict().items() if not k.endswith("tracked")) == 160_193
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 1)
    assert len(head_names(network)) == 6


def test_a_head_is_its_steps() -> None:
    head = make_head(10, HEAD, 3)
    assert [type(layer).__name__ for layer in head] == [
        "BatchNorm1d",
        "Dropout",
        "Linear",
        "ReLU",
        "Dropout",
        "Linear",
    ]
    assert head[2].weight.shape == (12, 10)
    assert head[5].weight.shape == (3, 12)
    assert head[4].p == 0.3


@pytest.mark.parametrize(
    "step", ["dense", "dense=0", "dense=1.5", "dense=1e9", "dropout=1", "relu=1", "softmax", "dense=x"]
)
def test_other_steps_are_refused(step: str) -> None:
    with pytest.raises(ModelError, match="Unknown step"):
        make_head(10, (step,), 3)


def test_the_sdk_builds_what_was_trained() -> None:
    config = ModelConfig(architecture="test_efficientnet", head=HEAD, args={"bn_eps": 1e-4})
    network, _ = build_network(config, len(HAM10000))
    name, args = architecture(config)
    assert name == "skinclf/timm-head"
    spec = ModelSpec(
        name="x",
        architecture=name,
        model_args=args,
        labels=HAM10000,
        preprocess=scaling("tf", height=32, width=32),
    )
    again = restore_network(spec, network.state_dict())
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32))
    assert torch.equal(network.eval()(x), again(x))
    assert again.backbone.bn1.eps == 1e-4
    greedy = dataclasses.replace(spec, model_args={**args, "backbone_args": {"stem_size": 2**20}})
    with pytest.raises(ModelError, match="model_args ask for"):
        restore_network(greedy, network.state_dict())
    with pytest.raises(UnsafeModelError):
        build_named(name, 7, {**args, "backbone_args": {"pretrained": True}})
    with pytest.raises(ModelError, match="Unknown architecture"):
        build_named(name, 7, {**args, "backbone": "hf-hub:someone/else"})


def test_the_last_layer_of_a_head_starts_near_zero() -> None:
    network, _ = build_network(ModelConfig(architecture="test_efficientnet", head=HEAD), 7)
    assert network.head[5].weight.detach().std() == pytest.approx(0.01, rel=0.3)
    assert network.head[2].weight.detach().std() == pytest.approx((2 / 12) ** 0.5, rel=0.1)
    assert {k.split(".")[0] for k in head_names(network)} == {"head"}


def test_a_head_starts_on_a_bare_backbone(tmp_path: Path) -> None:
    bare, _ = build_network(ModelConfig(architecture="test_efficientnet"), 11)
    save_file(bare.state_dict(), tmp_path / "bare.safetensors")
    config = ModelConfig(architecture="test_efficientnet", head=HEAD, init=str(tmp_path / "bare.safetensors"))
    network, report = build_network(config, 7)
    assert body_prefix(network) == "backbone."
    assert report is not None
    assert set(report.fresh) == {k for k in head_names(network) if not k.endswith("tracked")}
    assert torch.equal(network.backbone.conv_stem.weight, bare.conv_stem.weight)


def test_options_that_exclude_each_other(tmp_path: Path) -> None:
    for config, message in [
        (ModelConfig(pretrained=True, transplant="x"), "exclude each other"),
        (ModelConfig(architecture="efficientnet_b0", transplant="x", head=HEAD), "leave model.head empty"),
        (ModelConfig(architecture="simple_cnn", head=HEAD), "has its own head"),
        (ModelConfig(architecture="simple_cnn", pretrained=True), "no published ImageNet weights"),
        (ModelConfig(architecture="efficientnet_b0", transplant=str(tmp_path / "no")), "cannot be read"),
    ]:
        with pytest.raises(InvalidArgumentError, match=message):
            build_network(config, 7)


def test_stochastic_depth_is_torchvisions() -> None:
    torchvision = pytest.importorskip("torchvision")
    theirs = torchvision.models.efficientnet_b0(weights=None, num_classes=5)
    ours = build_named("skinclf/torchvision-efficientnet", 5, {"variant": "efficientnet_b0"})
    load_tensors(ours, theirs.state_dict(), name="torchvision")
    set_stochastic_depth(ours, 0.2)
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 3, 32, 32)).astype(np.float32))
    results = []
    for network in (theirs, ours):
        torch.manual_seed(1)
        results.append(network.train()(x))
    assert torch.equal(*results)
    assert torch.equal(theirs.eval()(x), ours.eval()(x))
    set_stochastic_depth(ours, 0.0)
    torch.manual_seed(1)
    assert not torch.equal(ours.train()(x), results[0])


def test_imagenet_weights_are_torchvisions_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torchvision = pytest.importorskip("torchvision")
    theirs = torchvision.models.efficientnet_b0(weights=None)
    url = torchvision.models.get_model_weights("efficientnet_b0").DEFAULT.url
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(theirs.state_dict(), tmp_path / "hub" / "checkpoints" / url.rpartition("/")[2])
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    args = {"design": "skin-condition-assistant", "variant": "efficientnet_b0"}
    config = ModelConfig(architecture="skinclf/published-efficientnet", pretrained=True, args=args)
    network, _ = build_network(config, 8)
    assert torch.equal(
        network.base_model.features[7][0].block[0][0].weight, theirs.features[7][0].block[0][0].weight
    )
    with pytest.raises(ModelError, match="could not be fetched"):
        build_network(dataclasses.replace(config, args={**args, "variant": "efficientnet_b1"}), 8)
