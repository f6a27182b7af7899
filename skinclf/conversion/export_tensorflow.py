"""TensorFlow's formats: a SavedModel and a TFLite file, rebuilt from the ONNX graph operator by operator."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skinclf._utils.arrays import Float32
from skinclf.conversion.export_formats import Exporter, Onnx
from skinclf.errors import MissingExtraError

if TYPE_CHECKING:
    from skinclf.models.loaded import LoadedModel


class _TensorFlow(Exporter):
    package = "tensorflow"

    def __init__(self) -> None:
        """Import TensorFlow and onnx.

        Raises:
            MissingExtraError: One of them is not installed.
        """
        from skinclf.runtimes.keras import import_tensorflow

        self.tf = import_tensorflow("Export to a TensorFlow format")
        try:
            import onnx  # noqa: F401 - the way from torch to TensorFlow
        except ImportError:
            raise MissingExtraError("onnx", "Export to a TensorFlow format") from None

    def _function(self, model: LoadedModel) -> tuple[Any, Any]:
        """A module that keeps the weights, and its function of pixels (N, height, width, 3)."""
        import onnx

        from skinclf.conversion.tensorflow_graph import graph_module

        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.onnx"
            Onnx().write(model, file)
            graph = onnx.load(str(file)).graph
        module = graph_module(self.tf, graph, model.spec.name)
        size = (model.spec.preprocess.height, model.spec.preprocess.width)
        wanted = self.tf.TensorSpec([None, *size, 3], self.tf.float32, name="pixels")
        return module, module.run.get_concrete_function(wanted)


class SavedModel(_TensorFlow):
    """A SavedModel folder with the signature `serving_default`: `pixels` to `probabilities`."""

    def write(self, model: LoadedModel, path: Path) -> None:
        """Save the folder."""
        module, function = self._function(model)
        with _silent():
            self.tf.saved_model.save(module, str(path), signatures={"serving_default": function})

    def run(self, model: LoadedModel, path: Path, pixels: Float32) -> Float32:  # noqa: ARG002
        """Load the folder and call the signature."""
        function = self.tf.saved_model.load(str(path)).signatures["serving_default"]
        return np.asarray(function(pixels=self.tf.constant(pixels))["probabilities"], np.float32)


class TfLite(_TensorFlow):
    """A TFLite file in float32 with a free batch."""

    def write(self, model: LoadedModel, path: Path) -> None:
        """Convert in memory and write the file."""
        module, function = self._function(model)
        converter = self.tf.lite.TFLiteConverter.from_concrete_functions([function], module)
        with _silent():
            content = converter.convert()
        path.write_bytes(content)

    def run(self, model: LoadedModel, path: Path, pixels: Float32) -> Float32:  # noqa: ARG002
        """Run it by TensorFlow's interpreter."""
        with _silent():
            interpreter = self.tf.lite.Interpreter(model_path=str(path))
            (source,) = interpreter.get_input_details()
            interpreter.resize_tensor_input(source["index"], list(pixels.shape))
            interpreter.allocate_tensors()
            interpreter.set_tensor(source["index"], pixels)
            interpreter.invoke()
        (result,) = interpreter.get_output_details()
        return np.asarray(interpreter.get_tensor(result["index"]), np.float32)


@contextlib.contextmanager
def _silent() -> Any:
    """TensorFlow without its remarks on every conversion."""
    log = logging.getLogger("tensorflow")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        log.setLevel(before)
