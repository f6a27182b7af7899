"""Finding images by path or URI."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any

from skinclf.errors import InvalidInputError, MissingExtraError
from skinclf.images import EXTENSIONS
from skinclf.inputs import Inputs, natural_key


def find_images(
    paths: Iterable[str | os.PathLike[str]], *, recursive: bool = False, filesystem: Any = None
) -> Iterator[str]:
    """Files, and the images of folders in natural order; local ones or URIs.

    Raises:
        InvalidInputError: A folder cannot be listed or holds no image.
    """
    for given in paths:
        path = os.fspath(given)
        if filesystem is None and "://" not in path:
            inputs = Inputs((path,), recursive=recursive)
            inputs.check()
            yield from inputs
        else:
            yield from _list_remote(path, filesystem, recursive=recursive)


def _list_remote(path: str, filesystem: Any, *, recursive: bool) -> Iterator[str]:
    try:
        from pyarrow import ArrowException
        from pyarrow.fs import FileSelector, FileSystem, FileType
    except ImportError:
        raise MissingExtraError("ray", "Reading from remote storage") from None

    try:
        inside = path
        if filesystem is None:
            filesystem, inside = FileSystem.from_uri(path)
        if filesystem.get_file_info(inside).type == FileType.File:
            yield path
            return
        found = filesystem.get_file_info(FileSelector(inside, recursive=recursive))
    except (OSError, ArrowException) as error:
        raise InvalidInputError(f"{path}: cannot be listed: {' '.join(str(error).split())}") from None
    base = len(inside.rstrip("/")) + 1
    names = [info.path[base:] for info in found if info.type == FileType.File]
    images = [
        name
        for name in names
        if PurePosixPath(name).suffix.lower() in EXTENSIONS
        and not any(p.startswith(".") for p in name.split("/"))
    ]
    if not images:
        raise InvalidInputError(f"No images in {path}; extensions taken: {' '.join(sorted(EXTENSIONS))}.")
    for name in sorted(images, key=_scan_key):
        yield f"{path.rstrip('/')}/{name}"


def _scan_key(name: str) -> list[tuple[int, tuple[str, str]]]:
    """The order of a local scan: natural, files before subfolders."""
    *folders, file = name.split("/")
    return [*((1, natural_key(folder)) for folder in folders), (0, natural_key(file))]
