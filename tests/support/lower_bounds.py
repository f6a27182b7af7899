"""The lower bounds of pyproject.toml as a constraints file for pip.

Usage: python tests/support/lower_bounds.py > tests/oldest.txt
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
HEADER = """\
# The oldest versions that pyproject.toml admits, one for each package. `make test-oldest` installs these.
# Written by: python tests/support/lower_bounds.py > tests/oldest.txt
"""
_BOUND = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(\[[^]]*\])?\s*>=\s*(?P<version>[0-9][0-9.]*)")
# What a contributor works with, and extras made of extras.
_LEFT_OUT = {"dev", "all"}


def lower_bounds(pyproject: str) -> dict[str, str]:
    """Read the lower bound of every package that users install.

    Args:
        pyproject: Text of `pyproject.toml`.

    Returns:
        Version by package name, sorted by name.

    Raises:
        ValueError: A requirement has no lower bound, or a package has two.
    """
    project = tomllib.loads(pyproject)["project"]
    requirements: list[str] = list(project["dependencies"])
    for extra, wanted in project["optional-dependencies"].items():
        if extra not in _LEFT_OUT:
            requirements += wanted
    bounds: dict[str, str] = {}
    for requirement in requirements:
        found = _BOUND.match(requirement)
        if not found:
            raise ValueError(f"{requirement}: no lower bound")
        name, version = found["name"].lower().replace("_", "-"), found["version"]
        if bounds.setdefault(name, version) != version:
            raise ValueError(f"{name}: two lower bounds, {bounds[name]} and {version}")
    return dict(sorted(bounds.items()))


def constraints(pyproject: str) -> str:
    """Write the constraints file: `name==version`, one a line."""
    return HEADER + "".join(f"{name}=={version}\n" for name, version in lower_bounds(pyproject).items())


if __name__ == "__main__":
    sys.stdout.write(constraints((ROOT / "pyproject.toml").read_text(encoding="utf-8")))
