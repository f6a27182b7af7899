"""Data-parallel training: rank of this process and exchange of values between processes.

The processes are started by torchrun, one per device, with `optim.devices` set to their number.
"""

from __future__ import annotations

import os
from typing import TypeVar

import torch.distributed as dist
from torch import nn

from skinclf.errors import InvalidArgumentError
from skinclf_training.config.schema import Config

T = TypeVar("T")


def rank() -> int:
    """Rank of this process among those that torchrun started, 0 for the first or only one."""
    return int(os.environ.get("RANK", "0"))


def check_ranks(config: Config) -> None:
    """Check the number of processes, and that they can share every batch.

    Raises:
        InvalidArgumentError: The number of processes differs from `optim.devices`, or `data.batch_size` is not a
            multiple of it.
    """
    devices, started = config.optim.devices, int(os.environ.get("WORLD_SIZE", "1"))
    if started != devices:
        raise InvalidArgumentError(
            f"optim.devices is {devices}, but {started} processes were started. Start {devices} with torchrun."
        )
    if devices > 1 and (config.data.batch_size % devices or not config.data.drop_last):
        raise InvalidArgumentError(
            f"optim.devices {devices} shares every batch: data.batch_size ({config.data.batch_size}) must be a "
            "multiple of it, and data.drop_last true."
        )


def gather(value: T) -> list[T]:
    """Gather a plain value from every process, in the order of ranks; all processes must call it."""
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return [value]
    found: list[T | None] = [None] * dist.get_world_size()
    dist.all_gather_object(found, value)
    return [item for item in found if item is not None]


def share_buffers(module: nn.Module) -> None:
    """Broadcast the buffers of the first process, such as running statistics."""
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        for buffer in module.buffers():
            dist.broadcast(buffer, src=0)
