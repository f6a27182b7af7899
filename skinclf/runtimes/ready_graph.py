"""The OpenVINO graph that a built-in model brings, so that its first run needs neither torch nor a conversion.

`openvino.xml` holds the operations, `openvino.json` where each tensor of `model.safetensors` goes among their
constants. The weights themselves stay in one place: they are read from `model.safetensors`, and a graph made for
other weights or other preprocessing is refused. Only built-in models are read this way: operations from elsewhere
could compute something else than their weights say.

Compiling it takes longer than everything else at start, so that the compiled network is kept between runs. What
OpenVINO exports is bound to the weights, the graph, the versions, the processor and its number of cores, with its hash
beside it. It never answers for weights that were not read and hashed now, and computes the same bits as a network
compiled now.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import numpy.typing as npt

from skinclf._utils.environment import usable_cores
from skinclf._utils.files import replace_file
from skinclf.errors import ModelError
from skinclf.models.bundle import WEIGHTS
from skinclf.models.loaded import LoadedModel
from skinclf.runtimes.cache import artefact_folder, publish, read_intact

logger = logging.getLogger("skinclf")

GRAPH, PLACES = "openvino.xml", "openvino.json"
_SCHEMA = 1
#: Shorter constants (axes, shapes, scalars) are kept as they are.
_LEAST = 16
_COMPILED = "network.blob"
_PROCESSOR = Path("/proc/cpuinfo")


def has_ready_graph(model: LoadedModel) -> bool:
    """Whether a model is built in and brings a graph for its weights and preprocessing."""
    if model.spec.source != "builtin" or model.folder is None or not (model.folder / PLACES).is_file():
        return False
    places = _places(model.folder)
    return all(places.get(key) == value for key, value in _made_for(model).items())


def read_ready_graph(core: Any, model: LoadedModel) -> Any:
    """The graph of a built-in model with its weights in place.

    Args:
        core: An `openvino.Core`.
        model: A model for which `has_ready_graph` is true.

    Returns:
        An `openvino.Model`, as `skinclf.runtimes.openvino.network_graph` returns.

    Raises:
        ModelError: The weights or the graph are damaged.
    """
    import openvino as ov

    folder = _folder(model)
    model.check_weights()
    places, graph = _places(folder), _operations(folder)
    constants = np.zeros(places["bytes"], np.uint8)
    rest = base64.b64decode(places["rest"])
    tensors = _tensors(folder / WEIGHTS)
    at = 0
    for offset, size, name in places["pieces"]:
        if name is None:
            piece = np.frombuffer(rest, np.uint8, size, at)
            at += size
        else:
            piece = tensors[name].astype(np.float32, copy=False).reshape(-1).view(np.uint8)
        constants[offset : offset + size] = piece
    return core.read_model(graph, ov.Tensor(constants))


def ready_graph_hash(model: LoadedModel) -> str:
    """SHA-256 of the operations and of where the weights go, for a model that has a ready graph.

    Raises:
        ModelError: The graph is damaged.
    """
    folder = _folder(model)
    return hashlib.sha256(_operations(folder) + (folder / PLACES).read_bytes()).hexdigest()


def write_ready_graph(model: LoadedModel, graph: Any) -> tuple[Path, Path]:
    """Write the graph of a bundle beside its weights.

    Args:
        model: The bundle, loaded.
        graph: An `openvino.Model` whose constants are the network's tensors: converted without folding, see
            `skinclf.runtimes.openvino.unfolded_graph`.

    Returns:
        The two files.

    Raises:
        ModelError: A constant is neither a tensor of the network nor short.
    """
    import openvino as ov

    folder = _folder(model)
    with TemporaryDirectory() as scratch:
        ov.serialize(graph, Path(scratch) / GRAPH, Path(scratch) / "constants.bin")
        text = (Path(scratch) / GRAPH).read_bytes()
        constants = (Path(scratch) / "constants.bin").read_bytes()
    known = {
        values.astype(np.float32, copy=False).tobytes(): name
        for name, values in _tensors(folder / WEIGHTS).items()
        if values.size >= _LEAST
    }
    pieces: list[tuple[int, int, str | None]] = []
    rest = bytearray()
    for offset, size in sorted(_constants(text)):
        data = constants[offset : offset + size]
        name = known.get(data)
        if name is None and size > 4 * _LEAST * 4:
            raise ModelError(f"{model.spec.name}: a constant of {size} bytes is no tensor of the network.")
        if name is None:
            rest += data
        pieces.append((offset, size, name))
    places = {
        "schema": _SCHEMA,
        **_made_for(model),
        "graph_sha256": hashlib.sha256(text).hexdigest(),
        "openvino": ov.__version__.partition("-")[0],
        "bytes": len(constants),
        "pieces": pieces,
        "rest": base64.b64encode(bytes(rest)).decode(),
    }
    replace_file(folder / GRAPH, text)
    replace_file(folder / PLACES, json.dumps(places).encode() + b"\n")
    return folder / GRAPH, folder / PLACES


def compiled_folder(
    core: Any, model: LoadedModel, hints: Mapping[str, str], *, outputs: int = 1
) -> Path | None:
    """Folder for the compiled network of a built-in model; None for other models, which are not kept.

    Args:
        core: An `openvino.Core`.
        model: A model.
        hints: Options of the compiler.
        outputs: Number of outputs: 2 with embeddings.

    Raises:
        ModelError: The model's graph is damaged.
    """
    import openvino as ov

    able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if not has_ready_graph(model) or "EXPORT_IMPORT" not in able:
        return None
    return artefact_folder(
        model.spec,
        "openvino-compiled",
        version=ov.__version__,
        graph=ready_graph_hash(model),
        processor=f"{core.get_property('CPU', 'FULL_DEVICE_NAME')} {_instructions()}",
        able=" ".join(sorted(able)),
        cores=str(usable_cores()),
        outputs=str(outputs),
        **hints,
    )


def read_compiled(core: Any, model: LoadedModel, folder: Path, hints: Mapping[str, str]) -> Any | None:
    """The compiled network that was kept in a folder; None where there is none, or none that can be read.

    Args:
        core: An `openvino.Core`.
        model: The model that `folder` belongs to.
        folder: Folder of `compiled_folder`.
        hints: Options of the compiler.

    Raises:
        ModelError: The weights are missing, damaged or replaced.
    """
    model.check_weights()
    data = read_intact(folder, _COMPILED)
    if data is None:
        return None
    try:
        return core.import_model(data, "CPU", dict(hints))
    except RuntimeError as error:
        logger.debug("The compiled network in %s cannot be read: %s", folder, error)
        shutil.rmtree(folder, ignore_errors=True)
        return None


def keep_compiled(network: Any, folder: Path) -> None:
    """Keep a compiled network for later runs, where its folder can be written."""
    data = network.export_model().getvalue()

    def build(partial: Path) -> None:
        (partial / _COMPILED).write_bytes(data)

    publish(folder, build)


def _made_for(model: LoadedModel) -> dict[str, str | None]:
    spec = model.spec
    return {"weights_sha256": spec.weights_sha256, "preprocess": spec.preprocess.fingerprint}


def _places(folder: Path) -> dict[str, Any]:
    places: dict[str, Any] = json.loads((folder / PLACES).read_text(encoding="utf-8"))
    return places


def _operations(folder: Path) -> bytes:
    graph = (folder / GRAPH).read_bytes()
    if hashlib.sha256(graph).hexdigest() != _places(folder)["graph_sha256"]:
        raise ModelError(f"{folder / GRAPH}: the file is damaged. Install skinclf again.")
    return graph


def _folder(model: LoadedModel) -> Path:
    if model.folder is None:
        raise ModelError(f"{model.spec.name}: only a bundle has a graph beside its weights.")
    return model.folder


def _tensors(path: Path) -> dict[str, npt.NDArray[Any]]:
    from safetensors.numpy import load_file

    tensors: dict[str, npt.NDArray[Any]] = load_file(path)
    return tensors


def _constants(graph: bytes) -> set[tuple[int, int]]:
    """Offset and size of every constant of a graph that OpenVINO has just written."""
    return {
        (int(data.get("offset", 0)), int(data.get("size", 0)))
        for layer in ET.fromstring(graph).iter("layer")  # noqa: S314 - not from elsewhere
        if layer.get("type") == "Const"
        for data in layer.iter("data")
    }


def _instructions() -> str:
    """Hash of the instruction sets of the first core: virtual machines hide them behind one and the same name."""
    try:
        with _PROCESSOR.open(encoding="utf-8", errors="replace") as file:
            flags = next((line for line in file if line.startswith(("flags", "Features"))), "")
    except OSError:
        flags = ""
    return hashlib.sha256(flags.encode()).hexdigest()[:16]
