"""Small hand-written Keras files, and what is stated beside a file, for the importer's tests."""

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
