"""PyTorch on CPU, CUDA or MPS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.overrides import TorchFunctionMode

from skinclf.errors import InvalidArgumentError, ModelError
from skinclf.models.loaded import LoadedModel
from skinclf.runtimes.base import Runtime
from skinclf.runtimes.device import resolve_device
from skinclf.runtimes.fuse import fuse_batchnorm

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class TorchRuntime(Runtime):
    """A torch module on CPU, CUDA or MPS."""

    gives_embeddings = True

    def __init__(
        self, model: LoadedModel, *, device: str = "auto", precision: str = "auto", compiled: bool = False
    ) -> None:
        """Fold BatchNorm and move a network to its device.

        Args:
            model: A model with a torch network.
            device: Device, as for `resolve_device`.
            precision: `auto` (float32), `fp32`, `bf16` or `fp16` (by autocast).
            compiled: Whether to use `torch.compile` (CUDA graphs on CUDA); pays off in long runs only.

        Raises:
            ModelError: The model has no torch network.
            DeviceError: The device is not there.
            InvalidArgumentError: The precision is unknown.
        """
        if precision not in {"auto", "fp32", "bf16", "fp16"}:
            raise InvalidArgumentError(
                f"Precision {precision!r}: the torch runtime knows auto, fp32, bf16 and fp16."
            )
        self.name = "torch-compile" if compiled else "torch"
        self.device = resolve_device(device)
        self.precision = "fp32" if precision == "auto" else precision
        self._device = torch.device(self.device)
        cuda = self._device.type == "cuda"
        self._copies = torch.cuda.Stream(self._device) if cuda else None  # type: ignore[no-untyped-call]
        network = _channels_last(fuse_batchnorm(model.torch_network()).to(self._device))
        self._eager = network
        mode = "reduce-overhead" if self._device.type == "cuda" else "default"
        self._network = torch.compile(network, mode=mode, dynamic=False) if compiled else network
        a, b = model.spec.preprocess.affine()
        self._scale = torch.from_numpy(a).to(self._device).view(1, 3, 1, 1)
        self._shift = torch.from_numpy(b).to(self._device).view(1, 3, 1, 1)
        self._bgr = model.spec.preprocess.color == "bgr"

    def stage(self, pixels: npt.NDArray[Any]) -> npt.NDArray[Any] | torch.Tensor:
        """Copy a batch to a CUDA device, on a stream of its own; on other devices the batch itself.

        Returns when the copy is complete, so that the host's buffer is free for the next batch.

        Args:
            pixels: As for `run`.
        """
        if self._copies is None:
            return pixels
        with torch.cuda.stream(self._copies):
            staged = torch.from_numpy(pixels).pin_memory().to(self._device, non_blocking=True)
        self._copies.synchronize()
        return staged

    def run(
        self, pixels: npt.NDArray[Any] | torch.Tensor, entries: npt.NDArray[Any] | torch.Tensor | None = None
    ) -> npt.NDArray[np.float32]:
        return self._outputs(self._network, pixels, entries)

    def embed(
        self, pixels: npt.NDArray[Any] | torch.Tensor, entries: npt.NDArray[Any] | torch.Tensor | None = None
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Raw outputs and the inputs of the last linear layer, shapes (N, `spec.num_outputs`) and (N, D), float32.

        Args:
            pixels: As for `run`.
            entries: As for `run`.

        Raises:
            ModelError: The network has no linear layer.
        """
        with _LastLinear() as last:
            raw = self._outputs(self._eager, pixels, entries)
        if last.input is None:
            raise ModelError("This network has no linear layer at its end, so it has no embeddings.")
        vectors: npt.NDArray[np.float32] = last.input.to("cpu", torch.float32).flatten(1).numpy()
        return raw, vectors

    def _outputs(
        self,
        network: Any,
        pixels: npt.NDArray[Any] | torch.Tensor,
        entries: npt.NDArray[Any] | torch.Tensor | None,
    ) -> npt.NDArray[np.float32]:
        with torch.inference_mode(), self._autocast():
            pixels = self._on_device(pixels)
            beside = () if entries is None else (self._on_device(entries),)
            # (N, H, W, 3) seen as (N, 3, H, W) is channels_last already: no copy.
            x = pixels.permute(0, 3, 1, 2)
            if self._bgr:
                x = x.flip(1)
            x = torch.addcmul(self._shift, x.to(torch.float32), self._scale)
            raw = network(x.contiguous(memory_format=torch.channels_last), *beside)
        result: npt.NDArray[np.float32] = raw.to("cpu", torch.float32).numpy()
        return result

    def _on_device(self, values: npt.NDArray[Any] | torch.Tensor) -> torch.Tensor:
        if not isinstance(values, torch.Tensor):
            return torch.from_numpy(values).to(self._device)
        if self._copies is not None:
            # It was allocated on the copying stream, which must not give its memory away before this one is done.
            values.record_stream(torch.cuda.current_stream(self._device))
        return values

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.precision == "fp32":
            return _whole_float32()
        return torch.autocast(self._device.type, dtype=_DTYPES[self.precision])


@contextmanager
def _whole_float32() -> Iterator[None]:
    """No TF32 or bfloat16 in place of float32, as convolutions of cuDNN would take it by default.

    These settings are the process's own, so that they are put back.
    """
    tf32, precision = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = tf32
        torch.set_float32_matmul_precision(precision)


#: `torch.nn.functional.linear` itself, whose public name NNCF replaces in the process.
_LINEAR = torch._C._nn.linear


class _LastLinear(TorchFunctionMode):
    """Record of the input of the last linear layer that runs, whatever module it belongs to."""

    def __init__(self) -> None:
        super().__init__()
        self.input: torch.Tensor | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is _LINEAR:
            self.input = args[0]
        return func(*args, **(kwargs or {}))


def _channels_last(network: torch.nn.Module) -> torch.nn.Module:
    """Convolutions' weights in channels_last; `Module.to` would also try Swin's masks, which have five axes."""
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network
