"""Class weights and samplers against published numbers."""

from __future__ import annotations

import numpy as np
import pytest

from skinclf.errors import InvalidArgumentError
from skinclf_training.config.schema import Config, DataConfig, LossConfig
from skinclf_training.recipes.class_balance import class_weights, epoch_rows, stacked

# ISIC 2019: MEL NV BCC AK BKL DF VASC SCC; the 70 % of it that SkinConditionAssistant trained on, and the
# weights that its notebook prints.
ISIC = np.array([4522, 12875, 3323, 867, 2624, 239, 253, 628])
TRAINED = np.rint(0.7 * ISIC).astype(int)
PRINTED = np.array([0.8368, 0.4959, 0.9762, 1.9109, 1.0984, 3.6430, 3.5386, 2.2444])


def labels(counts: np.ndarray) -> np.ndarray:
    return np.repeat(np.arange(len(counts)), counts)


@pytest.mark.parametrize(("kind", "ratio"), [("none", 1.0), ("sqrt", 3.0), ("balanced", 9.0)])
def test_ratio_and_scale(kind: str, ratio: float) -> None:
    targets = np.repeat([0, 1], [90, 10])
    weights = class_weights(targets, 2, kind)
    assert weights.dtype == np.float32
    assert weights[1] / weights[0] == pytest.approx(ratio, rel=1e-6)
    assert weights[targets].mean() == pytest.approx(1.0)


def test_balanced_is_scikit_learns() -> None:
    sklearn = pytest.importorskip("sklearn.utils.class_weight")
    targets = labels(ISIC)
    want = sklearn.compute_class_weight("balanced", classes=np.arange(8), y=targets)
    assert class_weights(targets, 8, "balanced") == pytest.approx(want, rel=1e-6)


def test_sqrt_has_the_printed_ratios() -> None:
    targets = labels(TRAINED)
    assert len(targets) == 17731
    assert np.sqrt(class_weights(targets, 8, "balanced")) == pytest.approx(PRINTED, abs=6e-5)
    weights = class_weights(targets, 8, "sqrt")
    assert weights / weights[0] == pytest.approx(PRINTED / PRINTED[0], rel=2e-4)
    assert weights[targets].mean() == pytest.approx(1.0)


def test_pos_weight_is_negatives_over_positives() -> None:
    # HAM10000, lesion split 70/15/15: 5641 benign and 1369 malignant training images.
    weights = class_weights(labels(np.array([5641, 1369])), 2, "pos_weight")
    assert weights == pytest.approx([1.0, 4.121], abs=5e-4)
    with pytest.raises(InvalidArgumentError, match="two classes"):
        class_weights(labels(ISIC), 8, "pos_weight")


@pytest.mark.parametrize("kind", ["sqrt", "balanced", "pos_weight"])
def test_a_class_without_images_is_an_error(kind: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"Classes without an image: \[1\]"):
        class_weights(np.zeros(5, np.int64), 2, kind)


def test_no_weights_need_no_images_of_a_class() -> None:
    assert class_weights(np.zeros(5, np.int64), 3, "none").tolist() == [1, 1, 1]


def test_labels_beyond_the_classes_and_unknown_kinds_are_errors() -> None:
    with pytest.raises(InvalidArgumentError, match="of each of 2 classes"):
        class_weights(np.array([0, 1, 2]), 2, "balanced")
    with pytest.raises(InvalidArgumentError, match="Unknown class weights 'cube'"):
        class_weights(np.array([0, 1]), 2, "cube")


# --- sampler ----------------------------------------------------------------------------------


def test_shuffle_has_every_row_once() -> None:
    rows = np.arange(100, 150)
    order = epoch_rows(rows, np.zeros(200, np.int64), 2, sampler="shuffle", rng=np.random.default_rng(0))
    assert order.tolist() != rows.tolist()
    assert sorted(order) == rows.tolist()


def test_weighted_draws_every_class_alike() -> None:
    # A class of 3 % is drawn as often as one of 90 %; rows outside the training part are never drawn.
    targets = np.concatenate([labels(np.array([900, 70, 30])), np.full(500, 2)])
    rows = np.arange(1000)
    rng = np.random.default_rng(0)
    drawn = np.concatenate([epoch_rows(rows, targets, 3, sampler="weighted", rng=rng) for _ in range(20)])
    assert len(drawn) == 20_000
    assert drawn.max() < 1000
    shares = np.bincount(targets[drawn]) / len(drawn)
    assert shares == pytest.approx([1 / 3] * 3, abs=0.012)  # 3.6 standard deviations
    within = np.bincount(drawn, minlength=1000)[970:]
    assert within.min() > 0.7 * within.mean()


def test_order_depends_on_the_generator_alone() -> None:
    rows, targets = np.arange(60), labels(np.array([50, 10]))
    for sampler in ("shuffle", "weighted"):
        one, same, other = (
            epoch_rows(rows, targets, 2, sampler=sampler, rng=np.random.default_rng(s)).tolist()
            for s in (1, 1, 2)
        )
        assert one == same != other


def test_weighted_sampler_needs_every_class() -> None:
    with pytest.raises(InvalidArgumentError, match="Classes without an image"):
        epoch_rows(np.arange(3), np.array([0, 0, 0, 1]), 2, sampler="weighted", rng=np.random.default_rng(0))


# --- stacking ---------------------------------------------------------------------------------


def test_stacked_corrections_are_warned_about() -> None:
    def warning(sampler: str, weights: str, kind: str = "cross_entropy") -> str | None:
        return stacked(
            Config(data=DataConfig(sampler=sampler), loss=LossConfig(class_weights=weights, kind=kind))
        )

    assert stacked(Config()) is None
    assert warning("weighted", "none") is None
    assert warning("weighted", "none", "focal") is None
    assert warning("shuffle", "balanced", "focal") is None
    double = warning("weighted", "balanced")
    assert double is not None
    assert "'balanced' class weights: rare" in double
    triple = warning("weighted", "sqrt", "focal")
    assert triple is not None
    assert "'sqrt' class weights and a focal loss" in triple
