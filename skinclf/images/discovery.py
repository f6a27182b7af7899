"""Finding inputs: files, folders, lists and standard input, lazily and in a stable natural order.

The name of an input, which lands in the `image` column, is its path as given, or the given folder joined
with where in it the file was found.
"""

from __future__ import annotations

import heapq
import json
import logging
import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import IO

from skinclf.errors import InvalidArgumentError, SkinclfError
from skinclf.images.decode import EXTENSIONS

logger = logging.getLogger("skinclf")
_DIGITS = re.compile(r"\d+")
#: Names sorted in memory at once; longer listings are sorted in runs of this length on disk.
_RUN = 4_000
#: Bytes read of a run at a time.
_BLOCK = 4096


def natural_key(name: str) -> tuple[str, str]:
    """Sort key under which `img2` comes before `img10`; total, and short, as there may be millions."""
    # A run of digits is led by its length, so that text order is the order of the numbers.
    return _DIGITS.sub(_ranked, name), name


def _ranked(match: re.Match[str]) -> str:
    digits = match.group().lstrip("0")
    return f"0{chr(48 + len(digits))}{digits}"


def sort_names(names: Iterable[str]) -> Iterator[str]:
    """Names in natural order; memory stays bounded, as long listings go through a temporary file."""
    iterator = iter(names)
    run = sorted(islice(iterator, _RUN), key=natural_key)
    if len(run) < _RUN:
        yield from run
        return
    # One file for all runs: ten million names would need more open files than a process may have.
    with tempfile.TemporaryFile() as file:
        ends = [0]
        while run:
            file.writelines(json.dumps(name).encode() + b"\n" for name in run)
            ends.append(file.tell())
            run = sorted(islice(iterator, _RUN), key=natural_key)
        yield from heapq.merge(*(_read_run(file, *part) for part in pairwise(ends)), key=natural_key)


def _read_run(file: IO[bytes], start: int, end: int) -> Iterator[str]:
    """The names between two positions, read in small pieces whatever other runs read in between."""
    rest = b""
    while start < end:
        file.seek(start)
        block = file.read(min(_BLOCK, end - start))
        start += len(block)
        *lines, rest = (rest + block).split(b"\n")
        yield from map(json.loads, lines)


def scan_directory(folder: str | os.PathLike[str], *, recursive: bool = False) -> Iterator[str]:
    """Image files of a folder, known by extension, in natural order; hidden files are left out.

    Files come before subfolders. Symbolic links to folders are not followed, so a scan always ends. What else lies
    there is counted in a warning at the end, so that nobody takes a file for predicted that was never looked at.

    Yields:
        Paths that begin with the folder as given.

    Raises:
        InvalidArgumentError: The folder is not there or cannot be listed.
        SkinclfError: A folder inside it cannot be listed.
    """
    top = os.fspath(folder)
    stack, others = [top], Counter[str]()
    while stack:
        here = stack.pop()
        subfolders: list[str] = []
        try:
            for name in sort_names(_image_names(here, subfolders, others)):
                yield os.path.join(here, name)  # noqa: PTH118 - millions of names
        except OSError as error:
            kind = InvalidArgumentError if here == top else SkinclfError
            raise kind(f"{here}: this folder cannot be listed: {error.strerror or error}.") from None
        if recursive:
            subfolders.sort(key=natural_key, reverse=True)
            stack += [os.path.join(here, name) for name in subfolders]  # noqa: PTH118
    if others:
        ranked = sorted(others.items(), key=lambda item: (-item[1], item[0]))
        kinds = ", ".join(f"{n:,} {kind or 'without an extension'}" for kind, n in ranked[:5])
        more = ", ..." if len(others) > 5 else ""
        logger.warning("%s: other files left out: %s%s.", top, kinds, more)


