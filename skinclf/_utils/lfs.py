"""Git LFS pointers: the small texts that a clone holds in place of large files until they are fetched."""

from __future__ import annotations

from pathlib import Path

from skinclf.errors import ModelError

_START = b"version https://git-lfs"


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
    if head.startswith(_START):
        raise ModelError(f"{path}: a Git LFS pointer, not the file itself. Fetch it with `git lfs pull`.")
