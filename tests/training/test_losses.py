"""Losses against their published formulas and numbers, and their behaviour at the extremes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st

from skinclf.errors import InvalidArgumentError
from skinclf_training.config.schema import LossConfig
from skinclf_training.recipes.losses import build_loss, smooth

# HAM10000, alphabetical, and n / (k n_c) of it.
COUNTS = torch.tensor([327, 514, 1099, 115, 1113, 6705, 142])
BALANCED = (COUNTS.sum() / (7 * COUNTS)).float()


def config(kind: str = "cross_entropy", **changes: Any) -> LossConfig:
    return LossConfig(**{"kind": kind, "label_smoothing": 0.0, **changes})


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(40, 7, generator=generator) * 3
    return logits, torch.randint(7, (40,), generator=generator)


def one_hot(targets: torch.Tensor, classes: int = 7) -> torch.Tensor:
    return F.one_hot(targets, classes).float()


# --- cross-entropy and label smoothing --------------------------------------------------------


def test_cross_entropy_is_the_weighted_mean_over_images(batch: Any) -> None:
    logits, targets = batch
    got = build_loss(config(), BALANCED, 7)(logits, one_hot(targets))
    p = logits.softmax(1)[torch.arange(40), targets]
    assert got == pytest.approx(float((-p.log() * BALANCED[targets]).mean()), rel=1e-5)


def test_label_smoothing_spreads_over_all_classes(batch: Any) -> None:
    logits, targets = batch
    got = build_loss(config(label_smoothing=0.1), None, 7)(logits, one_hot(targets))
    assert got == pytest.approx(float(F.cross_entropy(logits, targets, label_smoothing=0.1)), rel=1e-6)
    assert smooth(torch.eye(7), 0.07)[0].tolist() == pytest.approx([0.94] + [0.01] * 6)


def test_dermalyzes_label_smoothing_is_ours_with_another_share(batch: Any) -> None:
    # Its target is 1 - s, every other class s / (k - 1), and the class weight multiplies every term.
    logits, targets = batch
    s, k = 0.1, 7
    published = torch.full((40, k), s / (k - 1)).scatter_(1, targets[:, None], 1 - s)
    want = -(published * BALANCED * logits.log_softmax(1)).sum(1).mean()
    got = build_loss(config(label_smoothing=s * k / (k - 1)), BALANCED, k)(logits, one_hot(targets))
    assert got == pytest.approx(float(want), rel=1e-5)
    assert s * k / (k - 1) == pytest.approx(0.1167, abs=1e-4)


# --- focal ------------------------------------------------------------------------------------


def test_skinsights_categorical_focal(batch: Any) -> None:
    # sum_c alpha (1 - p_c)^gamma (-y_c log p_c) on clipped probabilities; alpha only scales.
    logits, targets = batch
    p = logits.double().softmax(1).clamp(1e-7, 1 - 1e-7)
    y = one_hot(targets).double()
    want = (0.25 * (1 - p) ** 2 * -(y * p.log())).sum(1).mean()
    got = build_loss(config("focal", gamma=2.0, alpha=0.25), None, 7)(logits, y)
    assert got == pytest.approx(float(want), rel=1e-5)
    whole = build_loss(config("focal", gamma=2.0, alpha=1.0), None, 7)(logits, y)
    assert whole == pytest.approx(4 * float(got), rel=1e-6)


def test_skinsights_focal_where_it_clipped_still_learns() -> None:
    # Clipping at 1e-7 ends both growth and gradient at p = 1e-7; on logits neither ends.
    logits = torch.tensor([[-30.0, 30.0]], requires_grad=True)
    loss = build_loss(config("focal", alpha=1.0), None, 2)(logits, torch.tensor([[1.0, 0.0]]))
    loss.backward()
    assert loss.item() == pytest.approx(60)
    assert logits.grad is not None
    assert logits.grad.tolist()[0] == pytest.approx([-1, 1], abs=1e-5)


def test_dermalyzes_focal(batch: Any) -> None:
    # ce unweighted, pt = exp(-ce), mean of alpha_t (1 - pt)^gamma ce; alpha scaled to a sum of k.
    logits, targets = batch
    alpha = BALANCED * 7 / BALANCED.sum()
    ce = F.cross_entropy(logits, targets, reduction="none")
    want = (alpha[targets] * (1 - torch.exp(-ce)) ** 2 * ce).mean()
    got = build_loss(config("focal"), alpha, 7)(logits, one_hot(targets))
    assert got == pytest.approx(float(want), rel=1e-5)


def test_skinconditionassistants_focal(batch: Any) -> None:
    # ce weighted, pt = exp(-weight * ce) = p^weight.
    logits, targets = batch
    weights = BALANCED.sqrt()
    ce = F.cross_entropy(logits, targets, weight=weights, reduction="none")
    want = ((1 - torch.exp(-ce)) ** 2 * ce).mean()
    got = build_loss(config("focal", focal_pt="weighted"), weights, 7)(logits, one_hot(targets))
    assert got == pytest.approx(float(want), rel=1e-5)


def test_what_a_weighted_pt_does() -> None:
    # Weight 3, p = 0.787: pt 0.487 instead of 0.787, loss 0.189 instead of 0.033.
    p, w = 0.787, 3.0
    assert p**w == pytest.approx(0.487, abs=5e-4)
    logits = torch.tensor([[math.log(p), math.log(1 - p)]])
    for focal_pt, want in (("weighted", 0.189), ("unweighted", 0.033)):
        loss = build_loss(config("focal", focal_pt=focal_pt), torch.tensor([w, 1.0]), 2)
        assert float(loss(logits, torch.tensor([[1.0, 0.0]]))) == pytest.approx(want, abs=5e-4)


@pytest.mark.parametrize("focal_pt", ["weighted", "unweighted"])
def test_focal_without_focus_is_cross_entropy(batch: Any, focal_pt: str) -> None:
    logits, targets = batch
    soft = one_hot(targets) * 0.7 + 0.3 / 7
    flat = build_loss(config("focal", gamma=0.0, focal_pt=focal_pt, label_smoothing=0.1), BALANCED, 7)
    plain = build_loss(config(label_smoothing=0.1), BALANCED, 7)
    assert flat(logits, soft) == pytest.approx(float(plain(logits, soft)), rel=1e-5)


# --- binary -----------------------------------------------------------------------------------


def test_bce_with_pos_weight_is_torchs(batch: Any) -> None:
    pos_weight = 5641 / 1369  # benign over malignant images of HAM10000's published 70/15/15 training part
    assert pos_weight == pytest.approx(4.121, abs=5e-4)
    logits = batch[0][:, :1]
    targets = batch[1] % 2
    got = build_loss(config("bce"), torch.tensor([1.0, pos_weight]), 2)(logits, one_hot(targets, 2))
    want = F.binary_cross_entropy_with_logits(
        logits[:, 0], targets.float(), pos_weight=torch.tensor(pos_weight)
    )
    assert got == pytest.approx(float(want), rel=1e-5)


def test_bce_is_the_softmax_of_two_logits(batch: Any) -> None:
    logits, soft = batch[0][:, :1], batch[0][:, 1:3].softmax(1)
    weights = torch.tensor([0.6, 3.0])
    one = build_loss(config("bce", label_smoothing=0.1), weights, 2)(logits, soft)
    two = build_loss(config(label_smoothing=0.1), weights, 2)(F.pad(logits, (1, 0)), soft)
    assert one == pytest.approx(float(two), rel=1e-5)


# --- all of them ------------------------------------------------------------------------------

ALL = [
    config("cross_entropy"),
    config("cross_entropy", label_smoothing=0.1),
    config("focal"),
    config("focal", gamma=0.5, focal_pt="weighted"),
    config("focal", gamma=5.0, label_smoothing=0.2),
    config("bce"),
    config("bce", label_smoothing=0.1),
]


@pytest.mark.parametrize("which", ALL)
@settings(max_examples=25, deadline=None)
@example(values=[1000.0, -1000.0, 1000.0, 0.0, -1000.0, 1000.0], share=0.5, dtype=torch.float32)
@given(
    values=st.lists(st.floats(-65000, 65000, width=32), min_size=6, max_size=6),
    share=st.floats(0, 1),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_loss_and_gradient_are_finite_at_any_logit(
    which: LossConfig, values: list[float], share: float, dtype: torch.dtype
) -> None:
    logits = torch.tensor(values, dtype=dtype)[: 3 if which.kind == "bce" else 6].reshape(3, -1)
    logits.requires_grad_()
    soft = torch.tensor([[1 - share, share], [1.0, 0.0], [0.0, 1.0]])
    loss = build_loss(which, torch.tensor([0.2, 9.0]), 2)(logits, soft)
    loss.backward()
    assert loss.shape == ()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert loss >= 0
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("which", ALL)
def test_a_soft_target_is_the_expected_loss(which: LossConfig) -> None:
    logits = torch.tensor([[1.3]] if which.kind == "bce" else [[0.3, -0.9]])
    loss = build_loss(which, torch.tensor([0.5, 2.0]), 2)
    pure = [float(loss(logits, one_hot(torch.tensor([c]), 2))) for c in (0, 1)]
    mixed = loss(logits, torch.tensor([[0.25, 0.75]]))
    assert float(mixed) == pytest.approx(0.25 * pure[0] + 0.75 * pure[1], rel=1e-5)


def test_gradients_match_finite_differences() -> None:
    generator = np.random.default_rng(0)
    for which in ALL:
        loss = build_loss(which, torch.tensor([0.5, 2.0]), 2)
        value = generator.normal(size=(1, 1 if which.kind == "bce" else 2))
        logits = torch.tensor(value, dtype=torch.float32, requires_grad=True)
        soft = torch.tensor([[0.3, 0.7]])
        loss(logits, soft).backward()
        for i in range(value.shape[1]):
            step = np.zeros_like(value)
            step[0, i] = 1e-2
            high, low = (
                float(loss(torch.tensor(value + s, dtype=torch.float32), soft)) for s in (step, -step)
            )
            assert logits.grad is not None
            assert float(logits.grad[0, i]) == pytest.approx((high - low) / 2e-2, abs=2e-3)


def test_weights_move_with_the_network_and_stay_out_of_checkpoints() -> None:
    loss = build_loss(config("focal"), torch.ones(3), 3).to("meta")
    assert loss.weights.device.type == "meta"
    assert loss.state_dict() == {}


@pytest.mark.parametrize(
    ("which", "weights", "classes", "words"),
    [
        (config("bce"), None, 7, "two classes"),
        (config(), torch.ones(3), 7, "expected 7 finite numbers"),
        (config(), torch.tensor([1.0, 0.0]), 2, "above 0"),
        (config(), torch.tensor([1.0, math.nan]), 2, "finite"),
        (config(label_smoothing=1.0), None, 7, "label_smoothing < 1"),
        (config("focal", gamma=-1.0), None, 7, "gamma >= 0"),
        (config("focal", alpha=0.0), None, 7, "alpha > 0"),
    ],
)
def test_what_cannot_be_built_is_refused(which: LossConfig, weights: Any, classes: int, words: str) -> None:
    with pytest.raises(InvalidArgumentError, match=words):
        build_loss(which, weights, classes)


def test_logits_of_another_shape_are_refused() -> None:
    # (N, 1) logits would broadcast against (N, 2) targets without a word.
    with pytest.raises(InvalidArgumentError, match=r"expected \(N, 2\)"):
        build_loss(config("focal"), None, 2)(torch.zeros(4, 1), torch.eye(2).repeat(2, 1))
    with pytest.raises(InvalidArgumentError, match=r"expected \(N, 1\)"):
        build_loss(config("bce"), None, 2)(torch.zeros(4, 2), torch.eye(2).repeat(2, 1))
