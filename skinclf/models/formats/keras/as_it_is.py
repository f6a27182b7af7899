"""Keras models that are not rebuilt but left to Keras itself (`runtime` keras).

Keras' own loader makes objects of whatever a config names, so only classes and functions from the lists below reach
it: layers that compute and nothing else, operations of `keras.ops`, and TensorFlow functions of numerical modules.
What reads or writes files, unpickles or calls code is in none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skinclf.errors import ModelError, UnsafeModelError
from skinclf.models.formats.keras.config import Layer, Model, Ref
from skinclf.models.formats.keras.finish import logit_loss
from skinclf.models.formats.keras.layers import HANDLERS
from skinclf.models.formats.keras.operations import ACTIVATION_NAMES
from skinclf.models.probabilities import Activation

_LAYERS = frozenset(HANDLERS) | frozenset(
    [
        "AdaptiveAveragePooling2D",
        "AdaptiveMaxPooling2D",
        "AdditiveAttention",
        "Attention",
        "AveragePooling1D",
        "AveragePooling3D",
        "Bidirectional",
        "CategoryEncoding",
        "CenterCrop",
        "Conv1D",
        "Conv1DTranspose",
        "Conv2DTranspose",
        "Conv3D",
        "Conv3DTranspose",
        "ConvLSTM2D",
        "Cropping1D",
        "Cropping3D",
        "DepthwiseConv1D",
        "Dot",
        "EinsumDense",
        "Embedding",
        "Equalization",
        "GRU",
        "GlobalAveragePooling1D",
        "GlobalAveragePooling3D",
        "GlobalMaxPooling1D",
        "GlobalMaxPooling3D",
        "GroupNormalization",
        "GroupQueryAttention",
        "InputLayer",
        "LSTM",
        "LayerScale",
        "Masking",
        "MaxPooling1D",
        "MaxPooling3D",
        "MultiHeadAttention",
        "RMSNormalization",
        "RepeatVector",
        "SeparableConv1D",
        "SimpleRNN",
        "SpatialDropout1D",
        "SpatialDropout3D",
        "SpectralNormalization",
        "StochasticDepth",
        "ThresholdedReLU",
        "TimeDistributed",
        "UnitNormalization",
        "UpSampling1D",
        "UpSampling3D",
        "ZeroPadding1D",
        "ZeroPadding3D",
        "LSTMCell",
        "GRUCell",
        "SimpleRNNCell",
    ]
)
_PARTS = (
    "initializers",
    "regularizers",
    "constraints",
    "activations",
    "dtype_policies",
    "ops",
    "layers",
    "models",
    "applications",
)
_TF_MODULES = ("nn.", "math.", "image.", "linalg.", "signal.", "__operators__.")
_TF_FUNCTIONS = frozenset(
    [
        "abs",
        "add",
        "broadcast_to",
        "cast",
        "clip_by_value",
        "concat",
        "convert_to_tensor",
        "cumsum",
        "einsum",
        "exp",
        "expand_dims",
        "fill",
        "gather",
        "identity",
        "maximum",
        "minimum",
        "multiply",
        "norm",
        "ones_like",
        "pad",
        "pow",
        "reduce_max",
        "reduce_mean",
        "reduce_min",
        "reduce_sum",
        "reshape",
        "reverse",
        "roll",
        "round",
        "shape",
        "sigmoid",
        "slice",
        "split",
        "sqrt",
        "square",
        "squeeze",
        "stack",
        "stop_gradient",
        "strided_slice",
        "subtract",
        "tanh",
        "tensordot",
        "tile",
        "transpose",
        "unstack",
        "where",
        "zeros_like",
    ]
)
#: Of `tf.image`, what reads encoded pictures; nothing in a network does.
_TF_NEVER = ("decode", "encode", "extract_jpeg", "is_jpeg")
_PASSING = frozenset(
    {"Reshape", "Flatten", "Dropout", "Identity", "Squeeze", "Cast", "ActivityRegularization"}
)
_SOFTMAX, _SIGMOID = (
    frozenset({"Softmax", "nn.softmax"}),
    frozenset({"Sigmoid", "nn.sigmoid", "math.sigmoid"}),
)


def check_runnable(config: Any, model: Model) -> None:
    """Refuse a model that Keras could not load without running or reading something else.

    Args:
        config: The saved config, as data.
        model: The same, parsed: Lambda layers and custom classes were refused before.

    Raises:
        UnsafeModelError: The config names a class or function that is in none of this module's lists.
    """
    operations = {
        id(item)
        for item in _objects(config)
        if str(item.get("module", "")).startswith(("keras.ops.", "keras.src.ops."))
    }
    for item in _objects(config):
        kind, module = item["class_name"], item.get("module")
        if isinstance(module, str) and module not in {"builtins", "keras"}:
            parts = module.removeprefix("tf_").removeprefix("keras.").removeprefix("src.").split(".")
            if not module.startswith(("keras.", "tf_keras.")) or parts[0] not in _PARTS:
                raise UnsafeModelError(
                    f"The file names {kind!r} of {module!r}, which skinclf lets no loader make."
                )
        if kind == "function" and not (
            isinstance(item.get("config"), str) and item["config"] in ACTIVATION_NAMES
        ):
            raise UnsafeModelError(
                f"The file names the function {str(item.get('config'))[:80]!r}, which is no activation of Keras."
            )
        config_ = item.get("config")
        inner = config_ if isinstance(config_, Mapping) else {}
        for key, value in inner.items():
            if key.endswith("activation") and isinstance(value, str) and value not in ACTIVATION_NAMES:
                raise UnsafeModelError(
                    f"The file names the activation {value[:80]!r}, which is none of Keras' own."
                )
        wrapped = inner.get("layer")
        if isinstance(wrapped, Mapping) and wrapped.get("class_name") not in _LAYERS:
            raise UnsafeModelError(
                f"The file wraps a layer {wrapped.get('class_name')!r} that skinclf does not know."
            )
    known = {item["class_name"] for item in _objects(config) if id(item) in operations}
    for layer in model.every_layer():
        if layer.model is None and layer.kind not in known:
            _check_layer(layer)


def _check_layer(layer: Layer) -> None:
    if layer.kind in {"TFOpLambda", "SlicingOpLambda"}:
        function = str(layer.config.get("function"))
        inner = function.partition(".")[2]
        good = function in _TF_FUNCTIONS or function.startswith(_TF_MODULES)
        if not good or inner.startswith(_TF_NEVER):
            raise UnsafeModelError(
                f"Layer {layer.name!r} calls TensorFlow's {function[:80]!r}, which skinclf lets no model call."
            )
    elif layer.kind not in _LAYERS:
        raise UnsafeModelError(
            f"Layer {layer.name!r} is a {layer.kind!r}, which is not among the layers that skinclf lets Keras load."
        )


def _objects(config: Any) -> list[Mapping[str, Any]]:
    """Everything in a config that a loader would make: mappings with a `class_name`."""
    found, stack = [], [config]
    while stack:
        value = stack.pop()
        if isinstance(value, Mapping):
            if isinstance(value.get("class_name"), str):
                found.append(value)
            stack.extend(item for key, item in value.items() if key not in {"compile_config", "build_config"})
        elif isinstance(value, (list, tuple)):
            stack.extend(value)
    return found


def ending(model: Model, labels: int, training: Any) -> Activation:
    """Meaning of the outputs, from the layer that makes them.

    Args:
        model: The parsed config.
        labels: Number of stated labels.
        training: Arguments that the model was compiled with.

    Raises:
        ModelError: The last layer is no softmax or sigmoid, and no loss says that its outputs are logits.
    """
    layer = _last(model, model.outputs[0])
    what = _activation(layer)
    units = layer.config.get("units") if layer.kind == "Dense" else None
    if what == "softmax" and units != 1:
        return "softmax"
    if what == "sigmoid":
        if units == 1 or (units is None and labels == 2):
            return "sigmoid"
        return "independent"
    meant = logit_loss(training)
    if what == "linear" and meant is not None and (meant == "sigmoid") == (units == 1):
        return meant
    raise ModelError(
        f"The model ends in layer {layer.name!r} ({what}), and nothing in the file defines how its outputs become "
        "probabilities. Save it with a final softmax or sigmoid, or compiled with a from_logits loss."
    )


def _last(model: Model, ref: Ref) -> Layer:
    """The layer that makes an output, looking through those that only move numbers."""
    layers = {layer.path[-1]: layer for layer in model.layers}
    for _ in range(len(model.layers)):
        layer = layers[ref.layer]
        if layer.model is not None:
            return _last(layer.model, layer.model.outputs[ref.tensor])
        refs = [inner for call in layer.calls for inner in call.refs()]
        passing = layer.kind in _PASSING or (layer.kind == "Activation" and _activation(layer) == "linear")
        if not passing or len(refs) != 1:
            return layer
        (ref,) = refs
    return layer


def _activation(layer: Layer) -> str:
    kind = str(layer.config.get("function")) if layer.kind == "TFOpLambda" else layer.kind
    if kind in _SOFTMAX:
        return "softmax"
    if kind in _SIGMOID:
        return "sigmoid"
    what = layer.config.get("activation", "linear" if layer.kind in {"Dense", "Activation"} else layer.kind)
    if isinstance(what, Mapping):
        what = what.get("class_name") if what.get("class_name") != "function" else what.get("config")
        what = "softmax" if what == "Softmax" else what
    return "linear" if what is None else str(what)
