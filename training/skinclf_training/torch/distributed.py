"""Several processes that train one network: which one this is, and what they tell each other.

Started by `torchrun --nproc-per-node N -m skinclf train ... --set optim.devices=N`.
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
    """Number of this process among those that torchrun started, 0 for the first or only one."""
    return int(os.environ.get("RANK", "0"))


def check_ranks(config: Config) -> None:
    """Refuse a number of processes that is not the configured one, or batches that cannot be shared.

    Raises:
        InvalidArgumentError: They differ, or `data.batch_size` is no multiple of `optim.devices`.
    """
    devices, started = config.optim.devices, int(os.environ.get("WORLD_SIZE", "1"))
    if started != devices:
        raise InvalidArgumentError(
            f"optim.devices is {devices}, but {started} processes were started. "
            f"Use: torchrun --nproc-per-node {devices} -m skinclf train ..."
        )
    if devices > 1 and (config.data.batch_size % devices or not config.data.drop_last):
        raise InvalidArgumentError(
            f"optim.devices {devices} shares every batch: data.batch_size ({config.data.batch_size}) must be a "
            "multiple of it, and data.drop_last true."
        )


def gather(value: T) -> list[T]:
    """A plain value from every process, in the order of ranks; each must ask."""
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return [value]
    found: list[T | None] = [None] * dist.get_world_size()
    dist.all_gather_object(found, value)
    return [item for item in found if item is not None]


def share_buffers(module: nn.Module) -> None:
    """Give every process the first one's buffers, such as running statistics."""
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        for buffer in module.buffers():
            dist.broadcast(buffer, src=0)
