"""Weights of training images, balanced copies, and a store that finds no space."""

from __future__ import annotations

import dataclasses
import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("lightning", reason="training needs the extra `train`")

import torch
from support.train_fixtures import synthetic_data, tiny

from skinclf.errors import InvalidArgumentError, OutputError
from skinclf.images.preprocess import Preprocess
from skinclf_training.config.schema import LossConfig
from skinclf_training.data.prepare import Prepared
from skinclf_training.data.store import decoded_store
from skinclf_training.recipes.class_balance import balanced_copies, copies_note, stacked
from skinclf_training.recipes.losses import build_loss
from skinclf_training.recipes.training_rows import epoch_base, sample_weights, with_weight
from skinclf_training.torch.datamodule import StoreData
from skinclf_training.torch.trainer import train


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return synthetic_data(tmp_path_factory.mktemp("rows"), labels="malignant")


def weighted(prepared: Prepared, weights: dict[int, str], rest: str = "1") -> Prepared:
    """The data with a column `Weight`; weights by place in the training part."""
    cells = ["" for _ in prepared.images]  # other parts need none
    for place, row in enumerate(prepared.rows("train")):
        cells[row] = weights.get(place, rest)
    return dataclasses.replace(prepared, columns={**prepared.columns, "Weight": tuple(cells)})


# --- weights of images ------------------------------------------------------------------------


def test_weights_average_one_over_the_images_that_train(plain: Prepared) -> None:
    data = weighted(plain, {0: "0", 1: "4", 2: "1e1"})
    weights, rows = sample_weights([data], "weight"), data.rows("train")
    assert weights is not None
    assert weights.dtype == np.float32
    own = weights[rows]
    assert own[0] == 0
    assert own[2] / own[1] == pytest.approx(2.5)
    assert own[own > 0].mean() == pytest.approx(1)
    assert len(with_weight(rows, weights)) == len(rows) - 1
    assert rows[0] not in with_weight(rows, weights)
    assert sample_weights([data], None) is None


@pytest.mark.parametrize("cell", ["", "NA", "nan", "inf", "-0.5", "much"])
def test_a_weight_that_is_no_number_from_0_on_is_refused_by_name(plain: Prepared, cell: str) -> None:
    data = weighted(plain, {3: cell})
    name = data.images[data.rows("train")[3]]
    with pytest.raises(InvalidArgumentError, match=f"column Weight: image {name} has the weight {cell!r}"):
        sample_weights([data], "Weight")


def test_weights_that_are_all_zero_or_absent_are_refused(plain: Prepared) -> None:
    with pytest.raises(InvalidArgumentError, match="every training image is 0"):
        sample_weights([weighted(plain, {}, "0")], "Weight")
    with pytest.raises(InvalidArgumentError, match=r"no column 'Weight' for `data\.weight_column`; found"):
        sample_weights([plain], "Weight")


