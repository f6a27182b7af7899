"""Formats of `skinclf.conversion.export`: each written, and run again, by its own library."""

from __future__ import annotations

import io
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skinclf._utils.arrays import Float32
from skinclf.errors import MissingExtraError

if TYPE_CHECKING:
    from skinclf.models.loaded import LoadedModel

#: Names of the formats and the endings of their files; `saved-model` is a folder.
FORMATS: Mapping[str, str] = {
    "onnx": ".onnx",
    "openvino": ".xml",
    "tflite": ".tflite",
    "saved-model": "",
    "torchscript": ".pt",
    "safetensors": ".safetensors",
}
#: Formats without a network: tensors in their order, to be run by the architecture that the facts name.
WEIGHTS_ONLY = frozenset({"safetensors"})
_OPSET = 18


class Exporter(ABC):
    """A format: writes a model and runs what it has written."""

    package: str

    def by(self) -> str:
        """Name and version of the library."""
        return f"{self.package} {import_module(self.package).__version__}"

    @abstractmethod
    def write(self, model: LoadedModel, path: Path) -> None:
        """Write the file or folder."""

    @abstractmethod
    def run(self, model: LoadedModel, path: Path, pixels: Float32) -> Float32:
        """Probabilities of the written model, shape (N, labels), from pixels (N, height, width, 3)."""


def exporter(name: str) -> Exporter:
    """The exporter of a format.

    Raises:
        MissingExtraError: Its library is not installed.
        DeviceError: OpenVINO is not installed.
    """
    if name in {"tflite", "saved-model"}:
        from skinclf.conversion.export_tensorflow import SavedModel, TfLite

        return TfLite() if name == "tflite" else SavedModel()
    if name == "onnx" and not (find_spec("onnx") and find_spec("onnxruntime")):
        raise MissingExtraError("onnx", "Export to ONNX")
    if name == "openvino":
        from skinclf.runtimes.openvino import need_openvino

        need_openvino()
    kinds: Mapping[str, Callable[[], Exporter]] = {
        "onnx": Onnx,
        "openvino": OpenVino,
        "torchscript": TorchScript,
        "safetensors": SafeTensors,
    }
    return kinds[name]()


def _example(model: LoadedModel) -> Any:
    import torch

    # Two images: with one, a tracer may take the batch for a constant.
    return torch.zeros(2, model.spec.preprocess.height, model.spec.preprocess.width, 3)


class Onnx(Exporter):
    """ONNX with a free batch, run by ONNX Runtime."""

    package = "onnxruntime"

    def write(self, model: LoadedModel, path: Path) -> None:
        """Write the file by torch's tracing exporter."""
        import torch

        from skinclf.conversion.deployable import deployable

        network = deployable(model)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tracing exporter is the older one, and says so
            torch.onnx.export(
                network,
                (_example(model),),
                str(path),
                input_names=["pixels"],
                output_names=["probabilities"],
                dynamic_axes={"pixels": {0: "n"}, "probabilities": {0: "n"}},
                opset_version=_OPSET,
                dynamo=False,
            )

    def run(self, model: LoadedModel, path: Path, pixels: Float32) -> Float32:  # noqa: ARG002
        """Run it on the CPU."""
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return np.asarray(session.run(None, {"pixels": pixels})[0], np.float32)


class OpenVino(Exporter):
    """OpenVINO's IR (`.xml` and `.bin`) with a free batch, float32."""

    package = "openvino"

    def write(self, model: LoadedModel, path: Path) -> None:
        """Convert in memory and write both files."""
        import openvino as ov

        from skinclf.conversion.deployable import deployable

        example = _example(model)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # OpenVINO traces, which torch warns about
            graph = ov.convert_model(
                deployable(model), example_input=example, input=[(-1, *example.shape[1:])]
            )
        graph.inputs[0].set_names({"pixels"})
        graph.outputs[0].set_names({"probabilities"})
        try:
            ov.save_model(graph, path, compress_to_fp16=False)
            ov.Core().read_model(path)  # saving alone is silent about a full disk in 2025.1
        except RuntimeError as error:  # OpenVINO's error for it
            raise OSError(" ".join(str(error).split())[:200]) from None

    def run(self, model: LoadedModel, path: Path, pixels: Float32) -> Float32:  # noqa: ARG002
        """Run it on the CPU in float32."""
        import openvino as ov

        compiled = ov.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return np.asarray(compiled(pixels)[0], np.float32)


class TorchScript(Exporter):
    """A traced TorchScript program."""

    package = "torch"

    def write(self, model: LoadedModel, path: Path) -> None:
        """Trace and save."""
        import torch

        from skinclf.conversion.deployable import deployable

        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # torch recommends its successor, which other programs cannot read
            jit: Any = torch.jit
            buffer = io.BytesIO()  # its own writer ends the process when the disk is full
            jit.save(jit.trace(deployable(model), _example(model), check_trace=False), buffer)
        path.write_bytes(buffer.getbuffer())

    def run(self, model: LoadedModel, path: Path, pixels: Float32) -> Float32:  # noqa: ARG002
        """Load the program and run it."""
        import torch

        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            jit: Any = torch.jit
            result: Float32 = jit.load(str(path), map_location="cpu")(torch.from_numpy(pixels)).numpy()
        return result


class SafeTensors(Exporter):
    """The state dict alone, in float32."""

    package = "safetensors"

    def write(self, model: LoadedModel, path: Path) -> None:
        """Write the tensors of the network."""
        from safetensors.torch import save

        network = model.torch_network().cpu().float()
        tensors = {key: value.contiguous().clone() for key, value in network.state_dict().items()}
        path.write_bytes(save(tensors, metadata={"format": "pt"}))

    def run(self, model: LoadedModel, path: Path, pixels: Float32) -> Float32:
        """Put the tensors into a network built anew, and run that."""
        from dataclasses import replace

        from safetensors.torch import load_file

        from skinclf.models.architectures import restore_network
        from skinclf.models.probabilities import probabilities
        from skinclf.runtimes.create import create_runtime

        spec = model.spec
        again = replace(model, network=restore_network(spec, load_file(path)), build=None, check=None)
        raw = create_runtime(again, runtime="torch", device="cpu").run(pixels)
        return probabilities(raw, spec.activation, spec.calibration)
