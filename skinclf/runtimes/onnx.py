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
from skinclf.runtimes.base import GraphRuntime, no_last_layer
from skinclf.runtimes.cache import artefact_folder, intact, publish

_FILE = "model.onnx"
_OPSET = 18
#: Operations that may stand between the last linear layer and the output.
_AFTER_LAST = frozenset({"Add", "Reshape", "Squeeze", "Flatten", "Identity", "Softmax", "Sigmoid"})


class OnnxRuntime(GraphRuntime):
    """Runs a network by ONNX Runtime; see `skinclf.runtimes.base.Runtime`."""

    name = "onnxruntime"

    def __init__(
        self,
        model: LoadedModel,
        *,
        device: str = "auto",
        precision: str = "auto",
        embeddings: bool = False,
    ) -> None:
        """Open a session.

        Args:
            model: An ONNX file, or a model with a torch network.
            device: `auto`, `cpu`, `cuda[:n]` or `mps`.
            precision: `auto` or `fp32`.
            embeddings: Whether the inputs of the last layer become a second output, for `embed`.

        Raises:
            MissingExtraError: ONNX Runtime (or, for a torch network, onnx) is not installed.
            DeviceError: No provider for the device is installed.
            InvalidArgumentError: A precision other than float32 was asked for.
            ModelError: The network cannot be exported, the file cannot be run, or the network does not end in a linear
                layer where embeddings are asked for.
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
        content: str | bytes = str(own) if own is not None else _exported(model)
        if embeddings:
            content = with_last_inputs(content, model.spec.name)
        self.gives_embeddings = embeddings
        try:
            self._session = ort.InferenceSession(content, providers=[provider])
        except Exception as error:
            raise ModelError(f"{model.spec.name}: ONNX Runtime cannot open it: {error}.") from None
        inputs = self._session.get_inputs()
        pictures = [x for x in inputs if len(x.shape) == 4] if len(inputs) > 1 else inputs
        second = [x for x in inputs if x not in pictures]
        if len(pictures) != 1 or len(second) != (model.spec.encoding is not None):
            raise ModelError(
                f"{model.spec.name}: expected one image and {'a' if model.spec.encoding else 'no'} vector, the ONNX "
                f"graph has the inputs {[x.name for x in inputs]}."
            )
        self._input = pictures[0].name
        self._second = second[0].name if second else None
        shape = pictures[0].shape
        self._channels_last = len(shape) == 4 and shape[3] == 3 and shape[1] != 3
        self._fixed = shape[0] if isinstance(shape[0], int) else None
        # A graph that ends in one sigmoid gives P(second of two labels).
        one = model.spec.activation == "identity" and len(model.spec.labels) == 2
        self._widths = {model.spec.num_outputs, 1 if one else model.spec.num_outputs}

    def _results(
        self, pixels: npt.NDArray[Any], entries: npt.NDArray[Any] | None, count: int
    ) -> list[npt.NDArray[np.float32]]:
        x = self._preprocess.normalize(pixels)
        if self._channels_last:
            x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
        given = {self._input: x}
        if self._second is not None and entries is not None:
            given[self._second] = np.asarray(entries, np.float32)
        if self._fixed is None:
            return self._raw(given, count)
        # A graph with a fixed batch gets padded pieces of that size.
        pieces = []
        for start in range(0, len(x), self._fixed):
            size = min(self._fixed, len(x) - start)
            piece = {key: _filled(values[start : start + size], self._fixed) for key, values in given.items()}
            pieces.append([values[:size] for values in self._raw(piece, count)])
        return [np.concatenate(values) for values in zip(*pieces, strict=True)]

    def _raw(self, given: dict[str, npt.NDArray[np.float32]], count: int) -> list[npt.NDArray[np.float32]]:
        names = [output.name for output in self._session.get_outputs()]
        wanted = names[:1] if count == 1 else [names[0], names[-1]]
        values = self._session.run(wanted, given)
        length = len(given[self._input])
        results = [np.asarray(value, np.float32).reshape(length, -1) for value in values]
        if results[0].shape[1] not in self._widths:
            raise ModelError(
                f"The ONNX graph gives {results[0].shape[1]} outputs; the labels ask for {max(self._widths)}."
            )
        return results


def _filled(values: npt.NDArray[np.float32], length: int) -> npt.NDArray[np.float32]:
    """Rows with zeros behind them, up to a length."""
    return np.pad(values, [(0, length - len(values))] + [(0, 0)] * (values.ndim - 1))


def with_last_inputs(content: str | bytes, name: str) -> bytes:
    """An ONNX model with one more output at its end: what enters the last linear layer.

    Args:
        content: Path of the file, or its bytes.
        name: Name of the model, for messages.

    Raises:
        MissingExtraError: onnx is not installed.
        ModelError: What makes the first output is no linear layer.
    """
    try:
        import onnx
    except ImportError:
        raise MissingExtraError("onnx", "Embeddings of an ONNX network") from None
    model = onnx.load(content) if isinstance(content, str) else onnx.load_from_string(content)
    made_by = {output: node for node in model.graph.node for output in node.output}
    value = model.graph.output[0].name
    while (node := made_by.get(value)) is not None and node.op_type not in {"Gemm", "MatMul"}:
        if node.op_type not in _AFTER_LAST:
            raise no_last_layer(name)
        # A bias may be either of what is added.
        value = next((x for x in node.input if x in made_by), "")
    if node is None:
        raise no_last_layer(name)
    if node.input[0] not in {output.name for output in model.graph.output}:
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(node.input[0]))
    return bytes(model.SerializeToString())


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
    examples = [torch.zeros(size)]
    if model.spec.encoding is not None:
        examples.append(torch.zeros(1, model.spec.encoding.width))
    names = ["pixels", "entries"][: len(examples)]
    buffer = io.BytesIO()
    try:
        with warnings.catch_warnings():
            # The tracing exporter is the older one, and twenty times as fast as its successor.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                network,
                tuple(examples),
                buffer,  # type: ignore[arg-type]  # the tracing exporter takes streams
                input_names=names,
                output_names=["scores"],
                dynamic_axes={name: {0: "n"} for name in (*names, "scores")},
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
