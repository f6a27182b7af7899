"""State dicts of torchvision's networks, by name: the outputs are torchvision's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from skinclf.errors import ModelError
from skinclf.models.load import load_model
from skinclf.models.options import ModelOptions

torch = pytest.importorskip("torch")
models = pytest.importorskip("torchvision.models")


def options(name: str) -> ModelOptions:
    return ModelOptions(architecture=f"torchvision/{name}", labels="ham10000", preprocess="torch")


@pytest.mark.parametrize("prefix", ["", "model."])
@pytest.mark.parametrize(
    "name", ["mobilenet_v2", "mobilenet_v3_small", "regnet_y_400mf", "squeezenet1_1", "densenet121"]
)
def test_the_outputs_are_those_of_torchvision(tmp_path: Path, name: str, prefix: str) -> None:
    network = models.get_model(name, weights=None, num_classes=7).eval()
    torch.save({prefix + key: value for key, value in network.state_dict().items()}, tmp_path / "net.pth")
    loaded = load_model(tmp_path / "net.pth", options=options(name)).torch_network()
    x = torch.rand(1, 3, 224, 224)
    with torch.inference_mode():
        assert torch.equal(loaded(x), network(x))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("resnet9000", "no classification network"),
        ("inception_v3", "transform_input"),
        ("mobilenet_v2", "no classifier"),
    ],
)
def test_what_cannot_be_built_is_one_sentence(tmp_path: Path, name: str, says: str) -> None:
    torch.save({"a.weight": torch.ones(2, 2), "b.weight": torch.ones(2, 2)}, tmp_path / "net.pth")
    with pytest.raises(ModelError, match=says):
        load_model(tmp_path / "net.pth", options=options(name))
