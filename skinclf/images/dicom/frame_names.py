"""Names of the frames of DICOM files: `file.dcm#3` is the third frame of `file.dcm`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypeAlias

from skinclf.errors import ImageError
from skinclf.images.formats import has_dicom, is_dicom

Frames: TypeAlias = Literal["first", "all"]
_FRAME = re.compile(r"(.+)#([0-9]{1,9})", re.DOTALL)


def split_frame(path: Path) -> tuple[Path, int | None]:
    """A path and the number of the frame that its end names; the path as it is where it names none."""
    match = _FRAME.fullmatch(str(path))
    return (path, None) if match is None else (Path(match[1]), int(match[2]))


def frame_names(name: str, frames: Frames) -> Iterator[str]:
    """Names of the frames of a file; its own name where it has one frame, is no DICOM file or cannot be read.

    Args:
        name: Path of a file.
        frames: `first` or `all`.
    """
    try:
        number = _number_of_frames(name)
    except (OSError, ValueError, ImageError):  # its own row will say why
        number = 1
    if number == 1:
        yield name
        return
    for frame in range(1, 2 if frames == "first" else number + 1):
        yield f"{name}#{frame}"


def _number_of_frames(name: str) -> int:
    from skinclf.images.dicom.files import open_dicom

    if not has_dicom() or not Path(name).is_file():
        return 1
    with Path(name).open("rb") as file:
        return open_dicom(file, name).frames if is_dicom(file, name) else 1
