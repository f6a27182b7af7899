"""Keras models with lively random weights, and small hand-written Keras files, for the importer's tests."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import torch

from skinclf.images.preprocess import scaling
from skinclf.labels import Label, LabelSet
from skinclf.models.loaded import LoadedModel, Stated

Array = npt.NDArray[np.float32]


def stated(outputs: int, *, height: int = 64, width: int | None = None, kind: str = "raw") -> Stated:
    """What a user would state: labels for so many outputs (two for one sigmoid) and a preprocessing."""
    codes = [f"c{i}" for i in range(max(2, outputs))]
    labels = LabelSet("test", tuple(Label(c, c, i == 1) for i, c in enumerate(codes)))
    return Stated(labels=labels, preprocess=scaling(kind, height=height, width=width or height))


def random_images(count: int, height: int, width: int, *, seed: int = 0) -> Array:
    """Pixels 0 to 255, (N, H, W, 3): blobs with noise, each picture of another colour."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 1, (count, 4, 4, 3)).repeat(-(-height // 4), 1).repeat(-(-width // 4), 2)
    colour = rng.uniform(0.1, 1, (count, 1, 1, 3))
    images = (0.4 * coarse[:, :height, :width] + 0.6 * colour) * 240
    return np.clip(images + rng.normal(0, 12, images.shape), 0, 255).astype(np.float32)


# --- models of real Keras ----------------------------------------------------------------------


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


def application(keras: Any, family: str, head: str, size: tuple[int, int]) -> Any:
    """A model of keras.applications under a published project's head: flat (`assistant`), or else nested."""
    make = getattr(keras.applications, family)
    inputs = keras.layers.Input((*size, 3))
    if head == "assistant":
        base = make(include_top=False, weights=None, input_tensor=inputs)
        return keras.Model(inputs, head_assistant(keras, base.output))
    base = make(include_top=False, weights=None, input_shape=(*size, 3))
    features = base(inputs, training=head == "skinsight")
    return keras.Model(inputs, HEADS[head](keras, features))


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


def assert_lively(probabilities: Array) -> None:
    """The comparison would notice a difference: pictures differ, and nothing is saturated."""
    assert np.ptp(probabilities, axis=0).max() > 0.02, "every picture gives the same answer"
    assert probabilities.max() < 0.9999, "saturated"


# --- files written by hand ---------------------------------------------------------------------


def layer(kind: str, name: str, *, legacy: bool = True, **config: Any) -> dict[str, Any]:
    """One entry of a Sequential model's `layers`."""
    entry: dict[str, Any] = {"class_name": kind, "config": {"name": name, **config}}
    if not legacy:
        entry |= {"module": "keras.layers", "registered_name": None}
    return entry


def sequential(*layers: Mapping[str, Any], size: int = 16, **config: Any) -> dict[str, Any]:
    """A Sequential config that begins with an input of `size` pixels."""
    start = {"class_name": "InputLayer", "config": {"name": "in", "batch_input_shape": [None, size, size, 3]}}
    return {"class_name": "Sequential", "config": {"name": "seq", "layers": [start, *layers], **config}}


def tiny(*extra: Mapping[str, Any]) -> dict[str, Any]:
    """Convolution, whatever is given, pooling, three-class softmax."""
    return sequential(
        layer(
            "Conv2D", "conv", filters=4, kernel_size=[3, 3], strides=[2, 2], padding="same", activation="relu"
        ),
        *extra,
        layer("GlobalAveragePooling2D", "pool"),
        layer("Dense", "out", units=3, activation="softmax"),
    )


def tiny_weights(*, seed: int = 0) -> dict[str, dict[str, Array]]:
    """Variables of `tiny()` by layer."""
    rng = np.random.default_rng(seed)
    shapes: dict[str, dict[str, Sequence[int]]] = {
        "conv": {"kernel": (3, 3, 3, 4), "bias": (4,)},
        "out": {"kernel": (4, 3), "bias": (3,)},
    }
    return {
        name: {key: rng.normal(0, 0.3, shape).astype(np.float32) for key, shape in group.items()}
        for name, group in shapes.items()
    }


def write_h5(
    path: Path,
    config: Any,
    weights: Mapping[str, Mapping[str, Array]],
    *,
    version: str = "2.15.0",
    change: Callable[[h5py.File], None] | None = None,
) -> Path:
    """A whole-model legacy file; `change` may then damage it."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"], file.attrs["backend"] = version, "tensorflow"
        if config is not None:
            file.attrs["model_config"] = config if isinstance(config, str) else json.dumps(config)
        root = file.create_group("model_weights")
        root.attrs["layer_names"] = [name.encode() for name in weights]
        for name, group in weights.items():
            place = root.create_group(name)
            place.attrs["weight_names"] = [f"{name}/{key}:0".encode() for key in group]
            for key, value in group.items():
                place.create_dataset(f"{name}/{key}:0", data=value)
        if change is not None:
            change(file)
    return path


def write_keras(
    path: Path,
    config: Any,
    weights: Mapping[str, Mapping[str, Array]],
    *,
    names: Mapping[str, str],
    extra: Mapping[str, bytes] | None = None,
) -> Path:
    """A `.keras` archive; `names` says under which name (`conv2d`, `dense_1`) a layer's variables lie."""
    inner = path.with_suffix(".inner")
    with h5py.File(inner, "w") as file:
        for name, group in weights.items():
            place = file.create_group(f"layers/{names[name]}/vars")
            place.attrs["name"] = name
            for index, value in enumerate(group.values()):
                place.create_dataset(str(index), data=value)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.5.0"}))
        archive.writestr("config.json", config if isinstance(config, str) else json.dumps(config))
        archive.write(inner, "model.weights.h5")
        for name, data in (extra or {}).items():
            archive.writestr(name, data)
    inner.unlink()
    return path


def scores(model: LoadedModel, images: Array) -> Array:
    """What the rebuilt network gives for pixels of shape (N, H, W, 3)."""
    with torch.inference_mode():
        result: Array = model.torch_network()(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
    return result
