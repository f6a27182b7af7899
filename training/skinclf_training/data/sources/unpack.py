"""Safe unpacking of downloaded archives."""

from __future__ import annotations

import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from skinclf.errors import InvalidArgumentError, OutputError

_IGNORED = ("__MACOSX/*", "*/.DS_Store", ".DS_Store", "*/._*", "._*")


def unpack(archive: Path, folder: Path, *, members: Sequence[str] = ()) -> int:
    """Unpack a zip archive; files of the right size that are there already stay as they are.

    The members go into a subfolder with the name of the archive, unless they have one.

    Args:
        archive: The zip file.
        folder: Existing folder to unpack into.
        members: Patterns of members to unpack; empty means all.

    Returns:
        Number of files.

    Raises:
        InvalidArgumentError: The file is not a zip archive or damaged, or a member would land outside of the folder.
        OutputError: The disk is full or cannot be written.
    """
    try:
        with zipfile.ZipFile(archive) as content:
            infos = [i for i in content.infolist() if not i.is_dir() and not _matches(i.filename, _IGNORED)]
            for info in infos:
                _refuse_unsafe(info, archive)
            wanted = [i for i in infos if not members or _matches(i.filename, members)]
            if not wanted:
                raise InvalidArgumentError(f"{archive}: holds none of {', '.join(members) or 'any file'}.")
            top = folder / archive.stem
            if members or all(i.filename.startswith(f"{archive.stem}/") for i in wanted):
                top = folder
            _make_room(wanted, top, folder)
            for info in wanted:
                _extract(content, info, top / info.filename)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise InvalidArgumentError(f"{archive}: damaged ({error}). Remove it and download again.") from None
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{folder}: cannot unpack {archive.name}: {error.strerror or error}.") from None
    return len(wanted)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _refuse_unsafe(info: zipfile.ZipInfo, archive: Path) -> None:
    path = PurePosixPath(info.filename)
    outside = path.is_absolute() or ".." in path.parts or "\\" in info.filename
    outside |= re.match(r"[A-Za-z]:", info.filename) is not None
    if outside or stat.S_ISLNK(info.external_attr >> 16):
        raise InvalidArgumentError(
            f"{archive}: the member {info.filename!r} would land outside of the folder; nothing was unpacked."
        )


def _make_room(wanted: Sequence[zipfile.ZipInfo], top: Path, folder: Path) -> None:
    missing = sum(i.file_size for i in wanted if not _there(top / i.filename, i))
    free = shutil.disk_usage(folder).free
    if missing > free:
        raise OutputError(f"{folder}: unpacking needs {missing / 1e9:.1f} GB; {free / 1e9:.1f} GB are free.")


def _there(path: Path, info: zipfile.ZipInfo) -> bool:
    return path.is_file() and path.stat().st_size == info.file_size


def _extract(content: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> None:
    if _there(path, info):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    try:
        with content.open(info) as source, partial.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
