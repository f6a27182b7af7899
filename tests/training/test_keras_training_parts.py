"""Training in TensorFlow, part by part: models, phases, losses, rates, batches, starting weights."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("tensorflow", reason="needs the extra `tensorflow`")
pytest.importorskip("lightning", reason="training needs the extra `train`")
pytestmark = pytest.mark.tensorflow

from support.keras_training import tiny

from skinclf.errors import DeviceError, InvalidArgumentError, ModelError
from skinclf_training.config.optimisation import OptimConfig, Phase
from skinclf_training.config.read import load_config
from skinclf_training.config.schema import Config, LossConfig
from skinclf_training.keras.callbacks import Progress
from skinclf_training.keras.data import Batches, scaled
from skinclf_training.keras.framework import check_supported, device, keras, policy, tf
from skinclf_training.keras.init import start_from
from skinclf_training.keras.learner import Learner
from skinclf_training.keras.loss import build_loss
from skinclf_training.keras.model import Built, build_model, check_scaling, set_trainable
from skinclf_training.keras.optim import make_optimizer
from skinclf_training.recipes.losses import build_loss as build_torch_loss
from skinclf_training.recipes.schedule import learning_rates, phase_at

SMALL = ("model.pretrained=false", "preprocess.height=75", "preprocess.width=75")


def published(name: str) -> Config:
    return load_config(name, SMALL)


def count(variables: list) -> int:
    return sum(int(np.prod(v.shape)) for v in variables)


# --- models ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "classes", "parameters"),
    [
        ("devatreya-simple-cnn", 2, 160_193),
        ("devatreya-vgg16", 2, 15_113_025),
        ("devatreya-inceptionv3", 2, 22_993_697),
        ("devatreya-efficientnetb0", 2, 4_844_196),
    ],
)
def test_models_have_the_published_number_of_parameters(name: str, classes: int, parameters: int) -> None:
    assert build_model(published(name), classes).model.count_params() == parameters


def test_phases_of_devatreya() -> None:
    config = published("devatreya-resnet50")
    built = build_model(config, 2)
    assert built.model.count_params() == 24_778_625
    one, two = config.optim.phases
    assert count(set_trainable(built, one.trainable, config.optim.batchnorm)) == 1_185_793
    assert not any(layer.trainable for layer in built.backbone.layers)
    assert count(set_trainable(built, two.trainable, config.optim.batchnorm)) == 15_635_969
    learning = [layer.name for layer in built.backbone.layers if layer.trainable]
    assert (len(learning), learning[0], learning[-1]) == (30, "conv5_block1_1_relu", "conv5_block3_out")


def test_the_phase_of_skinsight_freezes_batch_normalisation() -> None:
    config = published("skinsight-efficientnetb0")
    built = build_model(config, 7)
    assert built.model.count_params() == 4_220_074
    (phase,) = config.optim.phases
    set_trainable(built, phase.trainable, config.optim.batchnorm)
    weighted = [layer.name for layer in built.backbone.layers if layer.trainable and layer.weights]
    assert (len(weighted), weighted[0], weighted[-1]) == (10, "block6d_dwconv", "top_conv")


def test_the_phase_of_skinconditionassistant() -> None:
    config = published("skinconditionassistant-tensorflow")
    built = build_model(config, 8)
    assert built.model.count_params() == 4_384_683
    (phase,) = config.optim.phases
    assert count(set_trainable(built, phase.trainable, config.optim.batchnorm)) == 3_620_256


@pytest.mark.parametrize("trainable", ["last=0", "last=99", "last=", "stages=2", "body"])
def test_phases_that_are_none(trainable: str) -> None:
    with pytest.raises(InvalidArgumentError, match="expected all, head, or last=N"):
        set_trainable(build_model(tiny(), 2), trainable, "train")


@pytest.mark.parametrize(
    ("trainable", "batchnorm", "statistics", "affine"),
    [
        ("all", "train", True, True),
        ("all", "frozen", False, False),
        ("all", "frozen_affine", True, False),
        ("head", "train", False, False),
    ],
)
def test_batch_normalisation_does_what_the_policy_says(
    trainable: str, batchnorm: str, statistics: bool, affine: bool
) -> None:
    keras.utils.set_random_seed(0)
    config = tiny(optim={"batchnorm": batchnorm})
    built = build_model(config, 2)
    norm = built.backbone.layers[2]
    before = [w.copy() for w in norm.get_weights()]
    learner = Learner(config, built, build_loss(config.loss, np.ones(2, np.float32), 2))
    learner.enter(Phase(trainable=trainable))
    rng = np.random.default_rng(0)
    pixels = tf.constant(rng.uniform(0, 255, (6, 24, 24, 3)), tf.float32)
    soft = tf.one_hot([0, 1, 0, 1, 0, 1], 2)
    for number in (1, 2):
        learner.step(pixels, soft, {"body": 1e-2, "head": 1e-2}, number)
    gamma, beta, mean, variance = (
        np.abs(new - old).max() > 0 for new, old in zip(norm.get_weights(), before, strict=True)
    )
    assert (mean and variance, gamma and beta) == (statistics, affine)
    assert (mean or variance, gamma or beta) == (statistics, affine)


@pytest.mark.parametrize(
    ("architecture", "own"),
    [
        ("ResNet50", "caffe"),
        ("InceptionV3", "tf"),
        ("EfficientNetB0", "raw"),
        ("MobileNetV3Small", "raw"),
        ("DenseNet121", "torch"),
        ("VGG16", "caffe"),
    ],
)
def test_the_scaling_belongs_to_the_backbone(architecture: str, own: str) -> None:
    for name in ("caffe", "tf", "torch", "unit", "raw"):
        if name == own:
            check_scaling(architecture, name)
        else:
            with pytest.raises(InvalidArgumentError, match=f"which takes {own}"):
                check_scaling(architecture, name)


def test_pixels_are_scaled_as_at_prediction() -> None:
    for kind in ("caffe", "tf", "torch"):
        config = tiny(preprocess={"scaling": kind})
        pixels = np.random.default_rng(0).integers(0, 256, (2, 24, 24, 3), np.uint8)
        wanted = config.preprocess.build().normalize(pixels).transpose(0, 2, 3, 1)
        np.testing.assert_allclose(scaled(pixels, config).numpy(), wanted, rtol=0, atol=1e-5)


def test_what_is_no_model() -> None:
    with pytest.raises(InvalidArgumentError, match=r"Unknown architecture 'resnet50'.*ResNet50"):
        build_model(tiny(model={"architecture": "resnet50"}), 2)
    with pytest.raises(InvalidArgumentError, match=r"model.head 'pool'"):
        build_model(tiny(model={"head": ["pool"]}), 2)
    with pytest.raises(ModelError, match="Keras cannot build VGG16"):
        build_model(tiny(model={"architecture": "VGG16"}, preprocess={"scaling": "caffe"}), 2)


def test_without_network_the_imagenet_weights_are_one_sentence() -> None:
    config = tiny(
        model={"architecture": "MobileNet", "pretrained": True, "args": {"alpha": 0.25}},
        preprocess={"scaling": "tf", "height": 160, "width": 160},
    )
    with pytest.raises(
        ModelError, match=r"ImageNet weights of MobileNet could not be fetched.*pretrained=false"
    ):
        build_model(config, 2)


def test_what_only_torch_can_do_is_refused_by_name() -> None:
    check_supported(tiny())
    changes = [
        ("model", {"transplant": "x"}),
        ("distill", {"weight": 0.5}),
        ("optim", {"accumulate": 2}),
        ("optim", {"refresh_images": 9}),
        ("optim", {"devices": 2}),
        ("optim", {"optimizer": "adam", "weight_decay": 0.1}),
    ]
    for group, change in changes:
        with pytest.raises(
            InvalidArgumentError, match=f"TensorFlow does not support {group}.{list(change)[-1]}"
        ):
            check_supported(tiny(**{group: change}))


def test_float16_is_for_gpus() -> None:
    assert policy(tiny(optim={"precision": "16-mixed"}), "/CPU:0") == "float32"
    assert policy(tiny(optim={"precision": "16-mixed"}), "/GPU:0") == "mixed_float16"
    assert policy(tiny(optim={"precision": "bf16-mixed"}), "/CPU:0") == "mixed_bfloat16"
    assert device(tiny()) == "/CPU:0"
    with pytest.raises(InvalidArgumentError, match="cpu or gpu"):
        device(tiny(optim={"accelerator": "mps"}))
    if not tf.config.list_physical_devices("GPU"):
        with pytest.raises(DeviceError, match="sees no GPU"):
            device(tiny(optim={"accelerator": "gpu"}))


# --- losses ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["cross_entropy", "focal", "bce"])
@pytest.mark.parametrize("focal_pt", ["unweighted", "weighted"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_losses_and_gradients_are_those_of_torch(kind: str, focal_pt: str, smoothing: float) -> None:
    config = LossConfig(kind=kind, focal_pt=focal_pt, label_smoothing=smoothing, gamma=1.5, alpha=0.25)
    rng = np.random.default_rng(1)
    classes = 2 if kind == "bce" else 4
    logits = (rng.normal(size=(16, 1 if kind == "bce" else classes)) * 12).astype(np.float32)
    soft = rng.dirichlet(np.ones(classes), 16).astype(np.float32)
    soft[:8] = np.eye(classes, dtype=np.float32)[rng.integers(0, classes, 8)]
    weights = rng.uniform(0.2, 3, classes).astype(np.float32)
    x = torch.tensor(logits, requires_grad=True)
    wanted = build_torch_loss(config, torch.tensor(weights), classes)(x, torch.tensor(soft))
    wanted.backward()
    variable = tf.Variable(logits)
    with tf.GradientTape() as tape:
        found = build_loss(config, weights, classes)(variable, tf.constant(soft))
    assert float(found) == pytest.approx(float(wanted.detach()), rel=1e-5)
    np.testing.assert_allclose(tape.gradient(found, variable).numpy(), x.grad.numpy(), rtol=1e-4, atol=1e-6)


def test_focal_loss_is_the_one_that_skinsight_published() -> None:
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(32, 7)).astype(np.float32)
    truth = np.eye(7, dtype=np.float32)[rng.integers(0, 7, 32)]
    p = np.clip(np.asarray(tf.nn.softmax(logits)), 1e-7, 1 - 1e-7)
    wanted = (0.25 * (1 - p) ** 2 * -truth * np.log(p)).sum(axis=1).mean()
    config = LossConfig(kind="focal", gamma=2, alpha=0.25, label_smoothing=0)
    found = build_loss(config, np.ones(7, np.float32), 7)(tf.constant(logits), tf.constant(truth))
    assert float(found) == pytest.approx(float(wanted), rel=1e-5)


def test_binary_cross_entropy_is_that_of_keras_with_class_weights() -> None:
    rng = np.random.default_rng(3)
    logits, truth = rng.normal(size=(40, 1)).astype(np.float32), rng.integers(0, 2, 40)
    weight = np.where(truth == 1, 4.121, 1.0).astype(np.float32)
    wanted = keras.losses.BinaryCrossentropy(from_logits=True)(truth[:, None], logits, sample_weight=weight)
    loss = build_loss(LossConfig(kind="bce", label_smoothing=0), np.array([1, 4.121], np.float32), 2)
    assert float(loss(tf.constant(logits), tf.one_hot(truth, 2))) == pytest.approx(float(wanted), rel=1e-5)


# --- optimisers, rates, what follows an epoch --------------------------------------------------


def test_rates_of_devatreya_phases() -> None:
    o = load_config("devatreya-resnet50").optim
    one, two = o.phases
    assert [phase_at(o, epoch).epoch for epoch in (0, 4, 5, 24)] == [0, 0, 5, 5]
    assert learning_rates(o, one, 1.0) == {"body": 1e-4, "head": 1e-4}
    assert learning_rates(o, two, 1.0) == pytest.approx({"body": 1e-5, "head": 1e-5})
    assert learning_rates(o, two, 1e-3) == pytest.approx({"body": 1e-6, "head": 1e-6})


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_weight_decay_leaves_vectors_alone(name: str) -> None:
    o = OptimConfig(optimizer=name, weight_decay=0.5 if name == "adamw" else 0.0)
    matrix, vector = keras.Variable(np.ones((2, 2), np.float32)), keras.Variable(np.ones(2, np.float32))
    optimizer = make_optimizer(o, [matrix, vector])
    optimizer.learning_rate.assign(0.1)
    optimizer.apply([tf.zeros((2, 2)), tf.zeros(2)], [matrix, vector])
    np.testing.assert_allclose(matrix.numpy(), 0.95 if name == "adamw" else 1.0)
    np.testing.assert_allclose(vector.numpy(), 1.0)


def run_epochs(config: Config, figures: list[float]) -> tuple[Progress, list[bool], list[float]]:
    progress, better, factors = Progress(), [], []
    for figure in figures:
        if progress.stopped:
            break
        better.append(progress.close_epoch(config, {f"val_{config.select}": figure}))
        progress = Progress.from_dict(json.loads(json.dumps(progress.to_dict())))
        factors.append(progress.watch.factor)
    return progress, better, factors


def test_the_best_lives_through_phases_and_patience_does_not() -> None:
    config = tiny(
        optim={"phases": [{"epoch": 0, "trainable": "head"}, {"epoch": 3}], "epochs": 9}, stop={"patience": 2}
    )
    progress, better, _ = run_epochs(config, [0.5, 0.8, 0.7, 0.6, 0.7, 0.75, 0.7, 0.7, 0.9])
    assert better == [True, True, False, False, False, False, False, False]
    assert progress.stopped
    assert [row["val_malignant_auc"] for row in progress.rows] == [0.5, 0.8, 0.7, 0.6, 0.7, 0.75, 0.7, 0.7]
    # Where nothing gets better at all, the second phase has its turn.
    progress, better, _ = run_epochs(config, [0.9, 0.8, 0.8, 0.95])
    assert better == [True, False, False, True]
    assert not progress.stopped


def test_plateau_drops_the_rate_and_a_figure_that_is_none_is_never_better() -> None:
    config = tiny(select="loss", optim={"schedule": "plateau", "patience": 2, "factor": 0.5})
    nan = float("nan")
    _, better, factors = run_epochs(config, [1.0, 1.1, nan, 0.9, 0.9, 0.9, 0.9, 0.9])
    assert better == [True, False, False, True, False, False, False, False]
    assert factors == [1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125]


# --- batches -----------------------------------------------------------------------------------


def batches(**changes) -> Batches:
    store = np.random.default_rng(0).integers(0, 256, (40, 24, 24, 3), np.uint8)
    targets = np.array([0] * 32 + [1] * 8)
    return Batches(tiny(**changes), store, np.arange(2, 40), targets, 2)


def listed(made: Batches, epoch: int, first: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(x.numpy(), y.numpy()) for x, y in made.epoch(epoch, first=first)]


def test_a_batch_depends_on_seed_epoch_and_number_alone() -> None:
    one = listed(batches(data={"workers": 1}), 3)
    many = listed(batches(data={"workers": 4}), 3)
    rest = listed(batches(data={"workers": 2}), 3, first=4)
    assert len(one) == len(many) == 6
    for (x, y), (u, v) in itertools.chain(zip(one, many, strict=True), zip(one[4:], rest, strict=True)):
        assert np.array_equal(x, u)
        assert np.array_equal(y, v)
    assert x.shape == (6, 24, 24, 3)
    assert x.dtype == np.float32
    assert 0 <= x.min() < 60 < 200 < x.max() <= 255
    again, other = listed(batches(), 4)[0][0], listed(batches(seed=8), 3)[0][0]
    assert not np.array_equal(one[0][0], again)
    assert not np.array_equal(one[0][0], other)


def test_an_epoch_sees_every_image_once_or_every_class_alike() -> None:
    made = batches(data={"drop_last": False})
    assert len(made) == 7
    assert [len(x) for x, _ in made.epoch(0)] == [6] * 6 + [2]
    assert sorted(made.order(0)) == sorted(made.order(1)) == list(range(2, 40))
    assert list(made.order(0)) != list(made.order(1))
    drawn = np.concatenate([batches(data={"sampler": "weighted"}).order(e) for e in range(50)])
    assert (drawn >= 32).mean() == pytest.approx(0.5, abs=0.05)


def test_presets_serve_both_frameworks() -> None:
    from skinclf_training.augment.batch import augment

    made = batches(augment={"preset": "devatreya"})
    (x, y), *_ = listed(made, 0)
    taken = made.order(0)[:6]
    wanted = augment(
        torch.from_numpy(made.store[taken]), made.config.augment, np.random.default_rng([7, 0, 0])
    )
    assert np.array_equal(x, wanted.permute(0, 2, 3, 1).numpy())
    assert np.array_equal(y.argmax(axis=1), made.targets[taken])


# --- starting weights --------------------------------------------------------------------------


def small(head: list[str], classes: int = 2, **model) -> Built:
    config = tiny(
        model={"architecture": "MobileNetV2", "head": head, "args": {"alpha": 0.35}, **model},
        preprocess={"scaling": "tf", "height": 32, "width": 32},
        loss={"kind": "bce" if classes == 2 else "cross_entropy"},
    )
    return build_model(config, classes)


def same(one: Built, two: Built, part: str) -> bool:
    pairs = zip(
        *([w for layer in getattr(x, part) for w in layer.get_weights()] for x in (one, two)), strict=True
    )
    return all(np.array_equal(a, b) for a, b in pairs)


@pytest.fixture(scope="module")
def trained() -> Built:
    built = small(["dense=8", "relu"])
    rng = np.random.default_rng(0)
    for layer in (*built.backbone.layers, *built.head):
        layer.set_weights([rng.normal(size=w.shape) for w in layer.get_weights()])
    return built


@pytest.mark.parametrize("ending", [".keras", ".h5", ".weights.h5"])
def test_a_whole_model_starts_another_one(trained: Built, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"model{ending}"
    (trained.model.save_weights if "weights" in ending else trained.model.save)(path)
    built = small(["dense=8", "relu"])
    report = start_from(built, path)
    assert same(built.backbone, trained.backbone, "layers")
    assert same(built, trained, "head")
    assert not report.fresh
    assert not report.skipped


@pytest.mark.parametrize("ending", [".keras", ".h5", ".weights.h5"])
def test_a_backbone_alone_is_enough(trained: Built, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"backbone{ending}"
    (trained.backbone.save_weights if "weights" in ending else trained.backbone.save)(path)
    built = small(["batchnorm", "dense=5"])
    report = start_from(built, path)
    assert same(built.backbone, trained.backbone, "layers")
    assert len(report.fresh) == 8
    assert not report.skipped


def test_another_head_is_dropped_and_another_backbone_refused(trained: Built, tmp_path: Path) -> None:
    trained.model.save(tmp_path / "model.keras")
    built = small(["dense=8", "relu"], classes=7)
    report = start_from(built, tmp_path / "model.keras")
    assert same(built.backbone, trained.backbone, "layers")
    assert len(report.skipped) == 2
    with pytest.raises(ModelError, match=r"only the head may differ"):
        start_from(small([], args={"alpha": 0.5}), tmp_path / "model.keras")
    with pytest.raises(ModelError, match=r"only the head may differ"):
        start_from(build_model(tiny(), 2), tmp_path / "model.keras")
    with pytest.raises(InvalidArgumentError, match="no such file"):
        start_from(built, tmp_path / "none.keras")