@pytest.mark.parametrize("kind", ["cross_entropy", "focal", "bce"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_weight_of_two_is_the_image_twice(kind: Any, smoothing: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 1 if kind == "bce" else 2, generator=generator)
    soft = torch.nn.functional.one_hot(torch.tensor([0, 1, 1, 0, 1]), 2).float()
    config = LossConfig(kind=kind, label_smoothing=smoothing)
    classes = torch.tensor([0.5, 2.0])
    weights = torch.tensor([2.0, 1.0, 3.0, 0.0, 1.0])
    found = build_loss(config, classes, 2, weighted_targets=True)(logits, soft * weights[:, None])
    copies = torch.tensor([0, 0, 1, 2, 2, 2, 4])
    expected = build_loss(config, classes, 2)(logits[copies], soft[copies]) * 7 / 5
    assert found == pytest.approx(float(expected), rel=1e-6)


def test_equal_weights_train_as_no_weights(plain: Prepared, tmp_path: Path) -> None:
    rows = train(tiny(), plain, tmp_path / "plain")
    same = train(tiny(data={"weight_column": "Weight"}), weighted(plain, {}, "0.25"), tmp_path / "weighted")
    for a, b in zip(rows, same, strict=True):
        assert b["train_loss"] == pytest.approx(a["train_loss"], rel=1e-4)
        assert b["val_loss"] == pytest.approx(a["val_loss"], rel=1e-3)


def test_weights_reach_every_batch_and_follow_their_images(plain: Prepared) -> None:
    data = weighted(plain, {k: str(k) for k in range(len(plain.rows("train")))})
    module = StoreData(tiny(data={"weight_column": "weight", "drop_last": False}), data)
    module.setup("fit")
    weights = sample_weights([data], "Weight")
    assert weights is not None
    loader = module.train_dataloader()
    assert data.rows("train")[0] not in loader.rows
    seen = torch.cat([batch.weights for batch in loader])  # type: ignore[arg-type]
    assert sorted(seen.tolist()) == sorted(weights[loader.rows].tolist())
    assert len(seen) == len(data.rows("train")) - 1


# --- copies -----------------------------------------------------------------------------------


def test_copies_give_every_class_the_same_number() -> None:
    targets = np.repeat([0, 1, 2], [50, 7, 20])
    rows = np.arange(2, 77)
    found = balanced_copies(rows, targets, 3, seed=3)
    assert np.bincount(targets[found]).tolist() == [48, 48, 48]
    assert set(found.tolist()) == set(rows.tolist())
    for label in range(3):
        times = np.bincount(found)[[r for r in rows if targets[r] == label]]
        assert times.max() - times.min() <= 1
    assert np.array_equal(found, balanced_copies(rows, targets, 3, seed=3))
    assert not np.array_equal(found, balanced_copies(rows, targets, 3, seed=4))
    with pytest.raises(InvalidArgumentError, match="at least one of each of 2"):
        balanced_copies(np.arange(3), np.zeros(3, np.int64), 2, seed=0)


def test_copies_are_said_to_change_the_prior_and_not_to_be_corrected_twice() -> None:
    config = tiny(data={"sampler": "copies"}, loss={"class_weights": "none"})
    assert "too high for rare classes; calibrate" in str(copies_note(config))
    assert stacked(config) is None
    assert "'copies' is stacked with 'sqrt'" in str(stacked(tiny(data={"sampler": "copies"})))
    assert copies_note(tiny()) is None


def test_an_epoch_of_copies_is_longer_and_leaves_out_images_without_weight(plain: Prepared) -> None:
    data = weighted(plain, {0: "0"})
    config = tiny(data={"sampler": "copies", "weight_column": "Weight"})
    weights = sample_weights([data], "Weight")
    base = epoch_base(data.rows("train"), data.targets, weights, 2, config)
    assert data.rows("train")[0] not in base
    counts = np.bincount(data.targets[with_weight(data.rows("train"), weights)])
    assert np.bincount(data.targets[base]).tolist() == [counts.max()] * 2
    module = StoreData(config, data)
    module.setup("fit")
    loader = module.train_dataloader()
    assert sorted(loader.order(0).tolist()) == base.tolist()  # type: ignore[misc]
    assert loader.order(0).tolist() != loader.order(1).tolist()  # type: ignore[misc]


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_a_run_with_weights_and_copies(plain: Prepared, tmp_path: Path, framework: str) -> None:
    changes: dict[str, Any] = {
        "data": {"sampler": "copies", "weight_column": "Weight"},
        "loss": {"class_weights": "none"},
        "optim": {"epochs": 1},
    }
    data = weighted(plain, {0: "0", 1: "3"})
    if framework == "torch":
        rows = train(tiny(**changes), data, tmp_path / "run")
    else:
        pytest.importorskip("tensorflow")
        from support.keras_training import tiny as keras_tiny

        from skinclf_training.keras.trainer import train as keras_train

        rows = keras_train(keras_tiny(**changes), data, tmp_path / "run")
    assert np.isfinite(rows[0]["train_loss"])
    text = (tmp_path / "run" / "train.log").read_text()
    assert "1 images of weight 0 are left out" in text
    assert "Balanced copies" in text
    assert "weight_column: Weight" in (tmp_path / "run" / "config.yaml").read_text()


def test_the_losses_of_both_frameworks_agree_on_weights() -> None:
    pytest.importorskip("tensorflow")
    from skinclf_training.keras.framework import tf
    from skinclf_training.keras.loss import build_loss as build_keras_loss

    generator = np.random.default_rng(0)
    logits = generator.normal(size=(6, 3)).astype(np.float32)
    soft = (generator.dirichlet(np.ones(3), 6) * generator.uniform(0, 3, (6, 1))).astype(np.float32)
    factors = np.array([0.5, 1, 2], np.float32)
    for kind in ("cross_entropy", "focal"):
        config = LossConfig(kind=kind, label_smoothing=0.1)  # type: ignore[arg-type]
        ours = build_loss(config, torch.from_numpy(factors), 3, weighted_targets=True)
        theirs = build_keras_loss(config, factors, 3, weighted_targets=True)
        found = float(theirs(tf.constant(logits), tf.constant(soft)))
        assert found == pytest.approx(float(ours(torch.from_numpy(logits), torch.from_numpy(soft))), rel=1e-5)


# --- no space ---------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="reserves space in another way")
def test_a_full_disk_leaves_no_store(
    plain: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    cache = tmp_path / "cache"
    preprocess = Preprocess(height=16, width=16)
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(OutputError, match=r"pixels-.*\.npy: cannot be written: No space left on device"):
            decoded_store(plain.paths, preprocess, cache)
        assert not list(cache.iterdir())
        data = dataclasses.replace(plain, manifest={**plain.manifest, "cache": "other"})
        with pytest.raises(OutputError, match=r"No space left on device.*the folder is free for another try"):
            train(tiny(), data, tmp_path / "run")
    assert len(decoded_store(plain.paths, preprocess, cache)) == len(plain.paths)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="reserves space in another way")
def test_a_store_has_its_space_before_it_is_filled(plain: Prepared, tmp_path: Path) -> None:
    sizes: list[tuple[int, int]] = []

    def look(*_: int) -> None:
        (part,) = (tmp_path / "cache").glob("*.part.npy")
        info = part.stat()
        sizes.append((info.st_size, info.st_blocks * 512))

    decoded_store(plain.paths, Preprocess(height=64, width=64), tmp_path / "cache", progress=look)
    assert all(blocks >= size for size, blocks in sizes)
    assert sizes
