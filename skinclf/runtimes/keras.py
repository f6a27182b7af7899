"""TensorFlow runtime: a Keras file run by its own framework (extra `tensorflow`)."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from skinclf.errors import DeviceError, InvalidArgumentError, MissingExtraError, ModelError
from skinclf.models.loaded import LoadedModel
from skinclf.models.probabilities import Activation
from skinclf.runtimes.base import Runtime

_TINY = float(np.finfo(np.float32).tiny)


class KerasRuntime(Runtime):
    """Runs a Keras model in TensorFlow; see `skinclf.runtimes.base.Runtime`.

    The file was read by skinclf's own importer before, which refuses Lambda layers and custom classes; Keras'
    safe mode stays on all the same.
    """

    name = "keras"

    def __init__(self, model: LoadedModel, *, device: str = "auto", precision: str = "auto") -> None:
        """Load the model's own file in TensorFlow.

        Args:
            model: A model that came from a Keras file.
            device: `auto`, `cpu` or `cuda[:n]`.
            precision: `auto` or `fp32`.

        Raises:
            ModelError: The model did not come from a Keras file, or TensorFlow cannot load it.
            MissingExtraError: TensorFlow is not installed.
            DeviceError: The device is not there.
            InvalidArgumentError: Another precision was asked for.
        """
        if precision not in {"auto", "fp32"}:
            raise InvalidArgumentError(
                f"Precision {precision!r}: the keras runtime knows auto and fp32.", parameter="precision"
            )
        if model.artifact is None or model.spec.architecture == "onnx":
            raise ModelError(
                f"{model.spec.name}: not a Keras file; the keras runtime runs only .h5 and .keras files.",
                parameter="runtime",
            )
        tf = import_tensorflow("The keras runtime")
        self.precision = "fp32"
        self.device, self._place = _device(device, tf)
        self._tf = tf
        self._preprocess = model.spec.preprocess
        self._activation: Activation = model.spec.activation
        self._outputs = model.spec.num_outputs
        with tf.device(self._place):
            self._model = in_float32(_load(str(model.artifact), model.spec.name))
        self._gives = _last_activation(self._model)
        self._check_outputs(model)

    def _check_outputs(self, model: LoadedModel) -> None:
        shape = getattr(self._model, "output_shape", None)
        width = shape[-1] if isinstance(shape, tuple) and shape else None
        wanted = {self._outputs, 1} if len(model.spec.labels) == 2 else {self._outputs}
        if isinstance(width, int) and width not in wanted:
            raise ModelError(
                f"{model.spec.name}: the model has {width} outputs; {len(model.spec.labels)} labels are stated: "
                f"{', '.join(model.spec.labels.codes)}.",
                parameter="labels",
            )

    def run(
        self, pixels: npt.NDArray[Any], entries: npt.NDArray[Any] | None = None
    ) -> npt.NDArray[np.float32]:
        x = self._preprocess.normalize(pixels).transpose(0, 2, 3, 1)
        with self._tf.device(self._place), _whole_float32(self._tf):
            result = self._model(
                self._given(self._tf.constant(np.ascontiguousarray(x)), entries), training=False
            )
        if isinstance(result, Mapping):  # one output with a name; the importer has refused several
            (result,) = result.values()
        values = np.asarray(result, np.float64).reshape(len(x), -1)
        if values.shape[1] not in {self._outputs, 1}:
            raise ModelError(f"The Keras model gives {values.shape[1]} outputs; expected {self._outputs}.")
        return self._raw(values).astype(np.float32)

    def _given(self, picture: Any, entries: npt.NDArray[Any] | None) -> Any:
        """The image, and in the model's own order the vector beside it."""
        if entries is None:
            return picture
        beside = self._tf.constant(np.asarray(entries, np.float32))
        return [picture if len(x.shape) == 4 else beside for x in self._model.inputs]

    def _raw(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Raw outputs (logits, where the spec has an activation) from the values of the file's last layer."""
        if self._activation == "identity" or self._gives not in {"softmax", "sigmoid"}:
            return values
        p = np.clip(values, _TINY, 1.0)
        if self._activation in {"sigmoid", "independent"}:
            return np.asarray(np.log(p) - np.log(np.clip(1.0 - values, _TINY, 1.0)))
        return np.asarray(np.log(p))


def import_tensorflow(what: str) -> Any:
    """TensorFlow, imported so that it lives together with torch.

    Args:
        what: Part of skinclf that needs TensorFlow, for the message.

    Raises:
        MissingExtraError: TensorFlow is not installed.
    """
    # Read at import: what its C++ side writes to stderr, and that Keras computes in TensorFlow.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if "tensorflow" not in sys.modules:
        # Both bring an LLVM: loaded after TensorFlow, triton's would abort the process.
        with contextlib.suppress(ImportError):
            import triton  # type: ignore[import-untyped, import-not-found, unused-ignore]  # noqa: F401
    try:
        import tensorflow as tf
    except ImportError:
        raise MissingExtraError("tensorflow", what) from None
    return tf


@contextlib.contextmanager
def _whole_float32(tf: Any) -> Iterator[None]:
    """No TF32 in place of float32, as TensorFlow would take it on a GPU; the process's setting is put back."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


def _load(file: str, name: str) -> Any:
    import keras

    try:
        return keras.saving.load_model(file, compile=False, safe_mode=True)
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
    try:  # a Keras 2 file that Keras 3 does not understand
        import tf_keras  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        raise ModelError(
            f"{name}: Keras {keras.__version__} cannot load this file ({reason}). If Keras 2 wrote it, "
            "install tf_keras, or use `runtime='torch'`.",
            parameter="runtime",
        ) from None
    try:
        return tf_keras.models.load_model(file, compile=False)
    except Exception as error:
        second = " ".join(str(error).split())[:300]
        raise ModelError(
            f"{name}: neither Keras ({reason}) nor tf_keras ({second}) can load this file."
        ) from None


def in_float32(model: Any) -> Any:
    """The model with float32 in every layer; a file that was trained on a GPU may ask for float16."""
    for layer in model._flatten_layers():
        if layer.compute_dtype in {"float16", "bfloat16"}:
            if hasattr(layer, "_set_dtype_policy"):  # Keras 2
                layer._set_dtype_policy("float32")
            else:
                layer.dtype_policy = "float32"
    return model


def _last_activation(model: Any) -> str:
    """Name of the activation that makes the output: `softmax`, `sigmoid`, `linear`, ..."""
    layer = model.layers[-1]
    while getattr(layer, "layers", None):
        layer = layer.layers[-1]
    if type(layer).__name__ == "Softmax":
        return "softmax"
    activation = getattr(layer, "activation", None)
    return str(getattr(activation, "__name__", "linear")).removesuffix("_v2")


def _device(device: str, tf: Any) -> tuple[str, str]:
    """(skinclf's name, TensorFlow's name) of a device."""
    gpus = tf.config.list_physical_devices("GPU")
    kind, _, index = device.partition(":")
    if kind == "cpu" or (kind == "auto" and not gpus):
        return "cpu", "/CPU:0"
    number = int(index or 0)
    if kind in {"auto", "cuda"} and number < len(gpus):
        return f"cuda:{number}", f"/GPU:{number}"
    raise DeviceError(
        f"Device {device!r}: TensorFlow {tf.__version__} sees {len(gpus)} GPUs. Use `device='cpu'`.",
        parameter="device",
    )
