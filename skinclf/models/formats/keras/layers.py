"""Table of the Keras layers that can be rebuilt, with dense layers and those that are idle at prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from skinclf.models.formats.keras.config import Call, Layer
from skinclf.models.formats.keras.lower import Handler, Lowering, Value, single
from skinclf.models.formats.keras.norms import NORM_LAYERS
from skinclf.models.formats.keras.operations import ACTIVATION_LAYERS, OPERATORS, activation
from skinclf.models.formats.keras.shapes import SHAPE_LAYERS
from skinclf.models.formats.keras.windows import WINDOW_LAYERS, bias_of, conv

#: Layers that do nothing when a model predicts.
_IDENTITY = (
    "ActivityRegularization",
    "AlphaDropout",
    "AugMix",
    "CutMix",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "Identity",
    "MixUp",
    "RandAugment",
    "RandomBrightness",
    "RandomColorDegeneration",
    "RandomColorJitter",
    "RandomContrast",
    "RandomElasticTransform",
    "RandomErasing",
    "RandomFlip",
    "RandomGaussianBlur",
    "RandomGrayscale",
    "RandomHeight",
    "RandomHue",
    "RandomInvert",
    "RandomPerspective",
    "RandomPosterization",
    "RandomRotation",
    "RandomSaturation",
    "RandomSharpness",
    "RandomShear",
    "RandomTranslation",
    "RandomWidth",
    "RandomZoom",
    "Solarization",
    "SpatialDropout2D",
    "StochasticDepth",
)


def _dense(lowering: Lowering, layer: Layer, _: Call, operands: Sequence[Any]) -> Value:
    config, value = lowering.config(layer), single(layer, operands)
    units, bias, width = config.integer("units"), config.flag("use_bias", True), value.shape[-1]
    if value.is_image:  # over the channels of every pixel: a 1 x 1 convolution
        value = conv(lowering, layer, "", value, units, kernel=(1, 1), bias=bias)
        lowering.parameter(layer, "", "weight", "kernel", (width, units), lambda k: k.T[:, :, None, None])
    else:
        shape, plain = (*value.shape[:-1], units), {} if bias else {"bias": False}
        value = lowering.emit(layer, "", "linear", [value], shape, **{"in": width, "out": units}, **plain)
        lowering.parameter(layer, "", "weight", "kernel", (width, units), lambda k: k.T)
    bias_of(lowering, layer, "", units, used=bias)
    return activation(lowering, layer, value, layer.config.get("activation"))


def _identity(_: Lowering, layer: Layer, __: Call, operands: Sequence[Any]) -> Value:
    return single(layer, operands)


HANDLERS: Mapping[str, Handler] = {
    "Dense": _dense,
    **dict.fromkeys(_IDENTITY, _identity),
    **WINDOW_LAYERS,
    **NORM_LAYERS,
    **ACTIVATION_LAYERS,
    **SHAPE_LAYERS,
    **OPERATORS,
}
