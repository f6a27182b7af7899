"""State dicts of torchvision's networks without a name: recognised, and the outputs are torchvision's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from skinclf.errors import InvalidArgumentError, ModelError
from skinclf.models.architectures.torchvision_names import digest, named_layout, torchvision_layout
from skinclf.models.load import load_model
from skinclf.models.options import ModelOptions

torch = pytest.importorskip("torch")
models = pytest.importorskip("torchvision.models")
nn = torch.nn

OPTIONS = ModelOptions(labels="ham10000", preprocess="torch-pillow", input_size=224)


def saved(folder: Path, content: Any) -> Any:
    torch.save(content, folder / "net.pth")
    return load_model(folder / "net.pth", options=OPTIONS)


@pytest.mark.parametrize(
    "name",
    [
        "vgg11_bn",
        "convnext_tiny",
        "swin_t",
        "swin_v2_t",
        "vit_b_32",
        "wide_resnet50_2",
        "densenet121",
        "mobilenet_v2",
        "mobilenet_v3_large",
        "regnet_x_400mf",
        "shufflenet_v2_x0_5",
        "mnasnet0_5",
        "resnet18",
        "efficientnet_b0",
    ],
)
def test_the_outputs_are_those_of_torchvision(tmp_path: Path, name: str) -> None:
    network = models.get_model(name, weights=None, num_classes=7).eval()
    loaded = saved(tmp_path, network.state_dict()).torch_network()
    x = torch.rand(1, 3, 224, 224)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(x), network(x), rtol=1e-5, atol=1e-6)


def heads(network: Any) -> dict[str, Any]:
    """Heads as people put them on a MobileNetV2."""
    return {
        "linear": nn.Linear(1280, 7),
        "dropout and linear": nn.Sequential(nn.Dropout(0.5), nn.Linear(1280, 7)),
        "deep": nn.Sequential(nn.Sequential(nn.Dropout(0.5)), nn.Sequential(nn.Linear(1280, 7))),
    }


@pytest.mark.parametrize("prefix", ["", "model.", "net.backbone."])
@pytest.mark.parametrize("head", ["linear", "dropout and linear", "deep"])
def test_a_replaced_head_and_a_prefix_are_seen_through(tmp_path: Path, head: str, prefix: str) -> None:
    network = models.mobilenet_v2(weights=None)
    network.classifier = heads(network)[head]
    network.eval()
    loaded = saved(tmp_path, {prefix + key: value for key, value in network.state_dict().items()})
    assert loaded.spec.architecture == "skinclf/torchvision"
    assert dict(loaded.spec.model_args) == {"name": "mobilenet_v2"}
    x = torch.rand(1, 3, 96, 96)
    with torch.inference_mode():
        assert torch.equal(loaded.torch_network()(x), network(x))


def test_a_head_of_several_layers_is_refused_by_name(tmp_path: Path) -> None:
    network = models.mobilenet_v2(weights=None)
    network.classifier = nn.Sequential(nn.Linear(1280, 9), nn.ReLU(), nn.Linear(9, 7))
    with pytest.raises(ModelError, match="several layers"):
        saved(tmp_path, network.state_dict())


def test_a_changed_network_is_not_taken_for_another(tmp_path: Path) -> None:
    state = models.mobilenet_v2(weights=None, num_classes=7).state_dict()
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    assert torchvision_layout(shapes) is not None
    assert torchvision_layout({**shapes, "extra.weight": (3, 3)}) is None
    assert (
        torchvision_layout({key: shape for key, shape in shapes.items() if "features.3." not in key}) is None
    )
    with pytest.raises(ModelError, match="belong to no network"):
        saved(tmp_path, {**state, "extra.weight": torch.zeros(3, 3)})


@pytest.mark.parametrize(
    "name", ["alexnet", "squeezenet1_0", "resnext50_32x4d", "maxvit_t", "convnext_small"]
)
def test_the_table_is_that_of_the_installed_torchvision(name: str) -> None:
    layout = named_layout(name)
    assert layout is not None
    with torch.device("meta") if name != "maxvit_t" else torch.device("cpu"):
        network = models.get_model(name, weights=None, num_classes=5)
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert torchvision_layout(shapes) == layout
    assert len(digest(shapes, layout.root)) == 16


def test_the_table_has_every_classifier_that_is_not_read_otherwise() -> None:
    others = {"googlenet", "inception_v3", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"}
    names = {x for x in models.list_models(module=models) if not x.startswith("efficientnet")} - others
    assert {name for name in names if named_layout(name) is None} == set()


def test_a_key_chooses_among_several_state_dicts(tmp_path: Path) -> None:
    one, two = (models.mobilenet_v2(weights=None, num_classes=7).state_dict() for _ in range(2))
    torch.save({"teacher": one, "models": {"student": two}}, tmp_path / "net.pth")

    def weight(key: str) -> Any:
        options = ModelOptions(labels="ham10000", preprocess="torch-pillow", state_key=key)
        loaded = load_model(tmp_path / "net.pth", options=options)
        return loaded.torch_network().state_dict()["classifier.1.weight"]

    assert torch.equal(weight("teacher"), one["classifier.1.weight"])
    assert torch.equal(weight("models.student"), two["classifier.1.weight"])
    with pytest.raises(ModelError, match=r"those that it holds are teacher, models\.student"):
        weight("other")
    with pytest.raises(ModelError, match="Name the one to use as `state_key`"):
        load_model(tmp_path / "net.pth", options=OPTIONS)


def test_a_key_belongs_to_a_checkpoint(tiny_bundle: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="`state_key` ema is for PyTorch checkpoints"):
        load_model(tiny_bundle, options=ModelOptions(state_key="ema"))
