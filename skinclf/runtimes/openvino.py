"""OpenVINO on CPUs: built from an imported graph, or converted from the torch module and the result cached on disk.

Scaling and channel order become part of the compiled model, so that it takes uint8 pixels. Images run one by one,
in as many streams as the processor has use for: a fixed shape is faster than a free one (a seventh, for
EfficientNet-B0 in float32), and an image's numbers cannot depend on its neighbours.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skinclf.errors import DeviceError, InvalidArgumentError, ModelError
from skinclf.images.preprocess import Preprocess
from skinclf.models.loaded import LoadedModel
from skinclf.runtimes.base import GraphRuntime, no_last_layer
from skinclf.runtimes.cache import artefact_folder, intact, publish
from skinclf.runtimes.direct_graph import direct_graph, has_direct_graph
from skinclf.runtimes.int8 import quantized_network
from skinclf.runtimes.ready_graph import (
    compiled_folder,
    has_ready_graph,
    keep_compiled,
    read_compiled,
    read_ready_graph,
)

# What is not quantised in an int8 network stays float32.
_HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16", "int8": "f32"}
_FILE = "model.xml"
#: Operations that may stand between the last linear layer and the output.
_AFTER_LAST = frozenset({"Result", "Add", "Reshape", "Squeeze", "Unsqueeze", "Convert"})


class OpenVinoRuntime(GraphRuntime):
    """Runs a network compiled by OpenVINO; see `skinclf.runtimes.base.Runtime`."""

    name = "openvino"
    one_by_one = True

    def __init__(
        self,
        model: LoadedModel,
        *,
        device: str = "auto",
        precision: str = "auto",
        embeddings: bool = False,
    ) -> None:
        """Convert (or fetch from the cache) and compile.

        Args:
            model: A model with a torch network.
            device: `auto` or `cpu`.
            precision: `auto` (float32), `fp32`, `bf16`, `fp16` or `int8`.
            embeddings: Whether the inputs of the last layer become a second output, for `embed`.

        Raises:
            DeviceError: OpenVINO is not installed.
            DeviceError: A device other than the CPU was asked for.
            InvalidArgumentError: The precision is unknown or the processor has no such arithmetic.
            ModelError: The network cannot be converted, or does not end in a linear layer where embeddings are asked
                for; or for `int8`: the model has no quantised network.
        """
        ov = need_openvino()
        if device not in {"auto", "cpu"}:
            raise DeviceError(
                f"The openvino runtime runs on the CPU; received `device` {device!r}.", parameter="device"
            )
        self.device = "cpu"
        self.precision = "fp32" if precision == "auto" else precision
        if self.precision not in _HINTS:
            raise InvalidArgumentError(
                f"Precision {precision!r}: the openvino runtime knows auto, {', '.join(_HINTS)}.",
                parameter="precision",
            )
        core = ov.Core()
        able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if self.precision != "fp32" and self.precision.upper() not in able:
            raise InvalidArgumentError(
                f"This processor has no {self.precision} arithmetic; use `precision='fp32'`.",
                parameter="precision",
            )
        hints = {"INFERENCE_PRECISION_HINT": _HINTS[self.precision], "PERFORMANCE_HINT": "THROUGHPUT"}
        self.gives_embeddings = embeddings
        outputs = 2 if embeddings else 1
        folder = None if self.precision == "int8" else compiled_folder(core, model, hints, outputs=outputs)
        self._compiled = None if folder is None else read_compiled(core, model, folder, hints)
        if self._compiled is None:
            self._compiled = core.compile_model(self._graph(core, model), "CPU", hints)
            if folder is not None:
                keep_compiled(self._compiled, folder)
        self.streams = int(self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        # Twice: a stream finds its next image waiting, however busy Python is with decoding.
        self._queue = ov.AsyncInferQueue(self._compiled, 2 * self.streams)
        self._widths = [int(np.prod(output.shape[1:])) for output in self._compiled.outputs]
        self._dtype = model.spec.preprocess.pixel_dtype

    def _graph(self, core: Any, model: LoadedModel) -> Any:
        """The network for one image, with the outputs that are asked for."""
        quantised = self.precision == "int8"
        graph = core.read_model(quantized_network(model)) if quantised else network_graph(core, model)
        if self.gives_embeddings:
            graph.add_outputs([_last_inputs(graph, model.spec.name)])
        size = (model.spec.preprocess.height, model.spec.preprocess.width)
        shapes: dict[int, list[int]] = {0: [1, *size, 3]}
        if model.spec.encoding is not None:
            shapes[1] = [1, model.spec.encoding.width]
        graph.reshape(shapes)
        return graph

    def _results(
        self, pixels: npt.NDArray[Any], entries: npt.NDArray[Any] | None, count: int
    ) -> list[npt.NDArray[np.float32]]:
        results = [np.empty((len(pixels), width), np.float32) for width in self._widths[:count]]

        def keep(request: Any, index: int) -> None:
            for number, values in enumerate(results):
                values[index] = request.get_output_tensor(number).data.reshape(-1)

        given = [np.ascontiguousarray(pixels, dtype=self._dtype)]
        if entries is not None:
            given.append(np.ascontiguousarray(entries, dtype=np.float32))
        self._queue.set_callback(keep)
        for index in range(len(pixels)):
            # Shared, not copied: the slice is a view that outlives the request (wait_all below).
            one = {number: values[index : index + 1] for number, values in enumerate(given)}
            self._queue.start_async(one, index, share_inputs=True)
        self._queue.wait_all()
        return results


def _last_inputs(graph: Any, name: str) -> Any:
    """The graph's values that enter its last linear layer.

    Raises:
        ModelError: What makes the output is no linear layer.
    """
    node = graph.outputs[0].get_node()
    while node.get_type_name() != "MatMul":
        if node.get_type_name() not in _AFTER_LAST:
            raise no_last_layer(name)
        node = node.input_value(0).get_node()
    return node.input_value(0)


def need_openvino() -> Any:
    """The package `openvino`, imported without its usage statistics.

    Raises:
        DeviceError: OpenVINO is not installed.
    """
    known = "openvino" in sys.modules
    try:
        with no_statistics(), _hidden() if known else _hidden("openvino.tools.ovc"):
            import openvino
    except ImportError:
        raise DeviceError(
            "OpenVINO is not installed. skinclf brings it where it has packages (Linux, macOS, Windows on x86-64); "
            "elsewhere use `runtime='torch'`.",
            parameter="runtime",
        ) from None
    if not known and not hasattr(openvino, "convert_model"):
        openvino.__getattr__ = _converter
    return openvino


def _converter(name: str) -> Any:
    """`openvino.convert_model`, imported when it is first asked for: the converter is half of OpenVINO's import."""
    if name != "convert_model":
        raise AttributeError(f"module 'openvino' has no attribute {name!r}")
    with no_statistics():
        import openvino
        from openvino.tools.ovc import convert_model
    openvino.convert_model = convert_model
    return convert_model


