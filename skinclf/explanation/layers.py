"""Layers of a network whose outputs lie on a grid of the image, and the one that Grad-CAM takes by itself.

A layer's output counts where it has a place for each part of the image: (N, C, h, w), channels last (N, h, w, C) as in
Swin, or tokens (N, T, C) with class and register tokens first. The grid is told from the channels by the input's aspect
ratio. The automatic layer is the last one before space collapses. Where a class token carries the answer, patches of
the last block have no influence any more, so that the output of the block before it is taken, which is the input of the
last block's first normalisation (jacobgil/pytorch-grad-cam#513).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from skinclf.errors import InvalidArgumentError, ModelError

Layout: TypeAlias = Literal["channels first", "channels last", "tokens"]
#: More tokens before the patches than any network has.
_MAX_PREFIX = 16


@dataclass(frozen=True, slots=True)
class Layer:
    """A module whose output lies on a grid.

    Attributes:
        name: Name of the module in the network.
        layout: Place of the channels in its output.
        grid: Rows and columns of the grid.
        channels: Number of channels.
        prefix: Number of tokens before the patches.
    """

    name: str
    layout: Layout
    grid: tuple[int, int]
    channels: int
    prefix: int = 0

    def to_grid(self, output: Tensor) -> Tensor:
        """An output of the layer as (N, C, h, w)."""
        if self.layout == "channels first":
            return output
        if self.layout == "tokens":
            patches = output[:, self.prefix :]
            return patches.reshape(len(output), *self.grid, self.channels).permute(0, 3, 1, 2)
        return output.permute(0, 3, 1, 2)

    def __str__(self) -> str:
        return f"{self.name} ({self.grid[0]} x {self.grid[1]}, {self.channels} channels)"


def first_tensor(output: Any) -> Tensor | None:
    """The tensor of a module's output: itself, or the first of a tuple; None for anything else."""
    if isinstance(output, (tuple, list)) and output:
        output = output[0]
    return output if isinstance(output, Tensor) else None


def spatial_layers(network: nn.Module, pixels: Tensor) -> list[Layer]:
    """Layers whose output lies on a grid of at least 2 x 2, in the order in which they end.

    Args:
        network: Module in eval mode.
        pixels: An input of the network, shape (N, 3, H, W).
    """
    size = (int(pixels.shape[2]), int(pixels.shape[3]))
    declared = _declared_prefix(network)
    found: dict[str, Layer] = {}

    def record(name: str, output: Any) -> None:
        tensor = first_tensor(output)
        layer = None if tensor is None else _layer(name, tensor, size, declared)
        if layer is not None:
            found.pop(name, None)  # a module that is called again ends later
            found[name] = layer

    handles = [
        module.register_forward_hook(lambda _m, _i, output, name=name: record(name, output))
        for name, module in network.named_modules()
        if name
    ]
    try:
        with torch.no_grad():
            network(pixels)
    finally:
        for handle in handles:
            handle.remove()
    return list(found.values())


def choose_layer(layers: Sequence[Layer], network: nn.Module, name: str | None = None) -> Layer:
    """The layer of a name, or the automatic one.

    Args:
        layers: What `spatial_layers` found.
        network: The network they belong to.
        name: Name of a module, whole or its end after a dot; None chooses.

    Raises:
        InvalidArgumentError: No layer, or more than one, has that name.
        ModelError: The network has no layer on a grid.
    """
    if not layers:
        raise ModelError(
            "No layer of this network keeps the places of the image, so it has no Grad-CAM; use `method='occlusion'`.",
            parameter="method",
        )
    if name is not None:
        return _named(layers, name)
    last = layers[-1]
    if last.layout == "tokens" and last.prefix:
        return _before_last_block(layers, network) or last
    return last


def _named(layers: Sequence[Layer], name: str) -> Layer:
    exact = [layer for layer in layers if layer.name == name]
    matches = exact or [layer for layer in layers if layer.name.endswith(f".{name}")]
    if len(matches) == 1:
        return matches[0]
    problem = "is not known" if not matches else f"could be {' or '.join(x.name for x in matches)}"
    names = ", ".join(layer.name for layer in layers)
    raise InvalidArgumentError(
        f"The layer {name!r} {problem}; `layer` is one of these, from input to output: {names}.",
        parameter="layer",
    )


def _before_last_block(layers: Sequence[Layer], network: nn.Module) -> Layer | None:
    """The second last of the longest chain of blocks of one class that hand on tokens."""
    by_name = {layer.name: layer for layer in layers}
    chains = []
    for parent, module in network.named_modules():
        if not isinstance(module, (nn.Sequential, nn.ModuleList)):
            continue
        blocks = [
            by_name.get(f"{parent}.{child}" if parent else child) for child, _ in module.named_children()
        ]
        kinds = {type(child) for child in module.children()}
        if len(blocks) > 1 and len(kinds) == 1 and all(b is not None and b.prefix for b in blocks):
            chains.append(blocks)
    return max(chains, key=len)[-2] if chains else None


def _declared_prefix(network: nn.Module) -> int | None:
    """Number of tokens before the patches, where a module says so, as timm's do."""
    for module in network.modules():
        count: object = getattr(module, "num_prefix_tokens", None)
        if isinstance(count, int):
            return count
    return None


def _layer(name: str, output: Tensor, size: tuple[int, int], declared: int | None) -> Layer | None:
    shape = tuple(int(n) for n in output.shape)
    if not output.is_floating_point():
        return None
    if output.dim() == 4:
        first, last = (shape[2], shape[3]), (shape[1], shape[2])
        # The grid has the input's aspect ratio; on a tie, channels come first, as they do almost everywhere.
        if _misfit(first, size) <= _misfit(last, size):
            return _checked(Layer(name, "channels first", first, shape[1]), size)
        return _checked(Layer(name, "channels last", last, shape[3]), size)
    if output.dim() == 3:
        prefixes = range(_MAX_PREFIX + 1) if declared is None else (declared, 0)
        for prefix in prefixes:
            grid = _token_grid(shape[1] - prefix, size)
            if grid is not None:
                return _checked(Layer(name, "tokens", grid, shape[2], prefix), size)
    return None


def _checked(layer: Layer, size: tuple[int, int]) -> Layer | None:
    (rows, cols), (height, width) = layer.grid, size
    good = 2 <= rows <= height and 2 <= cols <= width and _misfit(layer.grid, size) < 0.5
    return layer if good else None


def _misfit(grid: tuple[int, int], size: tuple[int, int]) -> float:
    """How far the aspect ratio of a grid is from that of the input; 0 is equal."""
    if min(grid) < 1:
        return math.inf
    return abs(math.log(grid[0] / grid[1]) - math.log(size[0] / size[1]))


def _token_grid(tokens: int, size: tuple[int, int]) -> tuple[int, int] | None:
    """Rows and columns of patches that are square in the image; None where `tokens` is no such number."""
    for rows in range(2, tokens // 2 + 1):
        cols, left = divmod(tokens, rows)
        if not left and size[0] // rows == size[1] // cols and cols >= 2:
            return rows, cols
    return None
