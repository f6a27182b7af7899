"""Keras files of every form, opened: the config as data and the tensors as a checked HDF5 file."""

from __future__ import annotations

import json
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from skinclf.errors import ModelError, UnsafeModelError
from skinclf.models.formats.keras.hdf5 import Hdf5, open_hdf5
from skinclf.models.spec import MAX_CONFIG_BYTES

_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_MAX_ENTRIES = 10_000
_MAX_RATIO, _FREE_BYTES = 16, 64 * 1024 * 1024
_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"


@dataclass(frozen=True, slots=True)
class KerasArchive:
    """An open Keras file.

    Attributes:
        tensors: The HDF5 part.
        config: Saved architecture; None in a weights-only file.
        training: Arguments that the model was compiled with, when they were saved.
        version: Keras version that wrote the architecture, such as `2.15.0`; None when unknown.
    """

    tensors: Hdf5
    config: Any = None
    training: Any = None
    version: str | None = None


def looks_like_keras(path: Path) -> bool:
    """Whether a file is one for the Keras importer, by its first bytes or else by its name."""
    try:
        with path.open("rb") as file:
            head = file.read(len(_HDF5_MAGIC))
    except OSError:
        return False
    if head == _HDF5_MAGIC or path.suffix.lower() in {".keras", ".h5", ".hdf5"}:
        return True
    if not head.startswith(b"PK"):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return {_CONFIG, _WEIGHTS} <= set(archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False


@contextmanager
def open_keras(path: Path) -> Iterator[KerasArchive]:
    """Open a `.h5`, `.hdf5` or `.keras` file; its format follows from its content.

    Raises:
        UnsafeModelError: The file holds something that is never opened, or unpacks to absurd sizes.
        ModelError: The file is missing, damaged or no Keras file.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(len(_HDF5_MAGIC))
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror or error}.") from None
    if head.startswith(b"PK"):
        with _open_zip(path, size) as archive:
            yield archive
    elif head == _HDF5_MAGIC:
        with open_hdf5(path, size) as tensors:
            config, training = tensors.text("model_config"), tensors.text("training_config")
            yield KerasArchive(
                tensors,
                config=None if config is None else parse_json(config, "model_config"),
                training=None if training is None else parse_json(training, "training_config"),
                version=tensors.text("keras_version"),
            )
    else:
        raise ModelError("neither an HDF5 file nor a .keras archive; it may be incomplete. Fetch it again.")


@contextmanager
def _open_zip(path: Path, size: int) -> Iterator[KerasArchive]:
    with tempfile.TemporaryFile() as unpacked:
        try:
            with zipfile.ZipFile(path) as archive:
                entries = _check(archive, size)
                if _CONFIG not in entries or _WEIGHTS not in entries:
                    raise ModelError(f"a zip archive, but without {_CONFIG} and {_WEIGHTS}: no .keras file.")
                config = parse_json(_read(archive, entries[_CONFIG]), _CONFIG)
                metadata = (
                    parse_json(_read(archive, entries[_METADATA]), _METADATA) if _METADATA in entries else {}
                )
                count = _unpack(archive, entries[_WEIGHTS], unpacked)
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            NotImplementedError,
            RuntimeError,
            OSError,
        ) as error:
            raise ModelError(f"damaged or incomplete .keras archive: {error}.") from None
        version = metadata.get("keras_version") if isinstance(metadata, dict) else None
        training = config.get("compile_config") if isinstance(config, dict) else None
        with open_hdf5(unpacked, count) as tensors:
            yield KerasArchive(tensors, config, training, version if isinstance(version, str) else None)


def _check(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """Entries by name, when all of them are what Keras writes: plain files that fit into the archive."""
    entries = archive.infolist()
    names = [entry.filename for entry in entries]
    if len(entries) > _MAX_ENTRIES or len(set(names)) != len(names):
        raise UnsafeModelError("too many entries, or two of one name; Keras writes no such archive.")
    for entry in entries:
        parts = entry.filename.replace("\\", "/").split("/")
        link = (entry.external_attr >> 16) & 0o170000 == 0o120000
        if ".." in parts or entry.filename.startswith(("/", "\\")) or ":" in parts[0] or link:
            raise UnsafeModelError(f"the entry {entry.filename[:80]!r} points outside the archive.")
        if entry.flag_bits & 1:
            raise ModelError(f"the entry {entry.filename[:80]!r} is encrypted.")
        if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise ModelError(
                f"the entry {entry.filename[:80]!r} is compressed in a way that Keras does not use."
            )
    total = sum(entry.file_size for entry in entries)
    if total > _MAX_RATIO * size + _FREE_BYTES:
        raise UnsafeModelError(f"its entries unpack to {total:,} bytes from an archive of {size:,}.")
    return dict(zip(names, entries, strict=True))


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    if entry.file_size > MAX_CONFIG_BYTES:
        raise UnsafeModelError(f"{entry.filename} is larger than {MAX_CONFIG_BYTES:,} bytes.")
    with archive.open(entry) as file:
        return file.read(MAX_CONFIG_BYTES)


def _unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: IO[bytes]) -> int:
    """Copy the weights to a file that HDF5 can seek in; the checksum is checked on the way."""
    count = 0
    with archive.open(entry) as source:
        while block := source.read(1 << 20):
            count += len(block)
            if count > entry.file_size:
                raise UnsafeModelError(f"{entry.filename} unpacks to more than it declares.")
            target.write(block)
    target.seek(0)
    return count


def parse_json(text: str | bytes, what: str) -> Any:
    """JSON text as data; a string that holds JSON again (`json.dump(model.to_json())`) is opened too.

    Raises:
        ModelError: The text is not JSON, or nested beyond reason.
    """
    try:
        data = json.loads(text)
        return json.loads(data) if isinstance(data, str) else data
    except (ValueError, RecursionError) as error:
        raise ModelError(
            f"{what} is not readable as JSON: {type(error).__name__}: {str(error)[:120]}."
        ) from None
