"""Choice of the runtime for a loaded model."""

from __future__ import annotations

import logging
from importlib.util import find_spec

from skinclf.errors import InvalidArgumentError, ModelError
from skinclf.models.loaded import LoadedModel
from skinclf.runtimes.base import Runtime, no_embeddings

RUNTIMES = ("auto", "torch", "torch-compile", "openvino", "onnxruntime", "keras")
PRECISIONS = ("auto", "fp32", "bf16", "fp16", "int8")
logger = logging.getLogger("skinclf")


def create_runtime(
    model: LoadedModel,
    *,
    runtime: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    embeddings: bool = False,
) -> Runtime:
    """The runtime for a model.

    Args:
        model: A loaded model.
        runtime: One of `RUNTIMES`. `auto` takes the fastest one installed that keeps float32 numbers:
            torch on an accelerator; on a CPU OpenVINO, then ONNX Runtime, then torch.
        device: `auto`, `cpu`, `cuda[:n]` or `mps`; a device that is named must be there.
        precision: One of `PRECISIONS`. `auto` is float32, so that the numbers are the same everywhere; `int8`
            needs a bundle with a quantised network (`skinclf.runtimes.int8`).
        embeddings: Whether `Runtime.embed` is to be available.

    Raises:
        InvalidArgumentError: The runtime or precision is unknown.
        DeviceError: The device is not there.
        MissingExtraError: The runtime was named and is not installed.
        ModelError: The model is a recipe; the runtime was named and cannot run this model; or the weights are missing,
            damaged or replaced, whatever the cache of compiled networks holds.
    """
    if runtime not in RUNTIMES:
        raise InvalidArgumentError(
            f"Runtime {runtime!r}: expected one of {', '.join(RUNTIMES)}.", parameter="runtime"
        )
    if precision not in PRECISIONS:
        raise InvalidArgumentError(
            f"Precision {precision!r}: expected one of {', '.join(PRECISIONS)}.", parameter="precision"
        )
    model.need_network()
    # Before a runtime is chosen: a compiled or quantised network never answers for weights that are not there.
    model.check_weights()
    if runtime != "auto":
        return _make(runtime, model, device, precision, embeddings=embeddings)
    candidates, reason = _candidates(model, device, precision)
    passed_over = ""
    for name in candidates:
        try:
            made = _make(name, model, device, precision, embeddings=embeddings)
        except (ModelError, InvalidArgumentError) as error:
            if name == candidates[-1]:
                raise
            logger.warning("Runtime auto: %s passed over: %s", name, error)
            passed_over += f"; {name} cannot run this model ({error})"
        else:
            made.reason = f"auto: {reason}{passed_over}"
            return made
    raise AssertionError(candidates)  # never empty


def _candidates(model: LoadedModel, device: str, precision: str) -> tuple[list[str], str]:
    """Runtimes that `auto` may take, the fastest first, never empty; and why these."""
    if precision == "int8":
        return ["openvino"], "the runtime of int8 networks"
    if not model.has_network:
        own = "onnxruntime" if model.spec.architecture == "onnx" else "keras"
        return [own], "the runtime that reads this file"
    found: list[str] = []
    reason = "torch computes on accelerators"
    if _on_cpu(device):
        reason = "the fastest runtime installed for a CPU"
        if _installed("openvino"):
            found.append("openvino")
        if precision in {"auto", "fp32"} and _installed("onnxruntime") and _installed("onnx"):
            found.append("onnxruntime")
    return [*found, "torch"], reason


def _on_cpu(device: str) -> bool:
    if device != "auto":
        return device == "cpu"
    if not accelerator_possible():
        return True
    from skinclf.runtimes.device import resolve_device

    return resolve_device("auto") == "cpu"


def accelerator_possible() -> bool:
    """Whether asking torch, which takes a second to import, could find an accelerator."""
    import platform
    import shutil
    from pathlib import Path

    mac = platform.system() == "Darwin" and platform.machine() == "arm64"
    return (
        mac
        or Path("/dev/nvidiactl").exists()
        or Path("/dev/kfd").exists()
        or bool(shutil.which("nvidia-smi"))
    )


def _installed(package: str) -> bool:
    return find_spec(package) is not None


def _make(name: str, model: LoadedModel, device: str, precision: str, *, embeddings: bool) -> Runtime:
    if name == "openvino":
        from skinclf.runtimes.openvino import OpenVinoRuntime

        return OpenVinoRuntime(model, device=device, precision=precision, embeddings=embeddings)
    if name == "onnxruntime":
        from skinclf.runtimes.onnx import OnnxRuntime

        return OnnxRuntime(model, device=device, precision=precision, embeddings=embeddings)
    if name == "keras":
        from skinclf.runtimes.keras import KerasRuntime

        made = KerasRuntime(model, device=device, precision=precision)
        if embeddings:
            raise no_embeddings(made)
        return made
    from skinclf.runtimes.torch import TorchRuntime

    return TorchRuntime(model, device=device, precision=precision, compiled=name == "torch-compile")
