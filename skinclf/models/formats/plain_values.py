"""Values that training scripts store beside weights (NumPy numbers, Namespace, paths), read without their classes.

Each name below stands for a function or class of this module: nothing of NumPy, of the standard library or of a
configuration package is imported or called for a file.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
import torch

#: Numbers and texts of fixed size; an object dtype is none of them.
_NUMBER = re.compile(r"b1|[iu][1248]|f[248]|c8|c16|[US]\d{1,4}|[mM]8")


class PlainObject:
    """An object of which nothing is used: it accepts its arguments and its state, and does nothing."""

    def __new__(cls, *_args: Any) -> Self:
        """Make the object from any arguments."""
        return object.__new__(cls)

    def __init__(self, *_args: Any) -> None:
        """Take any arguments."""

    def __setstate__(self, _state: Any) -> None:
        """Take any state."""


class _Dtype(PlainObject):
    """A NumPy dtype by its code and byte order."""

    def __init__(self, code: Any = "", *_args: Any) -> None:
        self.code = code if isinstance(code, str) else ""
        self.order = "<"

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] in {"<", ">"}:
            self.order = state[1]


class _Mapping(PlainObject):
    """A dictionary of another class: its items in a plain one, which is what the unpickler fills."""

    def __new__(cls, *_args: Any) -> OrderedDict[Any, Any]:  # type: ignore[misc]  # that is the purpose
        return OrderedDict()


def _scalar(dtype: Any = None, raw: Any = None, *_args: Any) -> Any:
    """A NumPy number as Python's."""
    if not isinstance(dtype, _Dtype) or not _NUMBER.fullmatch(dtype.code) or not isinstance(raw, bytes):
        return PlainObject()
    kind = np.dtype(dtype.code).newbyteorder(dtype.order)  # type: ignore[arg-type]  # order is < or >
    return (
        np.frombuffer(raw, kind)[0].item() if kind.itemsize and len(raw) == kind.itemsize else PlainObject()
    )


def _dictionary(*_args: Any) -> OrderedDict[Any, Any]:
    return OrderedDict()


def _sequence(*_args: Any) -> list[Any]:
    return []


def _path(*parts: Any) -> str:
    return "/".join(str(part) for part in parts if isinstance(part, str))


def _names(modules: str, classes: str) -> list[str]:
    return [f"{module}.{name}" for module in modules.split() for name in classes.split()]


def _known() -> Iterator[tuple[Callable[..., Any], str]]:
    numpy = "numpy.core.multiarray numpy._core.multiarray"
    kinds: list[tuple[Callable[..., Any], list[str]]] = [
        (_scalar, _names(numpy, "scalar")),
        (_Dtype, ["numpy.dtype"]),
        (PlainObject, [*_names(numpy, "_reconstruct"), "numpy.ndarray"]),
        (
            PlainObject,
            _names("numpy", "float64 float32 float16 int64 int32 int16 int8 uint8 uint32 uint64 bool_ bool"),
        ),
        (_dictionary, ["collections.defaultdict"]),
        (_Mapping, _names("easydict", "EasyDict")),
        (_Mapping, _names("addict addict.addict", "Dict")),
        (_Mapping, ["yacs.config.CfgNode", "ml_collections.config_dict.config_dict.ConfigDict"]),
        (
            _Mapping,
            _names(
                "lightning.fabric.utilities.data lightning_fabric.utilities.data "
                "pytorch_lightning.utilities.parsing lightning.pytorch.utilities.parsing",
                "AttributeDict",
            ),
        ),
        (PlainObject, ["argparse.Namespace", "types.SimpleNamespace"]),
        (PlainObject, _names("builtins", "list dict tuple int float str bool frozenset slice range")),
        (
            _path,
            _names(
                "pathlib pathlib._local", "Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath"
            ),
        ),
        (PlainObject, _names("datetime", "datetime date time timedelta timezone")),
        (
            PlainObject,
            ["decimal.Decimal", "fractions.Fraction", "uuid.UUID", "torch.torch_version.TorchVersion"],
        ),
        (_sequence, ["collections.deque"]),
        (PlainObject, ["omegaconf.dictconfig.DictConfig", "omegaconf.listconfig.ListConfig", "typing.Any"]),
        (PlainObject, _names("omegaconf.base", "ContainerMetadata Metadata")),
        (
            PlainObject,
            _names(
                "omegaconf.nodes", "AnyNode IntegerNode FloatNode StringNode BooleanNode PathNode EnumNode"
            ),
        ),
    ]
    for value, names in kinds:
        for name in names:
            yield value, name


@contextmanager
def plain_values_allowed() -> Iterator[None]:
    """Let `torch.load(weights_only=True)` pass over the values that are known to stand beside weights."""
    with torch.serialization.safe_globals(list(_known())):
        yield
