"""The modules of a graph for which torch has none of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skinclf.models.architectures.graph.form import padding_apart


class Pad(nn.Module):
    """Pads height and width of (N, C, H, W); negative amounts crop. `pad` is top, bottom, left, right."""

    def __init__(self, pad: tuple[int, ...], value: float = 0.0) -> None:
        super().__init__()
        top, bottom, left, right = pad
        self.pad = (left, right, top, bottom)
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        """The padded tensor."""
        return F.pad(x, self.pad, value=self.value)

    def extra_repr(self) -> str:
        """For `print`."""
        return f"{self.pad}, value={self.value}"


class Pool(nn.Module):
    """Max or average pooling whose padding may differ by one between the two ends, as TensorFlow's does."""

    def __init__(
        self, kind: str, kernel: tuple[int, ...], stride: tuple[int, ...], pad: tuple[int, ...]
    ) -> None:
        super().__init__()
        top, bottom, left, right = self.pad = pad
        self.kind, self.kernel, self.stride = kind, kernel, stride
        more = (bottom - top, right - left)
        # With a stride, windows that only ceil_mode reaches are those that the extra row or column gives.
        self.ceil = any(more) and not padding_apart(stride, pad)
        self.padding = (top, left) if self.ceil or not any(more) else (0, 0)
        self.outside = () if self.ceil or not any(more) else (left, right, top, bottom)

    def forward(self, x: Tensor) -> Tensor:
        """Pooled; padding never counts, neither in a maximum nor in a mean."""
        if self.kind == "max":
            if self.outside:
                x = F.pad(x, self.outside, value=-torch.inf)
            return F.max_pool2d(x, self.kernel, self.stride, self.padding, ceil_mode=self.ceil)
        if self.outside:
            inside = F.pad(torch.ones_like(x[:1, :1]), self.outside)
            share = F.avg_pool2d(inside, self.kernel, self.stride)
            return F.avg_pool2d(F.pad(x, self.outside), self.kernel, self.stride) / share
        return F.avg_pool2d(
            x, self.kernel, self.stride, self.padding, ceil_mode=self.ceil, count_include_pad=False
        )

    def extra_repr(self) -> str:
        """For `print`."""
        return f"{self.kind}, kernel={self.kernel}, stride={self.stride}, pad={self.pad}"


class LayerNorm(nn.Module):
    """Layer normalisation over the last axes in Keras' order, which for (N, C, H, W) are rearranged."""

    weight: nn.Parameter | None
    bias: nn.Parameter | None

    def __init__(self, shape: tuple[int, ...], epsilon: float, *, image: bool, affine: bool) -> None:
        super().__init__()
        self.shape, self.epsilon, self.image = shape, epsilon, image
        self.weight = nn.Parameter(torch.empty(shape)) if affine else None
        self.bias = nn.Parameter(torch.empty(shape)) if affine else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The identity."""
        if self.weight is not None and self.bias is not None:
            nn.init.ones_(self.weight)
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        if not self.image:
            return F.layer_norm(x, self.shape, self.weight, self.bias, self.epsilon)
        y = F.layer_norm(x.permute(0, 2, 3, 1), self.shape, self.weight, self.bias, self.epsilon)
        return y.permute(0, 3, 1, 2)


class PReLU(nn.Module):
    """`max(x, 0) + weight * min(x, 0)` with a weight that broadcasts against one sample."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(shape))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """What torch starts with."""
        nn.init.constant_(self.weight, 0.25)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        return torch.where(x > 0, x, self.weight.to(x.dtype) * x)


class Entries(nn.Module):
    """The second input of the network: a vector that belongs to each image."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, entries: Tensor) -> Tensor:
        """Shape (N, `width`), as it is."""
        return entries

    def extra_repr(self) -> str:
        """For `print`."""
        return str(self.width)


