"""`skinclf.models.architectures.efficientnet`: torchvision's names and bits, without torchvision."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch

from skinclf.errors import ModelError
from skinclf.models.architectures.efficientnet import VARIANTS, build, feature_width, recognise


@cache
def meta_shapes(variant: str) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {k: tuple(v.shape) for k, v in build(7, variant=variant).state_dict().items()}


# Parameters of each network with 1000 classes, as its paper and torchvision's documentation give them.
PARAMETERS = {
    "efficientnet_b0": 5_288_548,
    "efficientnet_b1": 7_794_184,
    "efficientnet_b2": 9_109_994,
    "efficientnet_b3": 12_233_232,
    "efficientnet_b4": 19_341_616,
    "efficientnet_b5": 30_389_784,
    "efficientnet_b6": 43_040_704,
    "efficientnet_b7": 66_347_960,
    "efficientnet_v2_s": 21_458_488,
    "efficientnet_v2_m": 54_139_356,
    "efficientnet_v2_l": 118_515_272,
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_has_its_published_size(variant):
    shapes = meta_shapes(variant)
    learned = sum(math.prod(v) for k, v in shapes.items() if "running" not in k and not k.endswith("tracked"))
    assert learned == PARAMETERS[variant] - 993 * (feature_width(variant) + 1)
    assert shapes["classifier.1.weight"] == (7, feature_width(variant))


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_is_recognised_by_its_shapes(variant):
    assert recognise(meta_shapes(variant)) == variant


def test_what_is_no_efficientnet_is_not_recognised():
    shapes = meta_shapes("efficientnet_b0")
    assert recognise({}) is None
    assert recognise({k: v for k, v in shapes.items() if not k.startswith("features.3.")}) is None
    assert recognise({**shapes, "features.0.0.weight": (64, 3, 3, 3)}) is None
    assert recognise({**shapes, "features.7.1.block.0.0.weight": (1,)}) is None


@pytest.mark.parametrize(("variant", "eps"), [("b4", 1e-5), ("b5", 1e-3), ("v2_s", 1e-3)])
def test_the_epsilon_of_batch_norms_is_torchvisions(variant, eps):
    with torch.device("meta"):
        network = build(7, variant=f"efficientnet_{variant}")
    assert {m.eps for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)} == {eps}


def test_an_unknown_variant_is_named():
    with pytest.raises(ModelError, match="efficientnet_b9"):
        build(7, variant="efficientnet_b9")


@pytest.mark.parametrize("variant", ["efficientnet_b0", "efficientnet_v2_s"])
def test_the_same_bits_as_torchvision(variant):
    models = pytest.importorskip("torchvision").models
    torch.manual_seed(0)
    theirs = getattr(models, variant)(num_classes=7).eval()
    for name, value in theirs.state_dict().items():
        if name.endswith("running_mean"):
            value.normal_(0, 0.2)
        elif name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
    ours = build(7, variant=variant).eval()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        expected = theirs(x)
        assert torch.equal(ours(x), expected)
    assert expected.std() > 0.1
