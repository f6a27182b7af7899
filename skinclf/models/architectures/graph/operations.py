"""The operations a graph may name, each built from checked arguments; nothing else can be built.

Plain `torch.nn` modules wherever they mean exactly the same, so that channels_last, autocast, compilation
and batch-norm fusing work as on any hand-written network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from skinclf.errors import ModelError
from skinclf.models.architectures.graph import activations as act
from skinclf.models.architectures.graph import modules as own
from skinclf.models.architectures.graph.arguments import Arguments
from skinclf.models.architectures.graph.form import MAX_SIDE

Args = Arguments
_MAX_CONSTANTS = 4096


def _conv(a: Args) -> nn.Module:
    return nn.Conv2d(
        a.integer("in"),
        a.integer("out"),
        a.pair("kernel"),
        a.pair("stride", (1, 1)),
        a.pair("pad", (0, 0), low=0),
        a.pair("dilation", (1, 1)),
        a.integer("groups", 1),
        bias=a.flag("bias", True),
    )


def _pool(kind: str) -> Callable[[Args], nn.Module]:
    def make(a: Args) -> nn.Module:
        return own.Pool(
            kind, a.integers("kernel", 2), a.integers("stride", 2), a.integers("pad", 4, (0,) * 4, low=0)
        )

    return make


def _batch_norm(a: Args) -> nn.Module:
    kind = nn.BatchNorm2d if a.flag("image", True) else nn.BatchNorm1d
    return kind(a.integer("size"), eps=a.number("epsilon"))


#: Operations that a graph may name, each with the function that builds it.
OPERATIONS: Mapping[str, Callable[[Args], nn.Module]] = {
    "conv": _conv,
    "linear": lambda a: nn.Linear(a.integer("in"), a.integer("out"), bias=a.flag("bias", True)),
    "batch_norm": _batch_norm,
    "layer_norm": lambda a: own.LayerNorm(
        a.integers("shape", None),
        a.number("epsilon"),
        image=a.flag("image", True),
        affine=a.flag("affine", True),
    ),
    "prelu": lambda a: own.PReLU(a.integers("shape", None)),
    "max_pool": _pool("max"),
    "avg_pool": _pool("mean"),
    "global_mean": lambda a: own.GlobalPool("mean", keep=a.flag("keep", False)),
    "global_max": lambda a: own.GlobalPool("max", keep=a.flag("keep", False)),
    "entries": lambda a: own.Entries(a.integer("width", high=_MAX_CONSTANTS)),
    "pad": lambda a: own.Pad(a.integers("pad", 4, low=-(1 << 16), high=1 << 16)),
    "constant": lambda a: own.Constant(
        a.choice("op", own.ARITHMETIC),
        a.numbers("value", most=_MAX_CONSTANTS),
        a.integer("axis", 1, low=-1, high=1),
    ),
    "merge": lambda a: own.Merge(a.choice("op", {"add", "sub", "mul", "div", "max", "min", "mean"})),
    "concat": lambda a: own.Concatenate(a.integer("axis", 1, high=8)),
    "stack": lambda _: own.Stack(),
    "permute": lambda a: own.View("permute", a.integers("axes", None, low=0, high=8)),
    "reshape": lambda a: own.View("reshape", a.integers("shape", None)),
    "select": lambda a: own.View("select", (a.integer("channel", low=0),)),
    "flip": lambda _: own.View("flip", ()),
    "resize": lambda a: own.Resize(a.integers("size", 2, high=MAX_SIDE)),
    "nearest": lambda a: own.Nearest(
        a.integers("from", 2, high=MAX_SIDE), a.integers("size", 2, high=MAX_SIDE)
    ),
    "complement": lambda _: own.Complement(),
    **act.ACTIVATIONS,
}


def build_operation(owner: str, op: str, values: Mapping[str, Any]) -> nn.Module:
    """One operation's module.

    Args:
        owner: The layer's name, for messages.
        op: Key of `OPERATIONS`.
        values: Arguments of the operation.

    Raises:
        ModelError: The operation is unknown, or an argument is missing, unknown or out of range.
    """
    make = OPERATIONS.get(op)
    if make is None:
        raise ModelError(f"{owner}: unknown operation {str(op)[:40]!r}.")
    arguments = Arguments(f"{owner} ({op})", values)
    try:
        module = make(arguments)
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"{owner} ({op}): {error}") from None
    arguments.done()
    return module
