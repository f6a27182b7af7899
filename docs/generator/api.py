"""One page for each room of the SDK, with the names that its `__all__` makes public."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import skinclf

SDK = Path(skinclf.__file__).parent


def rooms() -> list[str]:
    """Full names of the modules whose `__all__` is documented: the package, its rooms and its public modules."""
    packages = sorted(p.parent.name for p in SDK.glob("[a-z]*/__init__.py"))
    return ["skinclf", *(f"skinclf.{name}" for name in [*packages, "labels", "errors"])]


def public_names(room: str) -> list[str]:
    """Public names of a room; of a module without `__all__`, the classes and functions that it defines."""
    module = importlib.import_module(room)
    if hasattr(module, "__all__"):
        return [name for name in module.__all__ if not name.startswith("__")]
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == room
    ]


def pages() -> dict[str, str]:
    """Name of a page to its text."""
    made = {}
    for room in rooms():
        made[f"api/{room}.md"] = _page(room)
    toctree = "\n".join(rooms())
    rows = "".join(
        f"| [`{room}`]({room}.md) | {_summary(room)} | {', '.join(f'`{n}`' for n in public_names(room))} |\n"
        for room in rooms()
    )
    made["api/index.md"] = (
        "# Python interface\n\nThe names of `__all__`; everything else may change without notice. Names of\n"
        "`skinclf` are also importable from their rooms.\n\n"
        f"| module | content | public names |\n|---|---|---|\n{rows}\n"
        f"```{{toctree}}\n:hidden:\n\n{toctree}\n```\n"
    )
    return made


def _summary(room: str) -> str:
    return (importlib.import_module(room).__doc__ or "").strip().splitlines()[0]


def _page(room: str) -> str:
    blocks = [_block(room, name) for name in public_names(room)]
    return f"# {room}\n\n{_summary(room)}\n\n```{{eval-rst}}\n.. currentmodule:: {room}\n\n{''.join(blocks)}```\n"


def _block(room: str, name: str) -> str:
    value = getattr(importlib.import_module(room), name)
    # The package repeats names of the rooms: one of both pages is the target of links.
    again = "   :no-index:\n" if room == "skinclf" and _in_a_room(name) else ""
    if inspect.isclass(value):
        members = "" if issubclass(value, BaseException) else "   :members:\n"
        return f".. autoclass:: {name}\n{members}{again}\n"
    if inspect.isroutine(value):
        return f".. autofunction:: {name}\n{again}\n"
    return f".. autodata:: {name}\n   :no-value:\n{again}\n"


def _in_a_room(name: str) -> bool:
    return any(name in public_names(room) for room in rooms()[1:])
