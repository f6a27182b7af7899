"""Limits of decoding: memory and processor time of one image in a process, and memory of all images at once."""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

#: Bytes of pixels that all workers together hold; six photographs of 6000 x 4000.
IN_FLIGHT = 600 * 1024**2
#: Pictures of fewer bytes are not counted: 16 of them are less than a large one.
SMALL = 8 * 1024**2
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


class DecodeMemory:
    """Bytes of pixels that workers may hold at once; a picture waits, in order, until there is room for it.

    One that needs more than `most` is decoded alone, so that no worker waits for ever.

    Args:
        most: Bytes for all workers together.
    """

    def __init__(self, most: int = IN_FLIGHT) -> None:
        self._most, self._held = most, 0
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()

    @contextmanager
    def share(self) -> Iterator[Share]:
        """The share of one image, empty at first; what it holds is given back at the end."""
        share = Share(self)
        try:
            yield share
        finally:
            share.release()

    def take(self, count: int) -> None:
        """Wait for so many bytes."""
        count, place = min(count, self._most), object()
        with self._changed:
            self._waiting.append(place)
            self._changed.wait_for(lambda: self._waiting[0] is place and self._held + count <= self._most)
            self._waiting.popleft()
            self._held += count
            self._changed.notify_all()

    def give(self, count: int) -> None:
        """Give bytes back."""
        with self._changed:
            self._held -= min(count, self._most)
            self._changed.notify_all()


class Share:
    """What one image holds of a `DecodeMemory`."""

    def __init__(self, memory: DecodeMemory) -> None:
        self._memory, self._held = memory, 0

    def ask(self, count: int) -> None:
        """Hold at least so many bytes; waits for room.

        An image that is decoded again and needs more gives back what it has first, so that two never wait for each
        other.
        """
        if count <= max(self._held, SMALL):
            return
        self.release()
        self._memory.take(count)
        self._held = count

    def release(self) -> None:
        """Give back what is held."""
        if self._held:
            _trim()
            self._memory.give(self._held)
            self._held = 0


@cache
def _c_library() -> Any:
    """The C library, where it can be told to give freed memory back; None elsewhere."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return library if hasattr(library, "malloc_trim") else None


def _trim() -> None:
    """Give freed memory back to the system: glibc keeps that of a large picture, for each thread that decoded one."""
    library = _c_library()
    if library is not None:
        library.malloc_trim(0)


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