@contextmanager
def no_statistics() -> Iterator[None]:
    """Import of OpenVINO or NNCF without the package that reports their use to a server."""
    # Both packages send usage statistics through `openvino_telemetry` unless the user has opted out by its command
    # `opt_in_out`, and both go without where it cannot be imported. The variables that they also heed (`CI`, and for
    # NNCF `NNCF_CI`) declare the process a CI job, which other libraries would believe as well. None in `sys.modules`
    # is how the import system marks a module that must not be found.
    with _hidden("openvino_telemetry"):
        yield


@contextmanager
def _hidden(*names: str) -> Iterator[None]:
    """Modules that cannot be imported meanwhile; afterwards all is as it was."""
    before = {name: sys.modules.get(name) for name in names}
    sys.modules.update(dict.fromkeys(names))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def network_graph(core: Any, model: LoadedModel) -> Any:
    """The network in float32 with scaling and channel order inside: brought, built, from the cache, or converted now.

    Args:
        core: An `openvino.Core`.
        model: A model with a torch network.

    Returns:
        An `openvino.Model`: input (N, H, W, 3) RGB 0 to 255 in the dtype of `Preprocess.pixels`, for
        `ModelSpec.encoding` a second one (N, `width`), raw outputs.

    Raises:
        ModelError: The network cannot be converted.
    """
    import openvino as ov

    if has_ready_graph(model):
        return read_ready_graph(core, model)
    if has_direct_graph(model):
        return _with_scaling(direct_graph(model), model.spec.preprocess)
    folder = artefact_folder(model.spec, "openvino", version=ov.__version__)
    if folder is not None and intact(folder):
        model.check_weights()
        return core.read_model(folder / _FILE)
    graph = _convert(model)
    if folder is not None:

        def build(partial: Path) -> None:
            ov.save_model(graph, partial / _FILE, compress_to_fp16=False)

        publish(folder, build)
    return graph


