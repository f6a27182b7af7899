"""The environment of a run: time and package versions."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib import metadata

from skinclf._version import __version__

_PACKAGES = ("torch", "timm", "openvino", "onnxruntime", "tensorflow", "keras", "numpy", "pillow")


def now() -> str:
    """Current time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Versions of Python, the platform and the packages that affect numbers, read without importing them."""
    found = {"skinclf": __version__, "python": platform.python_version(), "platform": platform.platform()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
