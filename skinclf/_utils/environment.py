"""The environment of a run: time and package versions."""

from __future__ import annotations

import math
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


def usable_cores() -> int:
    """Cores that this process may use: those it may run on, and no more than a container's share of processor time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(cores, _quota())))


def _quota(root: Path = Path("/sys/fs/cgroup")) -> float:
    """Processor seconds per second that the control group allows; infinite where nothing limits it."""
    try:
        if (root / "cpu.max").is_file():
            share, period = (root / "cpu.max").read_text(encoding="ascii").split()
        else:
            share = (root / "cpu" / "cpu.cfs_quota_us").read_text(encoding="ascii")
            period = (root / "cpu" / "cpu.cfs_period_us").read_text(encoding="ascii")
        return int(share) / int(period) if int(share) > 0 else math.inf
    except (OSError, ValueError):  # no such file, or the word `max`
        return math.inf


def cache_root() -> Path:
    """Folder of what skinclf keeps for this user between runs: `$SKINCLF_CACHE`, or its folder in the user's cache."""
    from platformdirs import user_cache_path

    own = os.environ.get("SKINCLF_CACHE")
    return Path(own) if own else user_cache_path("skinclf", appauthor=False)