def _convert(model: LoadedModel) -> Any:
    import openvino as ov
    import torch

    network = model.torch_network().cpu().float().eval()
    preprocess, encoding = model.spec.preprocess, model.spec.encoding
    example: Any = torch.zeros(1, 3, preprocess.height, preprocess.width)
    shapes: list[tuple[int, ...]] = [(-1, 3, preprocess.height, preprocess.width)]
    if encoding is not None:
        example = (example, torch.zeros(1, encoding.width))
        shapes.append((-1, encoding.width))
    try:
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # OpenVINO traces, which torch warns about
            graph = ov.convert_model(
                network,
                example_input=example,
                input=shapes,
            )
    except Exception as error:
        raise ModelError(
            f"{model.spec.name}: OpenVINO cannot convert this network ({type(error).__name__}: {error}). "
            "Use `runtime='torch'`.",
            parameter="runtime",
        ) from None
    return _with_scaling(graph, preprocess)


def unfolded_graph(model: LoadedModel) -> Any:
    """The network with every tensor as a constant of its own, for `skinclf.runtimes.ready_graph`.

    Conversion otherwise folds normalisation into the kernels; here the compiler does that when it runs.

    Args:
        model: A model with a torch network.

    Returns:
        An `openvino.Model`, as `network_graph` returns.
    """
    import torch
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    network = model.torch_network().cpu().float().eval()
    preprocess = model.spec.preprocess
    example = torch.zeros(1, 3, preprocess.height, preprocess.width)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # OpenVINO traces, which torch warns about
        decoder = TorchScriptPythonDecoder(network, example_input=example, trace_kwargs={})
        front_end = FrontEndManager().load_by_framework("pytorch")
        graph = front_end.convert(front_end.load(decoder))
    graph.reshape([-1, 3, preprocess.height, preprocess.width])
    return _with_scaling(graph, preprocess)


def _with_scaling(graph: Any, preprocess: Preprocess) -> Any:
    import openvino as ov
    from openvino.preprocess import ColorFormat, PrePostProcessor

    a, b = preprocess.affine()
    steps = PrePostProcessor(graph)
    kind = ov.Type.u8 if preprocess.pixel_dtype is np.uint8 else ov.Type.f32
    steps.input(0).tensor().set_element_type(kind).set_layout(ov.Layout("NHWC")).set_color_format(
        ColorFormat.RGB
    )
    steps.input(0).model().set_layout(ov.Layout("NCHW"))
    chain = steps.input(0).preprocess().convert_element_type(ov.Type.f32)
    if preprocess.color == "bgr":
        chain = chain.convert_color(ColorFormat.BGR)
    # x * a + b as (x - mean) / scale with mean = -b / a and scale = 1 / a.
    chain.mean((-b.astype(np.float64) / a).tolist()).scale((1.0 / a.astype(np.float64)).tolist())
    return steps.build()
