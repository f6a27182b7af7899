"""Data sets whose folder names state the class, and often the part."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from skinclf.errors import InvalidArgumentError
from skinclf.images.decode import EXTENSIONS
from skinclf_training.data.locate import image_ids
from skinclf_training.data.split import PART_NAMES

_PREFIX = re.compile(r"(mel|nomel)_(.+)")
_CODES = {"mel": "melanoma", "nomel": "non_melanoma"}
# `mel_aug_3_mel_x` and `mel_mel_aug_3_x`: a picture that was made from another one.
_SYNTHETIC = re.compile(r"(?:(?:mel|nomel)_)+aug_\d+_")


@dataclass(frozen=True, slots=True)
class Picture:
    """One image of a layout.

    Attributes:
        image: Image id.
        name: Path below the root, by which tables may name the image.
        label: Class that the folder or the prefix states.
        part: Part: `train`, `val`, `test`, or empty.
        file: Path of the image.
    """

    image: str
    name: str
    label: str
    part: str
    file: Path


def sniff_layout(root: Path) -> str:
    """Detect the layout: `prefix` where images are named `mel_*` and `nomel_*`, else `folders`."""
    for _, folder in _parts(root):
        if any(_PREFIX.match(file.stem) for file in _images(folder)):
            return "prefix"
    return "folders"


def read_class_folders(root: Path) -> tuple[list[Picture], dict[str, str]]:
    """Read `[<part>/]<class>/<image>`.

    Returns:
        The images, and the reasons why others were left out (none are).

    Raises:
        InvalidArgumentError: No image lies in a class folder.
    """
    found = [
        (file, folder.name, part)
        for part, top in _parts(root)
        for folder in _folders(top)
        for file in _images(folder)
    ]
    if not found:
        raise InvalidArgumentError(
            f"{root}: expected one subfolder of images per class; found no such image."
        )
    names = [file.relative_to(root).as_posix() for file, _, _ in found]
    rows = zip(image_ids(names), names, found, strict=True)
    return [Picture(image, name, label, part, file) for image, name, (file, label, part) in rows], {}


def read_prefixes(root: Path) -> tuple[list[Picture], dict[str, str]]:
    """Read `[<part>/]mel_<image>` and `[<part>/]nomel_<image>`.

    Returns:
        The images, and the reasons why others were left out: pictures that were made to balance the classes
        (`mel_aug_<n>_*`) are copies of others, and must not be tested on.

    Raises:
        InvalidArgumentError: The folder has no such image, or an image id occurs twice.
    """
    left_out: dict[str, str] = {}

    def look() -> Iterator[Picture]:
        for part, folder in _parts(root):
            for file in _images(folder):
                match = _PREFIX.match(file.stem)
                if _SYNTHETIC.match(file.stem):
                    left_out[f"{part}/{file.name}".lstrip("/")] = "synthetic: made from another image"
                elif match is None:
                    left_out[f"{part}/{file.name}".lstrip("/")] = "no prefix mel_ or nomel_"
                else:
                    name = file.with_name(match[2] + file.suffix).relative_to(root).as_posix()
                    yield Picture(match[2], name, _CODES[match[1]], part, file)

    return _unique(root, look(), "images named mel_* and nomel_*"), left_out


def _unique(root: Path, pictures: Iterator[Picture], expected: str) -> list[Picture]:
    found: dict[str, Picture] = {}
    for picture in pictures:
        other = found.setdefault(picture.image, picture)
        if other is not picture:
            raise InvalidArgumentError(
                f"Image id {picture.image!r} has two files: {other.file} and {picture.file}. Remove one."
            )
    if not found:
        raise InvalidArgumentError(f"{root}: expected {expected}; found no such image.")
    return list(found.values())


def _parts(root: Path) -> list[tuple[str, Path]]:
    """The folders of the parts, or the root alone."""
    parts = [(PART_NAMES[p.name.lower()], p) for p in _folders(root) if p.name.lower() in PART_NAMES]
    return parts or [("", root)]


def _folders(root: Path) -> list[Path]:
    return _sorted(root, Path.is_dir)


def _images(root: Path) -> list[Path]:
    return _sorted(root, lambda p: p.suffix.lower() in EXTENSIONS and p.is_file())


def _sorted(root: Path, wanted: Callable[[Path], bool]) -> list[Path]:
    try:
        return sorted(p for p in root.iterdir() if not p.name.startswith(".") and wanted(p))
    except OSError as error:
        raise InvalidArgumentError(f"{root}: cannot be listed: {error.strerror or error}.") from None


def parts_of_layout(root: Path) -> Mapping[str, str]:
    """Part of every image of a layout with `train`, `val` and `test`, by its path below the root; else empty."""
    if not any(part for part, _ in _parts(root)):
        return {}
    read = read_prefixes if sniff_layout(root) == "prefix" else read_class_folders
    return {picture.name: picture.part for picture in read(root)[0]}
