"""Discovery of input images in files, folders, lists and streams, lazily and in a stable natural order.

The name of an input, which becomes its cell in the column `image`, is its path as given, or the given folder joined
with the path of the file inside it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from skinclf._utils.natural_order import natural_key, sort_names
from skinclf.errors import InvalidArgumentError, SkinclfError
from skinclf.images.decode import NOT_READ, is_address
from skinclf.images.dicom.frame_names import Frames, frame_names
from skinclf.images.formats import (
    HEIF_ADVICE,
    HEIF_ENDINGS,
    has_heif,
    is_dicom_without_ending,
    readable_endings,
)
from skinclf.images.left_out import LeftOut
from skinclf.images.path_list import read_list

logger = logging.getLogger("skinclf")


def scan_directory(folder: str | os.PathLike[str], *, recursive: bool = False) -> Iterator[str]:
    """Image files of a folder, known by extension, in natural order; hidden files are left out.

    Files come before subfolders. Symbolic links to folders are not followed, so a scan always ends. What is left out,
    other files as well as images in subfolders and linked folders, is counted in a warning at the end, so that it is
    not taken for predicted.

    Args:
        folder: Folder to scan.
        recursive: Whether subfolders are scanned too.

    Yields:
        Paths that begin with the folder as given.

    Raises:
        InvalidArgumentError: The folder is missing or cannot be listed.
        SkinclfError: A subfolder cannot be listed.
    """
    top = os.fspath(folder)
    stack, left_out = [top], LeftOut()
    while stack:
        here = stack.pop()
        subfolders: list[str] = []
        try:
            for name in sort_names(_image_names(here, subfolders, left_out)):
                yield os.path.join(here, name)  # noqa: PTH118 - millions of names
        except OSError as error:
            kind = InvalidArgumentError if here == top else SkinclfError
            raise kind(f"{here}: this folder cannot be listed: {error.strerror or error}.") from None
        inside = [os.path.join(here, name) for name in subfolders]  # noqa: PTH118
        if recursive:
            inside.sort(key=lambda path: natural_key(os.path.basename(path)), reverse=True)  # noqa: PTH119
            stack += inside
        else:
            left_out.subfolders += inside
    for notice in left_out.notices(top, recursive=recursive):
        logger.warning("%s", notice)


def _walk(top: str, *, recursive: bool) -> Iterator[str]:
    """Names of images in any order, for counting."""
    stack = [top]
    while stack:
        here, subfolders = stack.pop(), list[str]()
        yield from _image_names(here, subfolders)
        if recursive:
            stack += [os.path.join(here, name) for name in subfolders]  # noqa: PTH118


def _image_names(folder: str, subfolders: list[str], left_out: LeftOut | None = None) -> Iterator[str]:
    known = readable_endings()
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                subfolders.append(entry.name)
                continue
            kind = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122
            if kind in known or is_dicom_without_ending(entry.path):
                yield entry.name
            elif left_out is not None and entry.is_dir():
                left_out.links.append(entry.path)
            elif left_out is not None:
                left_out.files[kind] += 1


@dataclass(frozen=True, slots=True)
class Inputs:
    """Inputs of a prediction run, found lazily each time they are iterated over.

    Attributes:
        paths: Files and folders, in this order; a folder stands for its images.
        listing: File of paths (see `skinclf.images.path_list.read_list`), or an open binary stream of them.
        recursive: Whether subfolders are searched too.
        frames: Frames of a DICOM file with several that are inputs, named as `file.dcm#3`: `first` or `all`; None
            names none, so that such a file fails.
        names: Names that were found already, see `listed`; None searches.
    """

    paths: Sequence[str | os.PathLike[str]] = ()
    listing: Path | IO[bytes] | None = None
    recursive: bool = False
    frames: Frames | None = None
    names: tuple[str, ...] | None = None

    def listed(self) -> Inputs:
        """The same inputs with their names found once and kept, as a join with another table needs them."""
        return replace(self, names=tuple(self))

    @property
    def roots(self) -> tuple[str, ...]:
        """The folders among `paths`."""
        return tuple(os.fspath(p) for p in self.paths if os.path.isdir(p))  # noqa: PTH112

    def __iter__(self) -> Iterator[str]:
        if self.names is not None:
            yield from self.names
            return
        if self.frames is None:
            yield from self._names()
            return
        for name in self._names():
            yield from frame_names(name, self.frames)

    def _names(self) -> Iterator[str]:
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
        """Check early that there is an input.

        Raises:
            InvalidArgumentError: The paths hold no image or an address, the list is missing, or `frames` is another
                word.
        """
        if self.frames not in {None, "first", "all"}:
            raise InvalidArgumentError(
                f"`frames` is 'first' or 'all'; received {self.frames!r}.", parameter="frames"
            )
        for path in self.paths:
            if isinstance(path, str) and is_address(path):
                raise InvalidArgumentError(f"{path}: {NOT_READ}.")
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
            hint = "" if self.recursive else " directly inside (`recursive` searches subfolders)"
            known = " ".join(sorted(readable_endings()))
            raise InvalidArgumentError(
                f"No images in {', '.join(self.roots)}{hint}; known extensions: {known}.{_heif_files(self.roots)}",
                parameter=None if self.recursive else "recursive",
            )

    def count(self) -> int | None:
        """Number of inputs, for progress; None for a stream, which can be read only once, and for all frames."""
        if self.names is not None:
            return len(self.names)
        if self.frames == "all":
            return None
        if isinstance(self.listing, Path):
            with self.listing.open("rb") as file:
                return sum(1 for _ in read_list(file))
        if self.listing is not None:
            return None
        roots = self.roots
        inside = sum(1 for root in roots for _ in _walk(root, recursive=self.recursive))
        return inside + len(self.paths) - len(roots)


def _heif_files(folders: Sequence[str]) -> str:
    """A sentence on HEIC files directly inside folders, where they cannot be read; else nothing."""
    if has_heif():
        return ""
    number = sum(
        os.path.splitext(name)[1].lower() in HEIF_ENDINGS  # noqa: PTH122
        for folder in folders
        for name in os.listdir(folder)  # noqa: PTH208
    )
    return f" {number:,} HEIC files: {HEIF_ADVICE}." if number else ""
