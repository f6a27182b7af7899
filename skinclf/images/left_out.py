"""Files and images that a scan of a folder leaves out, and the notices that say so."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from skinclf.images.formats import (
    DICOM_ADVICE,
    DICOM_ENDINGS,
    HEIF_ADVICE,
    HEIF_ENDINGS,
    is_dicom_without_ending,
    readable_endings,
)

#: Entries that are looked at to count images left out; a larger tree is "more than" what was counted.
_MOST_ENTRIES = 200_000


@dataclass(slots=True)
class LeftOut:
    """What a scan leaves out.

    Attributes:
        files: Number of files by ending that is no image's.
        subfolders: Subfolders that were not scanned.
        links: Links to folders.
    """

    files: Counter[str] = field(default_factory=Counter)
    subfolders: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)

    def notices(self, top: str, *, recursive: bool) -> Iterator[str]:
        """Sentences for the user; none when nothing was left out.

        Args:
            top: Folder that was scanned, as given.
            recursive: Whether its subfolders were scanned.
        """
        if self.files:
            ranked = sorted(self.files.items(), key=lambda item: (-item[1], item[0]))
            kinds = ", ".join(f"{n:,} {kind or 'without an extension'}" for kind, n in ranked[:5])
            more = ", ..." if len(ranked) > 5 else ""
            yield f"{top}: other files left out: {kinds}{more}."
        heif = sum(n for kind, n in self.files.items() if kind in HEIF_ENDINGS)
        if heif:  # only where the extra is missing
            yield f"{top}: {heif:,} of them {_be(heif)} HEIC, the format of iPhone photographs: {HEIF_ADVICE}."
        dicom = sum(n for kind, n in self.files.items() if kind in DICOM_ENDINGS)
        if dicom:
            yield f"{top}: {dicom:,} of them {_be(dicom)} DICOM: {DICOM_ADVICE}."
        seen = _Seen(os.path.realpath(top), whole=recursive)
        below, folders = _count(self.subfolders, seen)
        if below:
            what = f"{below} in {_number(folders, 'subfolder')}"
            yield f"{top}: {what} {_be(below.number)} left out; `recursive` includes subfolders."
        linked, folders = _count(self.links, seen)
        if linked:
            what = f"{linked} in {_number(folders, 'linked folder')}"
            advice = "links to folders are not followed: name those folders themselves"
            yield f"{top}: {what} {_be(linked.number)} left out; {advice}."


@dataclass(slots=True)
class _Images:
    number: int = 0
    complete: bool = True

    def __bool__(self) -> bool:
        return self.number > 0 or not self.complete

    def __str__(self) -> str:
        return ("" if self.complete else "more than ") + _number(self.number, "image")


class _Seen:
    """Real paths of folders that were scanned or counted, so that nothing is counted twice and links end."""

    def __init__(self, top: str, *, whole: bool) -> None:
        self._folders, self._below = {top}, os.path.join(top, "") if whole else None  # noqa: PTH118

    def add(self, folder: str) -> bool:
        """Whether the folder is new."""
        if folder in self._folders or (self._below is not None and folder.startswith(self._below)):
            return False
        self._folders.add(folder)
        return True


def _count(roots: Iterable[str], seen: _Seen) -> tuple[_Images, int]:
    """Images in and below folders, and how many of the folders hold any; unreadable folders count nothing."""
    known, images, with_images, looked = readable_endings() | HEIF_ENDINGS, _Images(), 0, 0
    for root in roots:
        before, stack = images.number, [os.path.realpath(root)]
        while stack:
            here = stack.pop()
            if not seen.add(here):
                continue
            with suppress(OSError), os.scandir(here) as entries:
                for entry in entries:
                    looked += 1
                    if looked > _MOST_ENTRIES:
                        images.complete = False
                        return images, with_images + (images.number > before)
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        stack.append(entry.path)
                    elif os.path.splitext(entry.name)[1].lower() in known or is_dicom_without_ending(  # noqa: PTH122
                        entry.path
                    ):
                        images.number += 1
        with_images += images.number > before
    return images, with_images


def _number(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _be(n: int) -> str:
    return "is" if n == 1 else "are"
