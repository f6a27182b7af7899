"""Memory allocator settings of glibc: freed blocks are kept for the next training step."""

from __future__ import annotations

import ctypes
import logging
import sys

log = logging.getLogger("skinclf")
# glibc's malloc.h
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_LARGE = 1 << 30


def keep_freed_memory() -> bool:
    """Tell glibc to keep large blocks instead of returning them to the system at once.

    Every step of training allocates the same gigabytes anew; handing them back and having them zeroed page by
    page costs a fifth of the time on a CPU. Other C libraries are left alone.

    Returns:
        Whether the C library accepted the settings.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        log.debug("The C library has no mallopt; freed memory goes back to the system.")
        return False
    settings = ((_MMAP_THRESHOLD, _LARGE), (_TRIM_THRESHOLD, 2 * _LARGE - 1), (_TOP_PAD, _LARGE // 4))
    taken = [mallopt(option, value) == 1 for option, value in settings]
    return all(taken)
