"""Finding images and tables by path or URI."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from skinclf.errors import InvalidArgumentError, MissingExtraError
from skinclf.images.decode import EXTENSIONS
from skinclf.images.discovery import Inputs, natural_key


def find_images(
    paths: Iterable[str | os.PathLike[str]], *, recursive: bool = False, filesystem: Any = None
) -> Iterator[str]:
    """Files, and the images of folders in natural order; local ones or URIs.

    Raises:
        InvalidArgumentError: A folder cannot be listed or holds no image.
    """
    for given in paths:
        path = os.fspath(given)
        if filesystem is None and "://" not in path:
            inputs = Inputs((path,), recursive=recursive)
            inputs.check()
            yield from inputs
        else:
            yield from find_files([path], endings=EXTENSIONS, recursive=recursive, filesystem=filesystem)


def find_files(
    paths: Iterable[str | os.PathLike[str]],
    *,
    endings: Iterable[str],
    recursive: bool = False,
    filesystem: Any = None,
) -> Iterator[str]:
    """Files, and those of folders with one of the endings (lower case); hidden ones are left out.

    The order is that of `skinclf.images.discovery.scan_directory`: natural, files before subfolders.

    Raises:
        InvalidArgumentError: A folder cannot be listed or holds no such file.
        MissingExtraError: pyarrow is not installed.
    """
    known = frozenset(endings)
    for given in paths:
        path = os.fspath(given)
        inner, is_file = _listing(path, filesystem, recursive=recursive)
        if is_file:
            yield path
            continue
        names = [
            name
            for name in inner
            if PurePosixPath(name).suffix.lower() in known and not any(p[0] == "." for p in name.split("/"))
        ]
        if not names:
            raise InvalidArgumentError(
                f"No images or tables in {path}; endings taken: {' '.join(sorted(known))}."
            )
        for name in sorted(names, key=_scan_key):
            yield f"{path.rstrip('/')}/{name}"


def place(path: str, filesystem: Any) -> tuple[Any, str]:
    """The pyarrow filesystem of a path or URI, and the path on it.

    Raises:
        MissingExtraError: pyarrow is not installed.
        OSError: The scheme is unknown (or an `ArrowException`).
    """
    try:
        from pyarrow.fs import FileSystem, LocalFileSystem
    except ImportError:
        raise MissingExtraError("ray", "Reading from remote storage") from None
    if filesystem is not None:
        return filesystem, path
    if "://" not in path:
        return LocalFileSystem(), Path(path).absolute().as_posix()
    found: tuple[Any, str] = FileSystem.from_uri(path)
    return found


def _listing(path: str, filesystem: Any, *, recursive: bool) -> tuple[list[str], bool]:
    """Names of the files in a folder, or whether it is a file itself."""
    try:
        storage, inside = place(path, filesystem)
        from pyarrow.fs import FileSelector, FileType

        if storage.get_file_info(inside).type == FileType.File:
            return [], True
        found = storage.get_file_info(FileSelector(inside, recursive=recursive))
    except MissingExtraError:
        raise
    except Exception as error:  # every storage has errors of its own
        raise InvalidArgumentError(f"{path}: cannot be listed: {' '.join(str(error).split())}") from None
    base = len(inside.rstrip("/")) + 1 if inside.rstrip("/") else 0
    return [info.path[base:] for info in found if info.type == FileType.File], False


def _scan_key(name: str) -> list[tuple[int, tuple[str, str]]]:
    *folders, file = name.split("/")
    return [*((1, natural_key(folder)) for folder in folders), (0, natural_key(file))]
