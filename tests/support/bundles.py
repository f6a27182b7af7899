"""Small real bundles around random networks."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from skinclf.images.preprocess import Preprocess, scaling
from skinclf.images.synthetic import synthetic_lesion
from skinclf.labels import HAM10000, MALIGNANT, LabelSet
from support.pictures import encode

if TYPE_CHECKING:
    from torch import Tensor

    from skinclf.models.spec import ModelSpec


def random_network(architecture: str, outputs: int, *, seed: int) -> dict[str, Tensor]:
    """State of a timm network with reproducible weights, whose batch norms are not the identity.

    The gain keeps activations alive, so that different pictures give clearly different outputs.
    """
    import timm
    import torch

    state: dict[str, Tensor] = timm.create_model(
        architecture, pretrained=False, num_classes=outputs
    ).state_dict()
    random = torch.Generator().manual_seed(seed)
    for name, value in state.items():
        if name.endswith("num_batches_tracked"):
            value.fill_(1)
        elif name.endswith("running_var"):
            value.copy_(torch.rand(value.shape, generator=random) + 0.5)
        elif name.endswith("running_mean"):
            value.copy_(torch.randn(value.shape, generator=random) * 0.2)
        elif value.ndim == 1:
            centre = 1.0 if name.endswith("weight") else 0.0
            value.copy_(torch.randn(value.shape, generator=random) * 0.1 + centre)
        else:
            value.copy_(torch.randn(value.shape, generator=random) * (2 / value[0].numel()) ** 0.5)
    return state


def make_bundle(
    folder: Path,
    labels: LabelSet,
    preprocess: Preprocess,
    *,
    architecture: str = "test_efficientnet",
    seed: int = 0,
    half: bool = False,
    **fields: Any,
) -> ModelSpec:
    """Write a real bundle around a random network, with a golden sample that plain timm computed."""
    import timm
    import torch

    from skinclf.images.decode import load_image
    from skinclf.models.architectures import load_tensors
    from skinclf.models.bundle import write_bundle
    from skinclf.models.probabilities import probabilities
    from skinclf.models.spec import Golden, ModelSpec

    spec = ModelSpec(
        name=folder.name,
        architecture=architecture,
        labels=labels,
        preprocess=preprocess,
        **{"license": "CC0-1.0", "source": str(folder)} | fields,
    )
    state = random_network(architecture, spec.num_outputs, seed=seed)
    if half:
        state = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    network = timm.create_model(architecture, pretrained=False, num_classes=spec.num_outputs).eval()
    load_tensors(network, state, name=folder.name)
    picture = encode(synthetic_lesion(11, width=160, height=120), "PNG")
    pixels = preprocess.pixels(load_image(picture))
    with torch.inference_mode():
        scores = network(torch.from_numpy(preprocess.normalize(pixels[None]))).numpy()
    expected = tuple(float(p) for p in probabilities(scores, spec.activation)[0])
    golden = Golden("golden/sample.png", expected, 1e-5, "timm, CPU float32")
    return write_bundle(
        folder,
        spec.replace(golden=(golden,)),
        state,
        card="# A random network for tests\n\nIt knows nothing about skin.\n",
        golden={golden.file: picture},
    )


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A seven-class (HAM10000) softmax bundle at 64 px with two operating points. Read only: copy before changing."""
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    points = {"sensitivity_90": {"threshold": 0.35, "sensitivity": 0.9}, "youden": {"threshold": 0.42}}
    make_bundle(folder, HAM10000, scaling("torch", height=64, width=64), operating_points=points)
    return folder


@pytest.fixture(scope="session")
def two_label_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A benign/malignant bundle at 48 x 64 px: one sigmoid output, BGR, OpenCV resize, float16 weights,
    temperature calibration, a default operating point. Read only: copy before changing.
    """
    from skinclf.models.probabilities import Calibration

    folder = tmp_path_factory.mktemp("bundles") / "two-label"
    make_bundle(
        folder,
        MALIGNANT,
        scaling("caffe", height=48, width=64, library="opencv", std=(58.0, 57.0, 57.0)),
        seed=1,
        half=True,
        activation="sigmoid",
        calibration=Calibration("temperature", (0.8,)),
        operating_points={"sensitivity_95": {"threshold": 0.3}},
        default_operating_point="sensitivity_95",
    )
    return folder


@pytest.fixture
def bundle_copy(tmp_path: Path, tiny_bundle: Path) -> Path:
    """A copy of `tiny_bundle` that the test may damage."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


@pytest.fixture
def bundle_factory() -> Callable[..., ModelSpec]:
    """`make_bundle`, for tests that need another network, label set or preprocessing."""
    return make_bundle
