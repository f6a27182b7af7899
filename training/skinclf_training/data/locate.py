"""Ids of images, and the files that tables mean by the names of images."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from skinclf.errors import InvalidArgumentError
from skinclf.images.decode import EXTENSIONS
from skinclf.tables.names import pair_tables, parse_name


def image_ids(names: Sequence[str]) -> list[str]:
    """Ids of images: file names without ending where these differ, else with the folders that tell them apart.

    `benign/1.jpg` and `malignant/1.jpg` are `benign/1` and `malignant/1`; where two files of one folder differ in the
    ending alone, the ending stays. Equal names give equal ids.

    Args:
        names: Names as tables or folders give them.
    """
    parsed = [parse_name(name) for name in names]
    stems = [name.key[-1] for name in parsed]
    if len(set(stems)) == len(stems):
        return stems
    outer = [name.key[:-1] for name in parsed]
    first, last = min(outer), max(outer)
    common = next((k for k, part in enumerate(first) if last[k : k + 1] != (part,)), len(first))
    ids = ["/".join(name.key[common:]) for name in parsed]
    count = Counter(ids)
    return [f"{i}{name.ending}" if count[i] > 1 else i for i, name in zip(ids, parsed, strict=True)]


def list_images(folders: Iterable[Path]) -> dict[Path, Path]:
    """Image files below some folders, each with the folder it was found in; hidden files are left out.

    Raises:
        InvalidArgumentError: A folder does not exist.
    """
    found: dict[Path, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise InvalidArgumentError(f"{folder}: no such folder; expected one with images.")
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in EXTENSIONS and not path.name.startswith("."):
                found.setdefault(_absolute(path), folder)
    return found


def index_images(folders: Iterable[Path]) -> dict[str, Path]:
    """File of every image id below some folders; each folder is listed once.

    Raises:
        InvalidArgumentError: A folder does not exist.
    """
    files = list(list_images(folders))
    return dict(zip(image_ids(list(map(str, files))), files, strict=True))


def find_images(names: Mapping[str, str], folders: Iterable[Path]) -> dict[str, Path]:
    """Files of named images below some folders, by the longest common end of the path.

    A name may end the file's path. A longer one must agree from the folder on that was given, or, where the image lies
    in a folder below it, from there on: the folder given is where the user says that the images are.

    Args:
        names: Name of each image as its table writes it, by id.
        folders: Folders that hold the images, searched with their subfolders.

    Returns:
        The file by id; images without a file are left out.

    Raises:
        InvalidArgumentError: A folder does not exist, or a name could mean several files.
    """
    files = list_images(folders)
    found: dict[str, Path] = {}
    for written in (_whole, _from_folder, _below_folder):
        rest = [image for image in names if image not in found]
        taken = set(found.values())
        free = [file for file, folder in files.items() if file not in taken and written(file, folder)]
        if not rest or not free:
            continue
        texts = [written(file, files[file]) for file in free]
        pairing = pair_tables([names[image] for image in rest], texts, "table", "image folders")
        found |= {image: free[j] for image, j in zip(rest, pairing.partners, strict=True) if j is not None}
    return {image: found[image] for image in names if image in found}


def _absolute(path: Path) -> Path:
    """The whole path, links kept, so that it has the folder names that the user sees."""
    return Path(os.path.normpath(path.absolute()))


def _whole(file: Path, folder: Path) -> str:
    del folder
    return str(file)


def _from_folder(file: Path, folder: Path) -> str:
    return file.relative_to(_absolute(folder).parent).as_posix()


def _below_folder(file: Path, folder: Path) -> str:
    below = file.relative_to(_absolute(folder))
    return below.as_posix() if len(below.parts) > 1 else ""
