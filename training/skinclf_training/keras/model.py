"""Keras models of training: a backbone, average pooling, the steps of `model.head`, and one dense layer.

The backbone is a nested model, so that its layers keep the names and the order that `last=N` counts in. It is
called without `training=`: a flag in the graph would outlive training (a saved model must predict the same
whatever loads it), and Keras 3 overrides it anyway. `set_trainable` sets the mode of batch normalisation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from skinclf.errors import InvalidArgumentError, ModelError
from skinclf.images.preprocess import SCALINGS, Preprocess, scaling
from skinclf_training.config.schema import Config, ModelConfig
from skinclf_training.keras.framework import keras

SIMPLE_CNN = "simple_cnn"
#: JSON of the model in the folder of a run, from which an export rebuilds it.
ARCHITECTURE = "architecture.json"
#: Classifier of `simple_cnn` (devatreya).
_SIMPLE_HEAD = ("dense=256", "relu", "dropout=0.5", "dense=128", "relu", "dropout=0.5")
_STEPS: dict[str, Callable[[float], Any]] = {
    "dropout": keras.layers.Dropout,
    "dense": lambda units: keras.layers.Dense(int(units)),
    "relu": lambda _: keras.layers.Activation("relu"),
    "batchnorm": lambda _: keras.layers.BatchNormalization(),
}


@dataclass(frozen=True, slots=True)
class Built:
    """Keras model and its parts.

    Attributes:
        model: Model from scaled pixels, (N, height, width, 3), to logits.
        backbone: Nested model before the pooling.
    """

    model: Any
    backbone: Any

    @property
    def head(self) -> list[Any]:
        """Layers after the backbone."""
        layers: list[Any] = self.model.layers
        return layers[layers.index(self.backbone) + 1 :]


def activation(config: Config) -> Literal["sigmoid", "softmax"]:
    """Activation of the last layer: `sigmoid` of one output for `bce`, else `softmax`."""
    return "sigmoid" if config.loss.kind == "bce" else "softmax"


def build_model(config: Config, classes: int) -> Built:
    """Build the configured model, with ImageNet weights in its backbone when `model.pretrained` says so.

    Args:
        config: Configuration of the run.
        classes: Number of classes.

    Raises:
        InvalidArgumentError: The architecture or a head step is unknown, or the scaling is not that of the backbone.
        ModelError: The architecture cannot be built, or its weights cannot be fetched.
    """
    m, p = config.model, config.preprocess
    if m.init and m.pretrained:
        raise InvalidArgumentError("model.init and model.pretrained exclude each other; state one.")
    shape = (p.height, p.width, 3)
    check_scaling(m.architecture, p.scaling)
    inputs = keras.Input(shape, name="image")
    backbone = _simple_cnn(shape) if m.architecture == SIMPLE_CNN else _application(m, shape)
    x = keras.layers.GlobalAveragePooling2D()(backbone(inputs))
    for step in _head(m):
        x = step(x)
    width = 1 if activation(config) == "sigmoid" else classes
    x = keras.layers.Dense(width, dtype="float32", name="output")(x)
    return Built(keras.Model(inputs, x, name=_identifier(config.name)), backbone)


def set_trainable(built: Built, trainable: str, batchnorm: str) -> list[Any]:
    """Freeze and unfreeze layers of the backbone; the head is always trained.

    A frozen batch normalisation also keeps its statistics (Keras 3), in every phase.

    Args:
        built: Model.
        trainable: Part that is trained: `all`, `head` or `last=N`, the last N layers of the backbone, those without
            weights included.
        batchnorm: Batch normalisation of trained layers: `train`, `frozen`, or `frozen_affine` (only statistics are
            updated).

    Returns:
        Trainable variables.

    Raises:
        InvalidArgumentError: The phase is unknown, or asks for more layers than the backbone has.
    """
    layers = built.backbone.layers
    first = len(layers) - count_trainable(trainable, len(layers))
    for position, layer in enumerate(layers):
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = position >= first and not (is_norm and batchnorm == "frozen")
        for variable in (layer.gamma, layer.beta) if is_norm and layer.trainable else ():
            if variable is not None:
                variable.trainable = batchnorm != "frozen_affine"
    return list(built.model.trainable_variables)


def count_trainable(trainable: str, layers: int) -> int:
    """Number of last layers of the backbone that are trained.

    Raises:
        InvalidArgumentError: The phase is unknown, or asks for more layers than the backbone has.
    """
    name, _, number = trainable.partition("=")
    if trainable in {"all", "head"}:
        return layers if trainable == "all" else 0
    if name != "last" or not number.isdigit() or not 0 < int(number) <= layers:
        raise InvalidArgumentError(
            f"Phase {trainable!r}: expected all, head, or last=N with N from 1 to the backbone's {layers} layers."
        )
    return int(number)


def check_scaling(architecture: str, name: str) -> None:
    """Check that the scaling is that of the backbone, with whose weights it is recorded.

    It is compared with `preprocess_input` of Keras on a few pixels. `simple_cnn` accepts any scaling.

    Raises:
        InvalidArgumentError: The architecture is unknown, or the scaling differs from its `preprocess_input`.
    """
    if architecture == SIMPLE_CNN:
        return
    module = getattr(keras.applications, _maker(architecture).__module__.rpartition(".")[2])
    pixels = np.linspace(0, 255, 6 * 3).reshape(1, 2, 3, 3)[..., ::-1].astype(np.float32)
    wanted = np.asarray(module.preprocess_input(pixels.copy(), data_format="channels_last"))

    def fits(preprocess: Preprocess) -> bool:
        return np.allclose(preprocess.normalize(pixels).transpose(0, 2, 3, 1), wanted, atol=1e-3)

    if not fits(scaling(name)):
        own = next((key for key in SCALINGS if fits(scaling(key))), "no scaling that skinclf knows")
        raise InvalidArgumentError(
            f"preprocess.scaling {name!r} does not fit {architecture}, which takes {own}. "
            f"Set preprocess.scaling: {own}."
        )


def _maker(architecture: str) -> Any:
    """Function of `keras.applications` that builds an architecture."""
    known = [name for name in dir(keras.applications) if name[0].isupper()]
    if architecture not in known:
        raise InvalidArgumentError(
            f"Unknown architecture {architecture!r}: expected {SIMPLE_CNN} or one of keras.applications: "
            f"{', '.join(known)}."
        )
    return getattr(keras.applications, architecture)


def _application(m: ModelConfig, shape: tuple[int, int, int]) -> Any:
    try:
        return _maker(m.architecture)(
            include_top=False, weights="imagenet" if m.pretrained else None, input_shape=shape, **m.args
        )
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        if m.pretrained:
            raise ModelError(
                f"The ImageNet weights of {m.architecture} could not be fetched ({reason}); this needs network access "
                "once. Set model.pretrained=false, with model.init for weights from a file."
            ) from None
        raise ModelError(
            f"Keras cannot build {m.architecture} for {shape} with {m.args}: {reason}."
        ) from None


def _simple_cnn(shape: tuple[int, int, int]) -> Any:
    """Three blocks of convolution, normalisation, pooling and dropout (devatreya)."""
    inputs = x = keras.Input(shape)
    for filters in (32, 64, 128):
        x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.Dropout(0.25)(keras.layers.MaxPooling2D()(x))
    return keras.Model(inputs, x, name=SIMPLE_CNN)


def _head(m: ModelConfig) -> list[Any]:
    """Layers between pooling and the last dense layer."""
    own = _SIMPLE_HEAD if m.architecture == SIMPLE_CNN else (f"dropout={m.drop_rate}",)
    layers = []
    for text in m.head or own:
        name, _, value = text.partition("=")
        try:
            layers.append(_STEPS[name](float(value or 0)))
        except (KeyError, ValueError):
            raise InvalidArgumentError(
                f"model.head {text!r}: expected dropout=SHARE, dense=UNITS, relu or batchnorm."
            ) from None
    return layers


def _identifier(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name)
