"""Finding images and tables by path or URI."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from skinclf._utils.natural_order import natural_key
from skinclf.errors import InvalidArgumentError, MissingExtraError
from skinclf.images.decode import EXTENSIONS
from skinclf.images.discovery import Inputs


def find_images(
    paths: Iterable[str | os.PathLike[str]], *, recursive: bool = False, filesystem: Any = None
) -> Iterator[str]:
    """Paths of files and of the images in folders, local or remote, in natural order.

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
    """Paths of files, and of the files in folders that have a known extension; hidden ones are left out.

    The order is that of `skinclf.images.discovery.scan_directory`: natural, files before subfolders.

    Args:
        paths: Files and folders: local paths or URIs.
        endings: Extensions in lower case, such as `.jpg`.
        recursive: Whether subfolders are searched too.
        filesystem: A `pyarrow.fs.FileSystem` for all paths; None takes that of each path's scheme.

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
                f"No images or tables in {path}; known extensions: {' '.join(sorted(known))}."
            )
        for name in sorted(names, key=_scan_key):
            yield f"{path.rstrip('/')}/{name}"


def resolve_path(path: str, filesystem: Any) -> tuple[Any, str]:
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
    """Names of the files in a folder, and whether the path is a file itself."""
    try:
        storage, inside = resolve_path(path, filesystem)
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
