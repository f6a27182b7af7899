"""Maps equal those of captum, and of TensorFlow's own gradients on Keras files with a nested model."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from support.colour_square import red_model, with_square
from support.keras_fixtures import stated
from support.keras_worker import KerasWorker
from support.keras_zoo import SIZE
from torch import nn

from skinclf.explanation import Explainer
from skinclf.explanation.target import make_target
from skinclf.models.formats.keras.file import import_keras


class Small(nn.Module):
    """Two normalised convolutions; the last one keeps its values from being overwritten."""

    def __init__(self, last: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.last = last
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(12, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logit: torch.Tensor = self.head(self.pool(self.last(self.body(x))).flatten(1))
        return logit


LASTS = {
    "convolution": partial(nn.Conv2d, 8, 12, 3, 2, 1),
    "relu": lambda: nn.Sequential(nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU()),
    "depthwise": lambda: nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.SiLU(), nn.Conv2d(8, 12, 1)),
}


def named(name: str) -> nn.Module:
    import timm

    network: nn.Module = timm.create_model(name, num_classes=1)
    return network


NETWORKS = {
    **{name: partial(lambda make: Small(make()), last) for name, last in LASTS.items()},
    "resnet": partial(named, "resnet10t"),
    "mobilenetv3": partial(named, "mobilenetv3_small_050"),
    "efficientnet": partial(named, "test_efficientnet"),
    "convnext": partial(named, "test_convnext"),
}


def explainer(name: str, method: str = "gradcam") -> Explainer:
    torch.manual_seed(1)
    network = NETWORKS[name]()
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.3)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2)  # type: ignore[arg-type]
    return Explainer(replace(red_model(), network=network.eval()), method=method, runtime="torch", workers=0)


def parts(e: Explainer) -> tuple[nn.Module, torch.Tensor, np.ndarray]:
    """A copy of the network, its input, and the pixels."""
    pixels = with_square(64, 64, 20, 30, 16)
    network = copy.deepcopy(e.one_model.torch_network())
    for module in network.modules():
        if getattr(module, "inplace", None) is True:
            module.inplace = False  # captum cannot keep what is overwritten
    return network, torch.from_numpy(e.predictor.spec.preprocess.normalize(pixels[None])), pixels


@pytest.mark.parametrize("name", NETWORKS)
def test_grad_cam_is_captums(name):
    captum = pytest.importorskip("captum.attr")

    e = explainer(name)
    network, inputs, pixels = parts(e)
    theirs = captum.LayerGradCam(lambda x: network(x)[:, 0], network.get_submodule(e.layer))
    wanted = theirs.attribute(inputs, relu_attributions=False)[0, 0].detach().numpy()
    found = e._gradients.grad_cam(pixels, make_target("malignant", e.predictor.spec.labels, 0), e._layer)
    assert np.ptp(wanted) > 0
    assert np.abs(found - wanted).max() <= 1e-6 * max(1, np.abs(wanted).max())


@pytest.mark.parametrize("method", ["saliency", "integrated-gradients"])
@pytest.mark.parametrize("name", ["relu", "efficientnet"])
def test_maps_of_pixels_are_captums(name, method):
    captum = pytest.importorskip("captum.attr")

    e = explainer(name, method)
    network, _, pixels = parts(e)
    scale, shift = (torch.from_numpy(x).view(1, 3, 1, 1) for x in e.predictor.spec.preprocess.affine())

    def score(x: torch.Tensor) -> torch.Tensor:
        return network(x * scale + shift)[:, 0]

    batch = torch.from_numpy(pixels.transpose(2, 0, 1)[None].astype(np.float32))
    target = make_target("malignant", e.predictor.spec.labels, 0)
    if method == "saliency":
        wanted = captum.Saliency(score).attribute(batch, abs=True)[0].amax(dim=0)
        found = e._gradients.saliency(pixels, target)
    else:
        start = batch.mean(dim=(2, 3), keepdim=True).expand_as(batch)
        how = {"n_steps": 32, "method": "riemann_middle", "internal_batch_size": 1}
        wanted = captum.IntegratedGradients(score).attribute(batch, start, **how)[0].sum(dim=0)
        found = e._gradients.integrated_gradients(pixels, target)
    expected = wanted.detach().numpy()
    assert np.ptp(expected) > 0
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.fixture(scope="module")
def keras_worker() -> Iterator[KerasWorker]:
    worker = KerasWorker()
    yield worker
    worker.close()


def assert_tensorflows(folder: Path, size: tuple[int, int], layer: str) -> None:
    data = np.load(folder / "data.npz")
    told = stated(1, height=size[0], width=size[1])
    model = import_keras(folder / "model.h5", told, name="m", source="model.h5")
    e = Explainer(model, target="malignant", runtime="torch", workers=0)
    assert e.method == "gradcam"
    assert e.layer.endswith(layer), e.layer
    target = make_target("malignant", model.spec.labels, 0)
    for pixels, wanted in zip(data["images"], data["cams"], strict=True):
        found = e._gradients.grad_cam(pixels, target, e._layer)
        assert found.shape == wanted.shape
        assert np.ptp(wanted) > 0
        assert np.abs(found - wanted).max() <= 1e-4 * max(1, np.abs(wanted).max())


@pytest.mark.tensorflow
@pytest.mark.parametrize("framework", ["keras", "tf_keras"])
def test_grad_cam_of_a_nested_keras_model_is_tensorflows(keras_worker, tmp_path, framework):
    pytest.importorskip(framework)
    keras_worker(
        folder=tmp_path, framework=framework, model="nested_binary", formats=[".h5"], gradcam=True, images=3
    )
    assert_tensorflows(tmp_path, SIZE, "conv2_block2_out")


@pytest.mark.slow
@pytest.mark.tensorflow
def test_grad_cam_of_the_binary_resnet50_is_tensorflows(keras_worker, tmp_path):
    keras_worker(
        folder=tmp_path,
        framework="keras",
        family="ResNet50",
        head="devatreya",
        size=[64, 69],
        formats=[".h5"],
        scaled=True,
        gradcam=True,
        images=2,
    )
    assert_tensorflows(tmp_path, (64, 69), "conv5_block3_out")
