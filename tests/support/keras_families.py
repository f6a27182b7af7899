"""Models of real Keras, small enough to compare, with lively random weights.

Imported by the process that runs TensorFlow: nothing here needs torch or skinclf.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


def random_images(count: int, height: int, width: int, *, seed: int = 0) -> Array:
    """Pixels 0 to 255, (N, H, W, 3): blobs with noise, each picture of another colour."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 1, (count, 4, 4, 3)).repeat(-(-height // 4), 1).repeat(-(-width // 4), 2)
    colour = rng.uniform(0.1, 1, (count, 1, 1, 3))
    images = (0.4 * coarse[:, :height, :width] + 0.6 * colour) * 240
    return np.clip(images + rng.normal(0, 12, images.shape), 0, 255).astype(np.float32)


def head_skinsight(keras: Any, features: Any, outputs: int = 7) -> Any:
    """SkinSight: pooled, batch-normalised, 128 units, softmax."""
    layers = keras.layers
    x = layers.GlobalAveragePooling2D(name="global_avg_pool")(features)
    x = layers.Dropout(0.4)(layers.BatchNormalization()(x))
    x = layers.BatchNormalization()(layers.Dense(128, activation="relu", name="dense_head_1")(x))
    return layers.Dense(outputs, activation="softmax", name="output", dtype="float32")(layers.Dropout(0.2)(x))


def head_devatreya(keras: Any, features: Any) -> Any:
    """devatreya: two wide layers and one sigmoid."""
    layers = keras.layers
    x = layers.BatchNormalization()(layers.GlobalAveragePooling2D()(features))
    x = layers.Dense(512, activation="relu")(layers.Dropout(0.5)(x))
    x = layers.Dropout(0.5)(layers.BatchNormalization()(x))
    x = layers.Dropout(0.3)(layers.Dense(256, activation="relu")(x))
    return layers.Dense(1, activation="sigmoid", dtype="float32")(x)


def head_assistant(keras: Any, features: Any, outputs: int = 8) -> Any:
    """SkinConditionAssistant: batch-normalised, 256 units, softmax."""
    layers = keras.layers
    x = layers.BatchNormalization()(layers.GlobalAveragePooling2D()(features))
    x = layers.Dropout(0.5)(layers.Dense(256, activation="relu")(x))
    return layers.Dense(outputs, activation="softmax")(x)


def head_analyzer(keras: Any, features: Any) -> Any:
    """Melanoma analyzer: two classes at once."""
    x = keras.layers.GlobalAveragePooling2D()(features)
    return keras.layers.Dense(2, activation="softmax")(x)


def head_dermalyze(keras: Any, features: Any, outputs: int = 7) -> Any:
    """Dermalyze: two wide layers, normalised before their activation."""
    layers = keras.layers
    x = layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(features))
    for width in (512, 256):
        x = layers.ReLU()(layers.BatchNormalization()(layers.Dense(width)(x)))
        x = layers.Dropout(0.5)(x)
    return layers.Activation("softmax")(layers.Dense(outputs)(x))


HEADS = {
    "skinsight": head_skinsight,
    "devatreya": head_devatreya,
    "analyzer": head_analyzer,
    "dermalyze": head_dermalyze,
}


def application(
    keras: Any, family: str, head: str, size: tuple[int, int], *, blocks: int | None = None
) -> Any:
    """A model of keras.applications under a published project's head: flat (`assistant`), or else nested.

    `blocks` repeats each of its blocks so many times at most.
    """
    with repeated(keras, family, blocks) if blocks else contextlib.nullcontext():
        return _application(keras, getattr(keras.applications, family), head, size)


def _application(keras: Any, make: Any, head: str, size: tuple[int, int]) -> Any:
    inputs = keras.layers.Input((*size, 3))
    if head == "assistant":
        base = make(include_top=False, weights=None, input_tensor=inputs)
        return keras.Model(inputs, head_assistant(keras, base.output))
    base = make(include_top=False, weights=None, input_shape=(*size, 3))
    features = base(inputs, training=head == "skinsight")
    return keras.Model(inputs, HEADS[head](keras, features))


@contextlib.contextmanager
def repeated(keras: Any, family: str, most: int) -> Iterator[None]:
    """Keras's own builder of a family, which repeats no block more than `most` times.

    Its widths, its kinds of blocks and their order stay. An EfficientNet multiplies the number by its depth.
    """
    package = f"{keras.__name__}.src.applications"
    if family.startswith("EfficientNet"):
        module = importlib.import_module(
            f"{package}.efficientnet{'_v2' if family.startswith('EfficientNetV2') else ''}"
        )
        stated = module.DEFAULT_BLOCKS_ARGS
        stages = (
            [stage for stages in stated.values() for stage in stages] if isinstance(stated, dict) else stated
        )
        with contextlib.ExitStack() as stack:
            for stage in stages:
                key = "repeats" if "repeats" in stage else "num_repeat"
                stack.enter_context(mock.patch.dict(stage, {key: min(most, stage[key])}))
            yield
        return
    module = importlib.import_module(f"{package}.{'densenet' if family.startswith('DenseNet') else 'resnet'}")
    names = ("dense_block", "stack_residual_blocks_v1", "stack1")
    name = next(name for name in names if hasattr(module, name))
    build = getattr(module, name)

    def fewer(x: Any, *arguments: Any, **options: Any) -> Any:
        # (x, blocks, name) of DenseNet; (x, filters, blocks, ...) of ResNet
        *before, count = arguments[: 1 if name == "dense_block" else 2]
        return build(x, *before, min(most, count), **options)

    with mock.patch.object(module, name, fewer):
        yield


