"""Runtimes: how a loaded model's network is executed."""

from __future__ import annotations

from skinclf.errors import InvalidInputError
from skinclf.loaded import LoadedModel
from skinclf.runtimes.base import Runtime

__all__ = ["RUNTIMES", "Runtime", "create_runtime"]

RUNTIMES = ("auto", "torch")


def create_runtime(
    model: LoadedModel, *, runtime: str = "auto", device: str = "auto", precision: str = "auto"
) -> Runtime:
    """The runtime for a model.

    Args:
        model: A loaded model.
        runtime: One of `RUNTIMES`.
        device: `auto`, `cpu`, `cuda[:n]` or `mps`.
        precision: `auto`, `fp32`, `bf16`, `fp16` (or `int8`, where a runtime has it).

    Raises:
        InvalidInputError: The runtime is unknown.
        DeviceError: The device is not there.
    """
    if runtime not in RUNTIMES:
        raise InvalidInputError(f"Runtime {runtime!r}: expected one of {', '.join(RUNTIMES)}.")
    from skinclf.runtimes.torch import TorchRuntime

    return TorchRuntime(model, device=device, precision=precision)
