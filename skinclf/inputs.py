"""Finding inputs: folders, lists and standard input, lazily and in a stable natural order."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from skinclf.errors import InvalidInputError
from skinclf.images import EXTENSIONS

_DIGITS = re.compile(r"(\d+)")


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key under which `img2` comes before `img10`; total and stable."""
    parts = _DIGITS.split(name)
    return tuple((0, int(p), p) if i % 2 else (1, 0, p) for i, p in enumerate(parts) if p)


def scan_directory(folder: Path, *, recursive: bool = False) -> Iterator[Path]:
    """Image files of a folder, known by extension, in natural order; hidden files are left out.

    Files come before subfolders. Symbolic links to folders are not followed, so a scan always ends.

    Raises:
        InvalidInputError: The folder is not there or cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            found = [(e.name, e.is_dir(follow_symlinks=False)) for e in entries if not e.name.startswith(".")]
    except OSError as error:
        raise InvalidInputError(f"{folder}: not a folder that can be listed: {error.strerror}.") from None
    found.sort(key=lambda entry: natural_key(entry[0]))
    for name, is_folder in found:
        if not is_folder and os.path.splitext(name)[1].lower() in EXTENSIONS:  # noqa: PTH122 - millions of names
            yield folder / name
    if recursive:
        for name, is_folder in found:
            if is_folder:
                yield from scan_directory(folder / name, recursive=True)


def read_list(file: IO[str]) -> Iterator[Path]:
    """Paths from a text stream, one a line; blank lines are skipped, spaces inside names kept."""
    for line in file:
        name = line.rstrip("\r\n")
        if name.strip():
            yield Path(name)


def expand(paths: Iterable[Path], *, recursive: bool = False) -> Iterator[Path]:
    """Files as given, folders by their images."""
    for path in paths:
        if path.is_dir():
            yield from scan_directory(path, recursive=recursive)
        else:
            yield path
