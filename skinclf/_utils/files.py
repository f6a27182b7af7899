"""Files: written whole or not at all, copied, hashed; the error of a path that cannot be written."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skinclf.errors import OutputError

_BLOCK = 1 << 20


@contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Turn an operating system error in the body into an `OutputError` that names `path`.

    Raises:
        OutputError: The body raised an OSError; an `OutputError` passes as it is.
    """
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}.") from None


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all.

    Raises:
        OutputError: The file cannot be written.
    """
    with writing(path):
        replace_file(path, data)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all.

    Raises:
        OutputError: The file cannot be written.
    """
    write_bytes(path, text.encode())


def replace_file(path: Path, data: bytes) -> None:
    """Replace the content of a file, so that a reader sees the old content or the new, never half of it.

    Raises:
        OSError: The file cannot be written.
    """
    with _partial(path) as partial, partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def copy_file(source: Path, target: Path) -> Path:
    """Copy a file, whole or not at all; the folder of `target` is made.

    Returns:
        The target.

    Raises:
        OSError: The source cannot be read or the target cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with _partial(target) as partial:
        shutil.copyfile(source, partial)
    return target


@contextmanager
def _partial(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place when the body has ended without an error."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def sha256_file(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    return hash_file(path)[0]


def hash_file(path: Path, declared: str | None = None) -> tuple[str, bool]:
    """SHA-256 of a file, in hex, and whether the file has the declared hash.

    Args:
        path: File to hash.
        declared: Expected hash: 64 digits for SHA-256 of the content, 40 for git's SHA-1 of it as a blob; None
            accepts any content.
    """
    sha256 = hashlib.sha256()
    git = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    hashers = (sha256, git) if declared is not None and len(declared) == 40 else (sha256,)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            for hasher in hashers:
                hasher.update(block)
    return sha256.hexdigest(), declared is None or declared == hashers[-1].hexdigest()
