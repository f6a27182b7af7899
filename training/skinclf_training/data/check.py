"""Check of image files: find the file of every image id, and decode each once."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

from skinclf._utils.append_files import AppendFile
from skinclf._utils.files import writing
from skinclf.errors import ImageError, InvalidArgumentError
from skinclf.images.decode import load_image
from skinclf_training.data.near_duplicates import perceptual_hash

log = logging.getLogger("skinclf")

#: File beside a prepared split with the facts of each image, so that it is decoded only once.
JOURNAL = "check.jsonl"
_CHUNK = 256


@dataclass(frozen=True, slots=True)
class Facts:
    """Properties of a decoded image.

    Attributes:
        width: Width in pixels.
        height: Height in pixels.
        sha256: SHA-256 of the file, in hexadecimal.
        similar: Perceptual hash, see `skinclf_training.data.near_duplicates`.
        mean: Mean red, green and blue, 0 to 255.
    """

    width: int
    height: int
    sha256: str
    similar: str
    mean: tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageCheck:
    """Result of a check.

    Attributes:
        paths: File by image id, for readable images.
        facts: Properties by image id, for readable images.
        rejected: Reason by image id, for missing and unreadable images.
        decoded: Number of images decoded in this check; the others were in the journal.
    """

    paths: Mapping[str, Path]
    facts: Mapping[str, Facts]
    rejected: Mapping[str, str]
    decoded: int

    @property
    def duplicates(self) -> tuple[tuple[str, ...], ...]:
        """Groups of image ids whose files have identical bytes."""
        by_hash: dict[str, list[str]] = {}
        for image, facts in self.facts.items():
            by_hash.setdefault(facts.sha256, []).append(image)
        return tuple(tuple(group) for group in by_hash.values() if len(group) > 1)

    @property
    def sizes(self) -> Counter[str]:
        """Number of images by size, such as `600x450`."""
        return Counter(f"{facts.width}x{facts.height}" for facts in self.facts.values())


def check_images(
    images: Sequence[str],
    index: Mapping[str, Path],
    *,
    workers: int = 4,
    journal: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ImageCheck:
    """Decode every image once, in threads.

    Args:
        images: Image ids.
        index: File of every image id.
        workers: Number of decoding threads.
        journal: File that records the results; a later call decodes only what is new or has changed.
        progress: Function that is called with (done, total) at intervals.

    Raises:
        OutputError: The journal cannot be written, or another process is writing it.
    """
    known = _read_journal(journal) if journal is not None else {}
    results: dict[str, Facts | str] = {}
    todo: list[tuple[str, Path, _Key]] = []
    for image in images:
        path = index.get(image)
        if path is None:
            results[image] = "missing: no file with this name in the image folders"
            continue
        try:
            key = _key(path)
        except OSError as error:
            results[image] = f"unreadable: {error.strerror or error}"
            continue
        if key in known:
            results[image] = known[key]
        else:
            todo.append((image, path, key))
    for found in _decode(todo, workers, journal):
        results |= found
        if progress is not None:
            progress(len(results), len(images))
    return ImageCheck(
        paths={image: index[image] for image in images if isinstance(results[image], Facts)},
        facts={image: r for image in images if isinstance(r := results[image], Facts)},
        rejected={image: r for image in images if isinstance(r := results[image], str)},
        decoded=len(todo),
    )


_Key: TypeAlias = tuple[str, int, int]


def _decode(
    todo: Sequence[tuple[str, Path, _Key]], workers: int, journal: Path | None
) -> Iterator[dict[str, Facts | str]]:
    """Decode in chunks; each is in the journal before the next begins."""
    if not todo:
        return
    rest = iter(todo)
    if journal is None:
        with ThreadPoolExecutor(max(1, workers)) as pool:
            while chunk := list(islice(rest, _CHUNK)):
                yield dict(zip([c[0] for c in chunk], pool.map(_look, [c[1] for c in chunk]), strict=True))
        return
    with writing(journal.parent):
        journal.parent.mkdir(parents=True, exist_ok=True)
    with closing(AppendFile(journal)) as file, ThreadPoolExecutor(max(1, workers)) as pool:
        file.truncate(_whole_lines(journal))
        while chunk := list(islice(rest, _CHUNK)):
            found = list(pool.map(_look, [c[1] for c in chunk]))
            lines = (json.dumps([*c[2], _plain(f)]) for c, f in zip(chunk, found, strict=True))
            file.append("".join(f"{line}\n" for line in lines).encode())
            yield dict(zip([c[0] for c in chunk], found, strict=True))


def _look(path: Path) -> Facts | str:
    try:
        data = path.read_bytes()
        pixels = load_image(data)
    except ImageError as error:
        return f"{error.code}: {error}"
    except OSError as error:
        return f"unreadable: {error.strerror}"
    red, green, blue = (round(float(v), 2) for v in pixels.mean(axis=(0, 1)))
    return Facts(
        pixels.shape[1],
        pixels.shape[0],
        hashlib.sha256(data).hexdigest(),
        perceptual_hash(pixels),
        (red, green, blue),
    )


def _key(path: Path) -> _Key:
    # A digest of the whole path: `benign/1.jpg` is not `malignant/1.jpg`, and the journal holds no path.
    info, place = path.stat(), hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:16]
    return place, info.st_size, info.st_mtime_ns


def _plain(found: Facts | str) -> Any:
    return found if isinstance(found, str) else asdict(found)


def _read_journal(path: Path) -> dict[_Key, Facts | str]:
    """Results of earlier checks; an incomplete last line is ignored."""
    known: dict[_Key, Facts | str] = {}
    try:
        lines = path.read_bytes()[: _whole_lines(path)].splitlines()
    except FileNotFoundError:
        return known
    except OSError as error:
        raise InvalidArgumentError(f"{path}: cannot be read: {error.strerror or error}.") from None
    for number, line in enumerate(lines, start=1):
        try:
            name, size, time, found = json.loads(line)
            value = found if isinstance(found, str) else Facts(**{**found, "mean": tuple(found["mean"])})
        except (ValueError, TypeError, KeyError):
            raise InvalidArgumentError(f"{path}: line {number} is damaged; remove the file.") from None
        known[name, size, time] = value
    return known


def _whole_lines(path: Path) -> int:
    """Bytes up to the end of the last complete line."""
    return path.read_bytes().rfind(b"\n") + 1
