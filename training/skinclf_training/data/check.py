"""Finding the image of every record, and decoding each once to know that it can be read."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from skinclf.errors import ImageError, InvalidInputError
from skinclf.images import EXTENSIONS, load_image

log = logging.getLogger("skinclf")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageCheck:
    """What checking found.

    Attributes:
        paths: Image id to file, for every image that could be read.
        sizes: Image id to (width, height) in pixels.
        rejected: Image id to the reason, for missing and unreadable ones.
        duplicates: Groups of image ids whose files have identical bytes.
    """

    paths: Mapping[str, Path]
    sizes: Mapping[str, tuple[int, int]]
    rejected: Mapping[str, str]
    duplicates: tuple[tuple[str, ...], ...]


def index_images(folders: Iterable[Path]) -> dict[str, Path]:
    """File of every image id below some folders; each folder is listed once.

    Raises:
        InvalidInputError: A folder does not exist, or two files have the same id.
    """
    index: dict[str, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise InvalidInputError(f"{folder}: no such folder; expected one with images.")
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() not in EXTENSIONS or path.name.startswith("."):
                continue
            other = index.setdefault(path.stem, path)
            if other is not path:
                raise InvalidInputError(
                    f"Image id {path.stem!r} has two files: {other} and {path}. Remove one."
                )
    return index


def check_images(images: Sequence[str], index: Mapping[str, Path], *, workers: int = 4) -> ImageCheck:
    """Decode every image once, in threads."""

    def check(image: str) -> tuple[tuple[int, int], str] | str:
        path = index.get(image)
        if path is None:
            return "missing: no file with this name in the image folders"
        try:
            data = path.read_bytes()
            pixels = load_image(data)
        except ImageError as error:
            return f"{error.code}: {error}"
        except OSError as error:
            return f"unreadable: {error.strerror}"
        return (pixels.shape[1], pixels.shape[0]), hashlib.sha256(data).hexdigest()

    sizes: dict[str, tuple[int, int]] = {}
    rejected: dict[str, str] = {}
    by_hash: dict[str, list[str]] = {}
    with ThreadPoolExecutor(max(1, workers)) as pool:
        for image, result in zip(images, pool.map(check, images), strict=True):
            if isinstance(result, str):
                rejected[image] = result
            else:
                sizes[image] = result[0]
                by_hash.setdefault(result[1], []).append(image)
    duplicates = tuple(tuple(group) for group in by_hash.values() if len(group) > 1)
    return ImageCheck(
        paths={image: index[image] for image in sizes}, sizes=sizes, rejected=rejected, duplicates=duplicates
    )
