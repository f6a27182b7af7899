"""Compiled networks of the built-in models, kept between runs: compiling takes longer than everything else at start.

What OpenVINO exports is bound to the weights, the graph, the versions, the processor and its number of cores, and its
hash lies beside it (`skinclf.runtimes.cache`). It never answers for weights that were not read and hashed now. It
computes what a network compiled now computes, to the bit (`tests/runtimes/test_compiled.py`).
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skinclf.models.loaded import LoadedModel
from skinclf.runtimes.cache import artefact_folder, publish, read_intact
from skinclf.runtimes.ready_graph import has_ready_graph, ready_graph_hash

logger = logging.getLogger("skinclf")
_FILE = "network.blob"
_PROCESSOR = Path("/proc/cpuinfo")


def compiled_folder(core: Any, model: LoadedModel, hints: Mapping[str, str]) -> Path | None:
    """Folder for the compiled network of a built-in model; None for other models, which are not kept.

    Args:
        core: An `openvino.Core`.
        model: A model.
        hints: Options of the compiler.

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
        cores=str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
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
    data = read_intact(folder, _FILE)
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
        (partial / _FILE).write_bytes(data)

    publish(folder, build)


def _instructions() -> str:
    """Hash of the instruction sets of the first core: virtual machines hide them behind one and the same name."""
    try:
        with _PROCESSOR.open(encoding="utf-8", errors="replace") as file:
            flags = next((line for line in file if line.startswith(("flags", "Features"))), "")
    except OSError:
        flags = ""
    return hashlib.sha256(flags.encode()).hexdigest()[:16]
