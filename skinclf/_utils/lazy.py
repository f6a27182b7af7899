"""Public names of a package that are imported when they are first used.

A package's `__init__.py` holds its names three times, which `tests/house/test_public_names.py` compares: in a sorted
`__all__` for readers, in imports under `TYPE_CHECKING` for type checkers, and in its call of `lazy_names`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def lazy_names(
    package: str, names: Mapping[str, Sequence[str]], *, submodules: Sequence[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The functions `__getattr__` and `__dir__` of a package whose names are imported on first use.

    A public name must not be the name of one of the package's modules: importing the module would replace it.

    Args:
        package: Name of the package, `__name__`.
        names: Module to the public names that it defines.
        submodules: Modules and packages inside `package` that are attributes too, without being imported first.
    """
    places = {name: module for module, defined in names.items() for name in defined}

    def __getattr__(name: str) -> Any:  # noqa: N807 - the name that Python calls
        if name in places:
            value = getattr(import_module(places[name]), name)
        elif name in submodules:
            value = import_module(f"{package}.{name}")
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        setattr(sys.modules[package], name, value)
        return value

    def __dir__() -> list[str]:  # noqa: N807 - the name that Python calls
        return sorted({*vars(sys.modules[package])["__all__"], *submodules})

    return __getattr__, __dir__
