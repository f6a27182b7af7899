"""Device selection: the named device, or the best one available."""

from __future__ import annotations

import logging
import re

from skinclf.errors import DeviceError, InvalidArgumentError

logger = logging.getLogger("skinclf")
_FORM = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


def check_device_name(device: str) -> str:
    """The name itself, if it has a valid form.

    Raises:
        InvalidArgumentError: The name has another form.
    """
    if not _FORM.fullmatch(device):
        raise InvalidArgumentError(
            f"Device {device!r}: expected auto, cpu, cuda, cuda:N or mps.", parameter="device"
        )
    return device


def resolve_device(device: str = "auto") -> str:
    """A concrete torch device: `cpu`, `cuda:N` or `mps`.

    Raises:
        InvalidArgumentError: The name has no valid form.
        DeviceError: The device was named and is not there; it is never replaced by another.
    """
    import torch

    check_device_name(device)
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if device == "auto":
        chosen = "cuda:0" if cuda else "mps" if mps else "cpu"
        logger.info("Device auto: %s", chosen)
        return chosen
    if device.startswith("cuda"):
        count = torch.cuda.device_count() if cuda else 0
        index = int(device.partition(":")[2] or 0)
        if index >= count:
            raise DeviceError(
                f"Device {device!r} is not available: torch {torch.__version__} sees {count} CUDA devices. "
                "Use `device='cpu'`, or install a CUDA build of torch and a driver.",
                parameter="device",
            )
        return f"cuda:{index}"
    if device == "mps" and not mps:
        raise DeviceError("Device 'mps' is not available here. Use `device='cpu'`.", parameter="device")
    return device
