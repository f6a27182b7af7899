"""ONNX Runtime: `.onnx` files as they are, or a torch network exported in memory; CPU, CUDA, DirectML, CoreML."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from skinclf._utils.files import replace_file
from skinclf.errors import DeviceError, InvalidArgumentError, MissingExtraError, ModelError
from skinclf.models.loaded import LoadedModel
from skinclf.runtimes.base import Runtime
from skinclf.runtimes.cache import artefact_folder, intact, publish

_FILE = "model.onnx"
_OPSET = 18


class OnnxRuntime(Runtime):
    """Runs a network by ONNX Runtime; see `skinclf.runtimes.base.Runtime`."""

    name = "onnxruntime"

    def __init__(self, model: LoadedModel, *, device: str = "auto", precision: str = "auto") -> None:
        """Open a session.

        Raises:
            MissingExtraError: ONNX Runtime (or, for a torch network, onnx) is not installed.
            DeviceError: No provider for the device is installed.
            InvalidArgumentError: A precision other than float32 was asked for.
            ModelError: The network cannot be exported or the file cannot be run.
        """
        try:
            import onnxruntime as ort
        except ImportError:
            raise MissingExtraError("onnx", "The ONNX Runtime runtime") from None
        if precision not in {"auto", "fp32"}:
            raise InvalidArgumentError(
                f"Precision {precision!r}: the onnxruntime runtime knows auto and fp32.",
                parameter="precision",
            )
        self.precision = "fp32"
        self._preprocess = model.spec.preprocess
        self.device, provider = _provider(device, ort.get_available_providers())
        # A Keras model has an artefact too, but of another kind.
        own = model.artifact if model.spec.architecture == "onnx" else None
        content = str(own) if own is not None else _exported(model)
        try:
            self._session = ort.InferenceSession(content, providers=[provider])
        except Exception as error:
            raise ModelError(f"{model.spec.name}: ONNX Runtime cannot open it: {error}.") from None
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            raise ModelError(
                f"{model.spec.name}: expected one input, the ONNX graph has {[x.name for x in inputs]}."
            )
        self._input = inputs[0].name
        shape = inputs[0].shape
        self._channels_last = len(shape) == 4 and shape[3] == 3 and shape[1] != 3
        self._fixed = shape[0] if isinstance(shape[0], int) else None
        # A graph that ends in one sigmoid gives P(second of two labels).
        one = model.spec.activation == "identity" and len(model.spec.labels) == 2
        self._widths = {model.spec.num_outputs, 1 if one else model.spec.num_outputs}

    def run(self, pixels: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        x = self._preprocess.normalize(pixels)
        if self._channels_last:
            x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
        if self._fixed is None:
            return self._raw(x)
        # A graph with a fixed batch gets padded pieces of that size.
        pieces = []
        for start in range(0, len(x), self._fixed):
            piece = x[start : start + self._fixed]
            padding = [(0, self._fixed - len(piece))] + [(0, 0)] * 3
            pieces.append(self._raw(np.pad(piece, padding))[: len(piece)])
        return np.concatenate(pieces)

    def _raw(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        raw = np.asarray(self._session.run(None, {self._input: x})[0], np.float32).reshape(len(x), -1)
        if raw.shape[1] not in self._widths:
            raise ModelError(
                f"The ONNX graph gives {raw.shape[1]} outputs; the labels ask for {max(self._widths)}."
            )
        return raw


def _provider(device: str, available: list[str]) -> tuple[str, Any]:
    """(device name, provider) for what was asked; `auto` prefers an accelerator."""
    kind, _, index = device.partition(":")
    choices = {
        "cuda": ("CUDAExecutionProvider",),
        "mps": ("CoreMLExecutionProvider",),
        "cpu": ("CPUExecutionProvider",),
        "auto": (
            "CUDAExecutionProvider",
            "DmlExecutionProvider",
            "CoreMLExecutionProvider",
            "CPUExecutionProvider",
        ),
    }[kind]
    names = {
        "CUDAExecutionProvider": f"cuda:{index or 0}",
        "DmlExecutionProvider": "directml",
        "CoreMLExecutionProvider": "coreml",
        "CPUExecutionProvider": "cpu",
    }
    for name in choices:
        if name in available:
            cuda = {"device_id": int(index or 0), "use_tf32": 0}  # TF32 is its default, and no float32
            options = cuda if name == "CUDAExecutionProvider" else {}
            return names[name], (name, options)
    raise DeviceError(f"Device {device!r}: ONNX Runtime has only {', '.join(available)}.", parameter="device")


def _exported(model: LoadedModel) -> bytes:
    import onnxruntime as ort

    folder = artefact_folder(model.spec, "onnx", version=ort.__version__)
    if folder is not None and intact(folder):
        model.check_weights()
        return (folder / _FILE).read_bytes()
    content = _export(model)
    if folder is not None:
        publish(folder, lambda partial: replace_file(partial / _FILE, content))
    return content


def _export(model: LoadedModel) -> bytes:
    import torch

    try:
        import onnx  # noqa: F401 - torch's exporter needs it
    except ImportError:
        raise MissingExtraError("onnx", "Exporting a network to ONNX") from None
    network = model.torch_network().cpu().float().eval()
    size = (1, 3, model.spec.preprocess.height, model.spec.preprocess.width)
    buffer = io.BytesIO()
    try:
        with warnings.catch_warnings():
            # The tracing exporter is the older one, and twenty times as fast as its successor.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                network,
                (torch.zeros(size),),
                buffer,  # type: ignore[arg-type]  # the tracing exporter takes streams
                input_names=["pixels"],
                output_names=["scores"],
                dynamic_axes={"pixels": {0: "n"}, "scores": {0: "n"}},
                opset_version=_OPSET,
                dynamo=False,
            )
    except Exception as error:
        raise ModelError(
            f"{model.spec.name}: the network cannot be exported to ONNX ({type(error).__name__}: {error}). "
            "Use `runtime='torch'`.",
            parameter="runtime",
        ) from None
    return buffer.getvalue()
