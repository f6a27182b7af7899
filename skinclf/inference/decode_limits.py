"""Limits of a decode process: memory and processor time that one image may take, where the platform has them."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_STATM = Path("/proc/self/statm")


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeLimits:
    """What decoding one image may take in a decode process; beyond it, the image is a failed row.

    Attributes:
        memory: Bytes of address space beyond what the process has without an image (Linux).
        seconds: Seconds of processor time (Linux and macOS).
    """

    memory: int = 2 * 1024**3
    seconds: int = 30

    def limit_memory(self) -> None:
        """Limit the address space of this process to what it has now and `memory`."""
        resource = _resource()
        if resource is None or not _STATM.exists():
            return
        pages = int(_STATM.read_text(encoding="ascii").split()[0])
        _set(resource, resource.RLIMIT_AS, pages * resource.getpagesize() + self.memory)
        _set(resource, resource.RLIMIT_CORE, 0)

    def limit_time(self) -> None:
        """Let this process go on for `seconds` of processor time from now."""
        resource = _resource()
        if resource is not None:
            _set(resource, resource.RLIMIT_CPU, int(time.process_time()) + 1 + self.seconds)


def _resource() -> Any:
    """The module `resource`, or None on Windows."""
    try:
        import resource
    except ImportError:
        return None
    return resource


def _set(resource: Any, kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    with suppress(ValueError, OSError):  # a stricter limit from outside stays
        resource.setrlimit(kind, (value, hard))