def _walk(top: str, *, recursive: bool) -> Iterator[str]:
    """Names of images in no order, to count them or to see whether there is one."""
    stack = [top]
    while stack:
        here, subfolders = stack.pop(), list[str]()
        yield from _image_names(here, subfolders)
        if recursive:
            stack += [os.path.join(here, name) for name in subfolders]  # noqa: PTH118


def _image_names(folder: str, subfolders: list[str], others: Counter[str] | None = None) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                subfolders.append(entry.name)
                continue
            kind = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122
            if kind in EXTENSIONS:
                yield entry.name
            elif others is not None:
                others[kind] += 1


def read_list(file: IO[bytes]) -> Iterator[str]:
    """Paths from a stream, one a line, or separated by NUL as `find -print0` writes them.

    Blank lines are skipped, spaces inside names kept; a byte order mark at the start is dropped.
    """
    separator, rest, first = b"\n", b"", True
    # `read1` hands over what a slow producer has written so far.
    while block := getattr(file, "read1", file.read)(1 << 16):
        if first:
            block, first = block.removeprefix(b"\xef\xbb\xbf"), False
        if b"\0" in block and separator == b"\n":
            separator = b"\0"
        *lines, rest = (rest + block).split(separator)
        yield from filter(None, (_path(line, separator) for line in lines))
    if name := _path(rest, separator):
        yield name


def _path(line: bytes, separator: bytes) -> str:
    if separator == b"\n":
        line = line.rstrip(b"\r")
    return line.decode("utf-8", "surrogateescape") if line.strip() else ""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What is to be predicted, found lazily each time it is iterated over.

    Attributes:
        paths: Files and folders, in this order; a folder stands for its images.
        listing: A file that holds paths (see `read_list`), or an open binary stream.
        recursive: Whether folders are searched to the bottom.
    """

    paths: Sequence[str | os.PathLike[str]] = ()
    listing: Path | IO[bytes] | None = None
    recursive: bool = False

    @property
    def roots(self) -> tuple[str, ...]:
        """The folders among `paths`."""
        return tuple(os.fspath(p) for p in self.paths if os.path.isdir(p))  # noqa: PTH112

    def __iter__(self) -> Iterator[str]:
        for path in self.paths:
            if os.path.isdir(path):  # noqa: PTH112 - keeps the name as given
                yield from scan_directory(path, recursive=self.recursive)
            else:
                yield os.fspath(path)
        if isinstance(self.listing, Path):
            with self.listing.open("rb") as file:
                yield from read_list(file)
        elif self.listing is not None:
            yield from read_list(self.listing)

    def check(self) -> None:
        """Fail early where there is nothing to predict.

        Raises:
            InvalidArgumentError: The paths hold no image, or the list is not there.
        """
        if isinstance(self.listing, Path) and not self.listing.is_file():
            raise InvalidArgumentError(f"{self.listing}: no such list.")
        if self.listing is not None or len(self.roots) < len(self.paths):
            return
        if not self.paths:
            raise InvalidArgumentError("Nothing to predict: name images, a folder or a list.")
        try:
            found = any(next(_walk(root, recursive=self.recursive), None) for root in self.roots)
        except OSError as error:
            raise InvalidArgumentError(f"{error.filename}: cannot be listed: {error.strerror}.") from None
        if not found:
            hint = "" if self.recursive else " directly inside (--recursive searches subfolders)"
            known = " ".join(sorted(EXTENSIONS))
            raise InvalidArgumentError(
                f"No images in {', '.join(self.roots)}{hint}; extensions taken: {known}."
            )

    def count(self) -> int | None:
        """How many inputs there are, for progress; None when only reading a stream would tell."""
        if isinstance(self.listing, Path):
            with self.listing.open("rb") as file:
                return sum(1 for _ in read_list(file))
        if self.listing is not None:
            return None
        roots = self.roots
        inside = sum(1 for root in roots for _ in _walk(root, recursive=self.recursive))
        return inside + len(self.paths) - len(roots)
