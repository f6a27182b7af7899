"""Parts of training against their formulas: augmentation, loss weights, schedule, starting weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("lightning", reason="training needs the extra `train`")

import torch
from safetensors.torch import save_file

from skinclf.errors import InvalidArgumentError, ModelError
from skinclf.images.synthetic import synthetic_lesion
from skinclf.labels import HAM10000
from skinclf_training.augment.batch import augment, mix
from skinclf_training.config.read import AugmentConfig, Config, ModelConfig, OptimConfig
from skinclf_training.recipes.class_balance import class_weights
from skinclf_training.recipes.validation_metrics import validation_metrics
from skinclf_training.torch.loader import Batch, StoreLoader
from skinclf_training.torch.networks.build import build_network, head_names

OFF = {
    "rotate": 0,
    "scale": (1.0, 1.0),
    "aspect": 0,
    "shear": 0,
    "shift": 0,
    "flip": False,
    "brightness": 0,
    "contrast": 0,
    "saturation": 0,
    "hue": 0,
    "cutout": 0,
}


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    return torch.from_numpy(np.stack([synthetic_lesion(s, width=80, height=60) for s in range(4)]))


def crop(pictures: torch.Tensor, seed: int = 0, **changes: object) -> torch.Tensor:
    config = AugmentConfig(**{"size": 40, **OFF, **changes})
    return augment(pictures, config, np.random.default_rng(seed))


def centre(pictures: torch.Tensor) -> torch.Tensor:
    return pictures[:, 10:50, 20:60].permute(0, 3, 1, 2).float()


def test_nothing_drawn_is_the_centre_crop(pictures: torch.Tensor) -> None:
    assert torch.allclose(crop(pictures), centre(pictures), atol=0.02)


def test_flips_and_turns_keep_the_pixels(pictures: torch.Tensor) -> None:
    seen = set()
    for seed in range(12):
        for got, want in zip(crop(pictures, seed, flip=True), centre(pictures), strict=True):
            same = [torch.allclose(got, w, atol=0.02) for w in (want, want.flip(2))]
            assert any(same)
            seen.add(same[0])
    assert seen == {True, False}


def test_scale_enlarges(pictures: torch.Tensor) -> None:
    twice = crop(pictures, scale=(2.0, 2.0), interpolation="bilinear")
    want = torch.nn.functional.interpolate(
        centre(pictures)[:, :, 10:30, 10:30], scale_factor=2, mode="bilinear"
    )
    assert (twice - want)[:, :, 2:-2, 2:-2].abs().max() < 0.1


@pytest.mark.parametrize(
    "change", [{"brightness": 0.3}, {"contrast": 0.3}, {"saturation": 0.5}, {"hue": 0.1}]
)
def test_colour_changes_stay_in_range_and_keep_what_they_should(pictures: torch.Tensor, change: dict) -> None:
    muted = pictures.float().mul(0.3).add(80).to(torch.uint8)
    before, after = centre(muted), crop(muted, **change)
    assert 0 <= after.min() <= after.max() <= 255
    assert (before - after).abs().max() > 1
    luma = torch.tensor([0.299, 0.587, 0.114])[None, :, None, None]
    if "contrast" in change:
        assert torch.allclose(after.mean((1, 2, 3)), before.mean((1, 2, 3)), atol=0.1)
    if "brightness" in change:
        ratio = (after / before).flatten(1)
        assert (ratio.max(1).values - ratio.min(1).values).max() < 0.01
    if "saturation" in change or "hue" in change:
        assert torch.allclose((after * luma).sum(1), (before * luma).sum(1), atol=0.3)


def test_augmented_pictures_look_like_pictures(pictures: torch.Tensor) -> None:
    # A seed system once augmented floats as bytes and trained on black images.
    out = augment(pictures.repeat(8, 1, 1, 1), AugmentConfig(size=40), np.random.default_rng(0))
    assert out.shape == (32, 3, 40, 40)
    assert out.dtype == torch.float32
    assert abs(float(out.mean()) - float(pictures.float().mean())) < 20
    assert out.std() > 10


def test_cutout_greys_one_rectangle(pictures: torch.Tensor) -> None:
    out = crop(pictures, cutout=1.0, cutout_size=(0.5, 0.5))
    grey = (out == 127.5).all(1)
    for mask in grey:
        rows, cols = mask.any(1).nonzero(), mask.any(0).nonzero()
        box = mask[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
        assert box.float().mean() > 0.99
        assert 1 <= len(rows) <= 20
        assert 1 <= len(cols) <= 20


def test_same_generator_same_batch(pictures: torch.Tensor) -> None:
    config = AugmentConfig(size=40)
    one, two, other = (augment(pictures, config, np.random.default_rng(s)) for s in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_mixup_blends_targets_as_images() -> None:
    images = torch.tensor([0.0, 1.0])[:, None, None, None].expand(2, 3, 4, 4)
    targets = torch.eye(2)
    config = AugmentConfig(mixup=1.0, mixup_prob=1.0)
    soft, mixed = mix(targets, images, config, np.random.default_rng(0))
    assert torch.allclose(soft.sum(1), torch.ones(2))
    assert torch.allclose(soft[:, 1], mixed.mean((1, 2, 3)))
    assert 0 < soft[0, 0] < 1
    same, _ = mix(targets, images, AugmentConfig(mixup=1.0, mixup_prob=0.0), np.random.default_rng(0))
    assert torch.equal(same, targets)


@pytest.mark.parametrize(("kind", "ratio"), [("none", 1.0), ("sqrt", 3.0), ("balanced", 9.0)])
def test_class_weights(kind: str, ratio: float) -> None:
    targets = np.repeat([0, 1], [90, 10])
    weights = class_weights(targets, 2, kind)
    assert weights[1] / weights[0] == pytest.approx(ratio, rel=1e-6)
    assert weights[targets].mean() == pytest.approx(1.0)


def test_loader_shuffles_by_epoch_and_resumes_within_one() -> None:
    store = np.arange(10, dtype=np.uint8)[:, None, None, None].repeat(3, axis=3)

    def shuffled(**options: object) -> StoreLoader:
        return StoreLoader(
            store,
            np.arange(10),
            np.arange(10),
            batch_size=3,
            seed=5,
            drop_last=True,
            order=lambda epoch: np.random.default_rng([5, epoch]).permutation(10),
            **options,
        )

    loader = shuffled()
    assert len(loader) == 3
    first = [b.targets.tolist() for b in loader]
    loader.set_epoch(1)
    second = [b.targets.tolist() for b in loader]
    assert first != second
    fresh = shuffled()
    fresh.load_state_dict({"epoch": 1, "next": 2})
    fresh.set_epoch(1)
    assert [(b.targets.tolist(), b.index) for b in fresh] == [(second[2], 2)]
    ordered = StoreLoader(store, np.arange(4, 10), np.arange(10), batch_size=4)
    assert [b.targets.tolist() for b in ordered] == [[4, 5, 6, 7], [8, 9]]
    assert [int(b.images[0, 0, 0, 0]) for b in ordered] == [4, 8]


def test_prepared_batches_are_those_of_their_place() -> None:
    store = np.zeros((20, 1, 1, 3), np.uint8)

    def noisy(batch: Batch) -> Batch:
        return dataclasses.replace(batch, images=torch.from_numpy(batch.rng.normal(size=3)))

    def loader(**options: object) -> StoreLoader:
        return StoreLoader(
            store,
            np.arange(20),
            np.arange(20),
            batch_size=3,
            seed=1,
            order=lambda _: np.arange(20),
            **options,
        )

    ahead = loader(prepare=noisy)
    made = []
    for batch in ahead:
        made.append(batch)
        assert ahead.state_dict()["next"] == len(made)
    plain = [noisy(batch) for batch in loader()]
    assert len(made) == 7
    for a, b in zip(made, plain, strict=True):
        assert torch.equal(a.images, b.images)
        assert (a.seed, a.index, a.targets.tolist()) == (b.seed, b.index, b.targets.tolist())
    assert len({batch.seed for batch in made}) == 7
    stopped = iter(loader(prepare=noisy))
    next(stopped)
    stopped.close()


def test_processes_share_every_batch() -> None:
    store = np.zeros((10, 1, 1, 3), np.uint8)
    one, two = (
        list(StoreLoader(store, np.arange(10), np.arange(10), batch_size=4, rank=r, ranks=2)) for r in (0, 1)
    )
    assert [b.targets.tolist() for b in one] == [[0, 1], [4, 5], [8]]
    assert [b.targets.tolist() for b in two] == [[2, 3], [6, 7], [9]]
    assert one[0].seed != two[0].seed


def test_validation_metrics_against_known_values() -> None:
    targets = np.array([4, 5, 5, 5, 2])
    values = np.full((5, 7), 0.02)
    values[np.arange(5), [4, 5, 5, 2, 2]] = 0.88
    figures = validation_metrics(values, targets, HAM10000)
    assert figures["accuracy"] == pytest.approx(0.8)
    assert figures["balanced_accuracy"] == pytest.approx((1 + 2 / 3 + 1) / 3)
    assert figures["malignant_auc"] == pytest.approx(1.0)


# --- starting weights -------------------------------------------------------------------------


@pytest.fixture
def start(tmp_path: Path) -> Path:
    other, _ = build_network(ModelConfig(architecture="test_efficientnet"), 11)
    save_file(other.state_dict(), tmp_path / "start.safetensors")
    return tmp_path / "start.safetensors"


def test_init_takes_the_body_and_says_so(start: Path) -> None:
    network, report = build_network(ModelConfig(architecture="test_efficientnet", init=str(start)), 7)
    assert report is not None
    head = head_names(network)
    assert (
        {x.split(":")[0] for x in report.skipped}
        == set(report.fresh)
        == head
        == {"classifier.weight", "classifier.bias"}
    )
    assert len(report.loaded) == len(network.state_dict()) - 2
    from safetensors.torch import load_file

    tensors = load_file(start)
    assert all(torch.equal(v, tensors[k]) for k, v in network.state_dict().items() if k not in head)
    assert network.classifier.weight.abs().max() < 0.1


def test_init_of_another_body_is_refused(start: Path) -> None:
    with pytest.raises(ModelError, match="do not fit the network"):
        build_network(ModelConfig(architecture="test_resnet", init=str(start)), 7)
    with pytest.raises(InvalidArgumentError, match="cannot be read"):
        build_network(ModelConfig(architecture="test_efficientnet", init="nowhere.safetensors"), 7)
    with pytest.raises(InvalidArgumentError, match="exclude each other"):
        build_network(ModelConfig(init=str(start), pretrained=True), 7)
    with pytest.raises(ModelError, match="timm cannot build"):
        build_network(ModelConfig(architecture="no_such_net"), 7)


def test_refreshed_batchnorm_has_the_statistics_of_the_pictures(tmp_path: Path) -> None:
    from PIL import Image

    from skinclf.images.preprocess import scaling
    from skinclf_training.torch.networks.batchnorm import refresh_batchnorm

    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for i, path in enumerate(paths):
        Image.fromarray(synthetic_lesion(i, width=48, height=36)).save(path)
    preprocess = scaling("tf", height=32, width=32)
    network = torch.nn.Sequential(torch.nn.BatchNorm2d(3), torch.nn.Flatten())
    refresh_batchnorm(network, preprocess, paths)
    pixels = np.stack([preprocess.pixels(np.asarray(Image.open(p))) for p in paths])
    wanted = preprocess.normalize(pixels).mean(axis=(0, 2, 3))
    assert network[0].running_mean.numpy() == pytest.approx(wanted, abs=1e-5)
    assert not network.training


def test_exported_weights_can_keep_a_share_of_the_starting_ones(tmp_path: Path) -> None:
    from skinclf_training.torch.export import with_init

    start = {"a.weight": torch.zeros(2, 3, dtype=torch.float16), "a.batches": torch.tensor(7)}
    trained = {"a.weight": torch.ones(2, 3), "a.batches": torch.tensor(9)}
    save_file(start, tmp_path / "start.safetensors")
    config = Config(
        name="x",
        model=ModelConfig(init=str(tmp_path / "start.safetensors"), pretrained=False),
        optim=OptimConfig(init_share=0.25),
    )
    mixed = with_init(trained, config)
    assert mixed["a.weight"].tolist() == [[0.75] * 3] * 2
    assert mixed["a.weight"].dtype == torch.float32
    assert mixed["a.batches"] == 9
    with pytest.raises(InvalidArgumentError, match="very same network"):
        with_init(trained | {"head.weight": torch.ones(1)}, config)


@pytest.mark.parametrize(("share", "init"), [(1.0, __file__), (-0.1, __file__), (0.5, None)])
def test_a_share_of_starting_weights_needs_both(share: float, init: str | None) -> None:
    from skinclf_training.recipes.starting_weights import check_starting_weights

    config = Config(
        name="x", model=ModelConfig(init=init, pretrained=False), optim=OptimConfig(init_share=share)
    )
    with pytest.raises(InvalidArgumentError, match=r"optim\.init_share"):
        check_starting_weights(config)