class Constant(nn.Module):
    """Arithmetic with a number, or with one number per channel; the numbers belong to the graph."""

    def __init__(self, operator: str, values: list[float], axis: int) -> None:
        super().__init__()
        self.operator, self.values, self.axis = operator, values, axis
        self.register_buffer("value", torch.empty(self._shape()), persistent=False)
        self.fill()

    def _shape(self) -> tuple[int, ...]:
        count = len(self.values)
        return (count, 1, 1) if self.axis == 1 else (count,)

    def fill(self) -> None:
        """Put the numbers in place (again, after `to_empty`)."""
        value = torch.tensor(self.values, dtype=torch.float32).reshape(self._shape())
        self.get_buffer("value").copy_(value)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as `x`."""
        return ARITHMETIC[self.operator](x, self.get_buffer("value").to(x.dtype))

    def extra_repr(self) -> str:
        """For `print`."""
        return f"{self.operator} {self.values[:4]}"


#: Arithmetic by name.
ARITHMETIC: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": lambda x, c: x + c,
    "sub": lambda x, c: x - c,
    "rsub": lambda x, c: c - x,
    "mul": lambda x, c: x * c,
    "div": lambda x, c: x / c,
    "rdiv": lambda x, c: c / x,
    "max": torch.maximum,
    "min": torch.minimum,
}


class Merge(nn.Module):
    """Element-wise arithmetic of two or more tensors."""

    def __init__(self, operator: str) -> None:
        super().__init__()
        self.operator = operator

    def forward(self, *inputs: Tensor) -> Tensor:
        """Broadcast result."""
        operator = "add" if self.operator == "mean" else self.operator
        result = inputs[0]
        for other in inputs[1:]:
            result = ARITHMETIC[operator](result, other)
        return result / len(inputs) if self.operator == "mean" else result

    def extra_repr(self) -> str:
        """For `print`."""
        return self.operator


class Concatenate(nn.Module):
    """Joins tensors along an axis."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, *inputs: Tensor) -> Tensor:
        """The joined tensor."""
        return torch.cat(inputs, self.axis)


class Stack(nn.Module):
    """Planes (N, H, W) as channels of (N, C, H, W)."""

    def forward(self, *inputs: Tensor) -> Tensor:
        """The stacked tensor."""
        return torch.stack(inputs, 1)


class View(nn.Module):
    """A tensor rearranged: `permute`, `reshape`, `select` one channel, or `flip` the channels."""

    def __init__(self, kind: str, numbers: tuple[int, ...]) -> None:
        super().__init__()
        self.kind, self.numbers = kind, numbers

    def forward(self, x: Tensor) -> Tensor:
        """The same numbers, elsewhere."""
        if self.kind == "permute":
            return x.permute(self.numbers)
        if self.kind == "select":
            return x[:, self.numbers[0]]
        if self.kind == "flip":
            return x.flip(1)
        return x.flatten(1) if len(self.numbers) == 1 else x.reshape(-1, *self.numbers)

    def extra_repr(self) -> str:
        """For `print`."""
        return f"{self.kind} {self.numbers}"


class GlobalPool(nn.Module):
    """Mean or maximum over height and width."""

    def __init__(self, kind: str, *, keep: bool) -> None:
        super().__init__()
        self.kind, self.keep = kind, keep

    def forward(self, x: Tensor) -> Tensor:
        """(N, C), or (N, C, 1, 1) when kept."""
        return x.mean((2, 3), keepdim=self.keep) if self.kind == "mean" else x.amax((2, 3), keepdim=self.keep)


class Resize(nn.Module):
    """Bilinear interpolation to a fixed size, pixel centres at half coordinates, without antialiasing."""

    def __init__(self, size: tuple[int, ...]) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, height, width)."""
        return F.interpolate(x, self.size, mode="bilinear", align_corners=False)


class Nearest(nn.Module):
    """Nearest neighbours from one fixed size to another, chosen as TensorFlow chooses them.

    Which row is nearest follows from float32 rounding where two are equally near; torch's own interpolation
    rounds otherwise for some pairs of sizes, and neither ONNX nor OpenVINO has it.
    """

    def __init__(self, source: tuple[int, ...], size: tuple[int, ...]) -> None:
        super().__init__()
        self.source, self.size = source, size
        for name, count in zip(("rows", "columns"), size, strict=True):
            self.register_buffer(name, torch.empty(count, dtype=torch.long), persistent=False)
        self.fill()

    def fill(self) -> None:
        """Put the indices in place (again, after `to_empty`)."""
        for name, length, count in zip(("rows", "columns"), self.source, self.size, strict=True):
            step = np.float32(length) / np.float32(count)
            nearest = np.floor((np.arange(count, dtype=np.float32) + np.float32(0.5)) * step)
            index = np.minimum(nearest.astype(np.int64), length - 1)
            self.get_buffer(name).copy_(torch.tensor(index.tolist()))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, height, width)."""
        return x.index_select(2, self.get_buffer("rows")).index_select(3, self.get_buffer("columns"))


class Complement(nn.Module):
    """One probability as two: `(1 - p, p)`."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, 2) from (N, 1)."""
        return torch.cat([1 - x, x], 1)