def _leaves(model: Any) -> list[Any]:
    leaves: list[Any] = []
    for layer in model.layers:
        leaves += _leaves(layer) if hasattr(layer, "layers") else [layer]
    return leaves


def enliven(model: Any, images: Array, *, seed: int = 0) -> None:
    """Random weights that let every picture through: He kernels and random statistics.

    Batch statistics follow the size of what one training step shows them, moved at random, so that no batch
    normalisation is the identity and nothing explodes or dies on the way.
    """
    rng = np.random.default_rng(seed)
    norms = [layer for layer in _leaves(model) if type(layer).__name__ == "BatchNormalization"]
    seen: set[int] = set()
    for layer in _leaves(model):
        if id(layer) in seen or not layer.weights:
            continue
        seen.add(id(layer))
        values = []
        for variable, old in zip(layer.weights, layer.get_weights(), strict=True):
            name = variable.name.split("/")[-1].split(":")[0]
            if "kernel" in name:
                fan = (
                    old.shape[0] * old.shape[1]
                    if "depthwise" in name or "Depthwise" in type(layer).__name__
                    else 0
                )
                fan = fan or int(np.prod(old.shape[:-1]))
                values.append(rng.normal(0, (2 / fan) ** 0.5, old.shape))
            elif name in {"gamma", "moving_variance", "variance"}:
                values.append(rng.uniform(0.6, 1.4, old.shape))
            elif old.dtype.kind == "f":
                values.append(rng.normal(0, 0.1, old.shape))
            else:
                values.append(old)
        layer.set_weights(
            [np.asarray(v, dtype=o.dtype) for v, o in zip(values, layer.get_weights(), strict=True)]
        )
        if hasattr(layer, "finalize_state"):  # Normalization: makes the new weights count
            layer.finalize_state()
    momenta = [layer.momentum for layer in norms]
    trainable = [layer.trainable for layer in norms]
    for layer in norms:
        layer.momentum, layer.trainable = 0.0, True
    for layer in model.layers:
        # Keras 2 holds on to a `training=False` that a nested model was called with.
        nested = type(model).__module__.startswith("tf_keras") and hasattr(layer, "layers")
        if nested and tuple(layer.input_shape[1:]) == images.shape[1:]:
            layer(images, training=True)
    model(images, training=True)
    for layer, momentum, flag in zip(norms, momenta, trainable, strict=True):
        layer.momentum, layer.trainable = momentum, flag
        *affine, mean, variance = layer.get_weights()
        # Scaled, but hardly centred: a random network that centres every layer is chaotic, and would compare
        # the rounding errors of two frameworks instead of what they compute.
        variance = (variance + mean**2 + 1e-3) * rng.uniform(0.7, 1.5, variance.shape).astype(np.float32)
        mean = rng.normal(0, 0.15, mean.shape).astype(np.float32) * np.sqrt(variance)
        layer.set_weights([*affine, mean, variance])


def _logits(answers: Array) -> npt.NDArray[np.float64]:
    p = np.clip(answers.astype(np.float64), 1e-30, 1 - 1e-9)
    return np.log(p / (1 - p) if p.shape[1] == 1 else p * p.shape[1])


def balance(model: Any, images: Array, *, seed: int = 0) -> Array:
    """Centre and stretch what the last dense layer makes, until pictures are told apart clearly; returns answers."""
    answers = np.asarray(model(images, training=False))
    if 0.05 < np.ptp(answers, axis=0).max() < 0.3 and answers.max() < 0.95 and answers.min() > 1e-3:
        return answers
    last = [layer for layer in _leaves(model) if type(layer).__name__ == "Dense"][-1]
    kernel, *bias = last.get_weights()
    logits = np.full(1, np.inf)
    while np.abs(logits).max() > 3:
        kernel = kernel / 30
        last.set_weights([kernel, *(0 * b for b in bias)])
        logits = _logits(np.asarray(model(images, training=False)))
    factor = 0.25 / max(1e-6, float(logits.std(axis=0).max()))
    shift = np.random.default_rng(seed).normal(0, 0.2, logits.shape[-1]) - logits.mean(axis=0) * factor
    last.set_weights([kernel * factor, *(shift.astype(np.float32) for _ in bias)])
    return np.asarray(model(images, training=False))


def without_training(keras: Any, model: Any) -> Any:
    """The same layers, called anew: Keras 2 keeps a `training=True` that a nested model was called with, even
    when the whole model is asked to predict; skinclf always predicts.
    """
    inputs = keras.layers.Input(model.input_shape[1:])
    x = inputs
    for made in model.layers[1:]:
        x = made(x, training=False) if hasattr(made, "layers") else made(x)
    return keras.Model(inputs, x)
