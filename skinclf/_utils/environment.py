"""The environment of a run: time and package versions."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

from skinclf._version import __version__

_PACKAGES = ("torch", "timm", "openvino", "onnxruntime", "tensorflow", "keras", "numpy", "pillow")


def now() -> str:
    """Current time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Versions of Python, the platform and the packages that affect numbers, read without importing them."""
    from importlib import metadata

    found = {"skinclf": __version__, "python": platform.python_version(), "platform": platform.platform()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def cache_root() -> Path:
    """Folder of what skinclf keeps for this user between runs: `$SKINCLF_CACHE`, or its folder in the user's cache."""
    from platformdirs import user_cache_path

    own = os.environ.get("SKINCLF_CACHE")
    return Path(own) if own else user_cache_path("skinclf", appauthor=False)
