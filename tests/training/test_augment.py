"""Mixing within a batch, and the way to the presets. (The batch preset itself: test_train_parts.)"""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")
pytest.importorskip("torchvision", reason="training needs the extra `train`")

from hypothesis import given, settings
from hypothesis import strategies as st

from skinclf_training.augment import presets as augment_presets
from skinclf_training.augment.batch import augment, mix
from skinclf_training.config.schema import AugmentConfig

CUTMIX = AugmentConfig(cutmix=1.0, cutmix_prob=1.0)


def flat(count: int, height: int = 24, width: int = 32) -> torch.Tensor:
    """Image i is all i."""
    return torch.arange(count).float()[:, None, None, None].expand(count, 3, height, width).contiguous()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), alpha=st.floats(0.1, 5), kind=st.sampled_from(["mixup", "cutmix"]))
def test_targets_are_mixed_as_much_as_pixels(seed: int, alpha: float, kind: str) -> None:
    config = AugmentConfig(**{kind: alpha, f"{kind}_prob": 1.0})
    images, targets = flat(4), torch.eye(4)
    soft, mixed = mix(targets, images, config, np.random.default_rng(seed))
    assert torch.allclose(soft.sum(1), torch.ones(4))
    assert torch.allclose(soft @ torch.arange(4.0), mixed.mean((1, 2, 3)), atol=1e-4)
    assert torch.equal(images, flat(4))
    assert torch.equal(targets, torch.eye(4))


def test_cutmix_puts_a_rectangle_of_the_partner_in() -> None:
    areas = []
    for seed in range(40):
        _, mixed = mix(torch.eye(4), flat(4), CUTMIX, np.random.default_rng(seed))
        for i in range(4):
            assert set(mixed[i].unique().tolist()) <= {i, 3 - i}
        foreign = mixed[0, 0] == 3
        areas.append(float(foreign.float().mean()))
        if foreign.any():
            rows, cols = foreign.any(1).nonzero()[:, 0], foreign.any(0).nonzero()[:, 0]
            assert foreign[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1].all()
    assert min(areas) < 0.1
    assert max(areas) > 0.5


def test_mixup_comes_before_cutmix_and_either_may_be_left_out() -> None:
    both = AugmentConfig(mixup=1.0, mixup_prob=0.4, cutmix=1.0, cutmix_prob=0.5)
    seen = {"mixup": 0, "cutmix": 0, "none": 0}
    for seed in range(400):
        soft, mixed = mix(torch.eye(2), flat(2), both, np.random.default_rng(seed))
        blended = len(mixed[0].unique()) == 1 and 0 < float(mixed[0, 0, 0, 0]) < 1
        seen["mixup" if blended else "none" if torch.equal(soft, torch.eye(2)) else "cutmix"] += 1
    # 40 %, then half of the rest (a few rectangles are empty).
    assert seen["mixup"] == pytest.approx(160, abs=35)
    assert seen["cutmix"] == pytest.approx(120, abs=35)
    off = mix(torch.eye(2), flat(2), AugmentConfig(), np.random.default_rng(0))
    assert torch.equal(off[0], torch.eye(2))
    assert torch.equal(off[1], flat(2))


def test_a_named_preset_is_handed_over() -> None:
    images = torch.randint(256, (3, 40, 50, 3), dtype=torch.uint8)
    config = AugmentConfig(preset="medium", size=32)
    got = augment(images, config, np.random.default_rng(3))
    assert torch.equal(got, augment_presets.apply(images, config, np.random.default_rng(3)))
    assert got.shape == (3, 3, 32, 32)
