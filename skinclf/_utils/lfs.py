"""Git LFS pointers: the small texts that a clone holds in place of large files until they are fetched."""

from __future__ import annotations

from pathlib import Path

from skinclf.errors import ModelError

_START = b"version https://git-lfs"
#: What a pointer is, and what to do, for the end of a sentence.
ADVICE = "a Git LFS pointer, not the file itself. Fetch it with `git lfs pull`."


def is_pointer(head: bytes) -> bool:
    """Whether the first bytes of a file are those of a Git LFS pointer."""
    return head.startswith(_START)


def refuse_pointer(path: Path, head: bytes | None = None) -> None:
    """Refuse a Git LFS pointer; any other file passes, and one that cannot be read is left to its reader.

    Args:
        path: Path of the file, for the message.
        head: First bytes of the file; None reads them.

    Raises:
        ModelError: The file is a pointer.
    """
    if head is None:
        try:
            with path.open("rb") as file:
                head = file.read(len(_START))
        except OSError:
            return
    if is_pointer(head):
        raise ModelError(f"{path}: {ADVICE}")
