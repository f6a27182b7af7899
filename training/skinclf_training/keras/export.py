"""Export of a TensorFlow run: `model.keras`, `model.h5`, and a bundle with the same probabilities in torch."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from skinclf.errors import ModelError
from skinclf.images.decode import load_image
from skinclf.models.load import load_model
from skinclf.models.options import ModelOptions
from skinclf.models.probabilities import probabilities
from skinclf.models.spec import ModelSpec
from skinclf.runtimes.keras import in_float32
from skinclf_training.config.schema import Config
from skinclf_training.data.prepare import Prepared
from skinclf_training.keras.checkpoint import read_checkpoint
from skinclf_training.keras.data import scaled
from skinclf_training.keras.framework import keras, tf
from skinclf_training.keras.model import ARCHITECTURE, activation
from skinclf_training.recipes.bundle_export import Export, provenance, read_run, write_calibrated
from skinclf_training.recipes.run_folder import BEST

KERAS, HDF5 = "model.keras", "model.h5"
#: Largest difference of a probability between Keras and the bundle.
TOLERANCE = 1e-5
_COMPARED, _BATCH = 64, 16


def export_run(
    run: Path,
    prepared: Prepared,
    output: Path,
    *,
    golden_image: Path | None = None,
    name: str | None = None,
    license: str = "CC-BY-NC-4.0",  # noqa: A002 - key of the bundle
    data_name: str = "HAM10000",
    test_part: bool = False,
) -> Export:
    """Save the best epoch as Keras files in the folder of the run, and as a bundle.

    The bundle is `model.keras` converted by skinclf's own importer, in float32. It is written only when its
    probabilities agree with those of Keras; calibration and predictions follow as in torch.

    Args:
        run: Folder of the run.
        prepared: Data and split of the run.
        output: Folder of the bundle.
        golden_image: Image for the golden sample; None draws a synthetic picture.
        name: Name of the model; None takes that of the configuration.
        license: Licence of the weights, which follows from the data.
        data_name: Name of the training data, for the record.
        test_part: Whether the test part is predicted too; False leaves it unseen.

    Raises:
        InvalidArgumentError: The run has no best checkpoint yet.
        MismatchError: The run was trained on another split.
        ModelError: The bundle's probabilities differ from those of Keras.
    """
    config, facts = read_run(run, prepared)
    model, epoch = restore_model(config, run)
    save_model(model, run / HDF5)
    file = save_model(model, run / KERAS)
    loaded = load_model(
        file, options=ModelOptions(labels=prepared.labels, preprocess=config.preprocess.build())
    )
    network = loaded.torch_network().cpu().eval()
    paths = [prepared.paths[i] for i in prepared.rows("val")[:_COMPARED]]
    check_agreement(model, config, network, loaded.spec, paths)
    spec = loaded.spec.replace(
        name=name or config.name,
        training=provenance(run, config, facts, epoch=epoch, data_name=data_name),
        license=license,
        source=str(output),
    )
    tensors = {key: value.clone() for key, value in network.state_dict().items()}
    return write_calibrated(
        run, prepared, output, spec, tensors, golden_image=golden_image, test_part=test_part
    )


def restore_model(config: Config, run: Path) -> tuple[Any, int]:
    """Restore the model of the best epoch with its sigmoid or softmax, in float32; and the epoch, counted from 1.

    Raises:
        ModelError: The checkpoint does not fit the architecture beside it.
    """
    arrays, progress = read_checkpoint(run / BEST)
    with tf.device("/CPU:0"):
        model = in_float32(keras.models.model_from_json((run / ARCHITECTURE).read_text(encoding="utf-8")))
    values = [arrays[key] for key in sorted(arrays)]
    if [v.shape for v in values] != [tuple(v.shape) for v in model.weights]:
        raise ModelError(f"{run / BEST}: does not fit the model in {ARCHITECTURE}.")
    model.set_weights(values)
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # makes the new weights count
    model.layers[-1].activation = keras.activations.get(activation(config))
    return model, progress.epoch


def save_model(model: Any, path: Path) -> Path:
    """Save a model in the format of the file extension, whole or not at all."""
    partial = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        with _without_warning():
            model.save(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


@contextmanager
def _without_warning() -> Iterator[None]:
    """Silence the warning of Keras that HDF5 is a legacy format; the projects published in it."""
    logger = logging.getLogger("absl")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def check_agreement(
    model: Any, config: Config, network: nn.Module, spec: ModelSpec, paths: list[Path]
) -> float:
    """Largest difference of a probability between Keras and torch on some images.

    Raises:
        ModelError: The difference exceeds `TOLERANCE`.
    """
    worst = 0.0
    for start in range(0, len(paths), _BATCH):
        pixels = np.stack([spec.preprocess.pixels(load_image(x)) for x in paths[start : start + _BATCH]])
        by_keras = np.asarray(model(scaled(pixels, config), training=False), np.float64)
        if spec.activation == "sigmoid":
            by_keras = np.concatenate([1 - by_keras, by_keras], axis=1)
        with torch.inference_mode():
            scores = network(torch.from_numpy(spec.preprocess.normalize(pixels))).numpy()
        worst = max(worst, float(np.abs(probabilities(scores, spec.activation) - by_keras).max()))
    if not worst <= TOLERANCE:
        raise ModelError(
            f"The bundle's probabilities differ from those of Keras by {worst:.2g}; at most {TOLERANCE:g} is "
            "allowed, so nothing was written. Please report this model."
        )
    return worst
