"""Headers of DICOM files, read without their pixels and without a word from pydicom."""

from __future__ import annotations

import io
import logging
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from skinclf.errors import ImageError

#: Largest data set, in bytes, that the deflated transfer syntax may expand to.
MAX_INFLATED = 1 << 28
_DEFLATED = "1.2.840.10008.1.2.1.99"
_EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
_IMPLICIT_LITTLE = "1.2.840.10008.1.2"
#: Pixel data, with the words that pydicom has for them.
_PIXEL_DATA = {
    (0x7FE0, 0x0010): "PixelData",
    (0x7FE0, 0x0008): "FloatPixelData",
    (0x7FE0, 0x0009): "DoubleFloatPixelData",
}
_LONG_VRS = frozenset({b"OB", b"OW", b"OF", b"OD", b"UN"})
#: `warnings` has one list of filters for all threads.
_LOCK = threading.RLock()


@contextmanager
def quiet() -> Iterator[None]:
    """Use pydicom without its warnings and its log, which quote values of the header; one thread at a time."""
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
        levels = [logger.level for logger in loggers]
        try:
            for logger in loggers:
                logger.setLevel(logging.CRITICAL + 1)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@dataclass(frozen=True, slots=True)
class DicomFile:
    """A DICOM file whose header was read.

    Attributes:
        header: `pydicom.Dataset` without pixel data; to be used inside `quiet` only.
        transfer_syntax: UID of the encoding of the pixels.
        file: File that holds the data set, at the start of the value of its pixel data.
        keyword: Kind of pixel data: `PixelData` or one of floating-point values; empty where there is none.
        vr: Value representation of the pixel data; None where the file does not state it.
        left: Bytes from the start of the pixel data to the end of the file.
        frames: Number of frames.
    """

    header: Any
    transfer_syntax: str
    file: IO[bytes]
    keyword: str
    vr: str | None
    left: int
    frames: int


def open_dicom(file: IO[bytes], name: str) -> DicomFile:
    """Read the header of a DICOM file, up to its pixel data.

    Args:
        file: File in the DICOM format, with or without a preamble.
        name: Name of the file for messages.

    Raises:
        ImageError: The header cannot be read, or the file expands beyond `MAX_INFLATED`.
    """
    try:
        with quiet():
            return _open(file, name)
    except ImageError:
        raise
    except MemoryError:
        raise ImageError(
            "too_large", f"{name}: not enough memory for the header of this DICOM file."
        ) from None
    except Exception as error:  # whatever a damaged header makes pydicom raise; its words may be values
        kind = "truncated" if isinstance(error, EOFError) else "unreadable"
        raise ImageError(
            kind, f"{name}: the header of this DICOM file is damaged ({type(error).__name__})."
        ) from None


def _open(file: IO[bytes], name: str) -> DicomFile:
    from pydicom import dcmread

    file.seek(0)
    file = _inflated(file, name)
    header = dcmread(file, stop_before_pixels=True, force=True)
    implicit, little = header.original_encoding
    syntax = str(getattr(header, "file_meta", {}).get("TransferSyntaxUID", "") or "")
    if syntax in {"", _DEFLATED}:
        syntax = _EXPLICIT_LITTLE if not implicit else _IMPLICIT_LITTLE
    tag = file.read(8)
    order = "little" if little else "big"
    group, element = int.from_bytes(tag[:2], order), int.from_bytes(tag[2:4], order)  # type: ignore[arg-type]
    keyword, vr = _PIXEL_DATA.get((group, element), ""), None
    if keyword and not implicit:
        vr = tag[4:6].decode("ascii", "replace")
        if tag[4:6] in _LONG_VRS:
            file.read(4)
    at = file.tell()
    left = file.seek(0, io.SEEK_END) - at
    file.seek(at)
    frames = _frames(header, name)
    if keyword and frames > left:
        raise ImageError("truncated", f"{name}: {frames:,} frames in {left:,} bytes of pixels.")
    return DicomFile(header, syntax, file, keyword, vr, left, frames)


def _frames(header: Any, name: str) -> int:
    try:
        return max(1, int(header.get("NumberOfFrames") or 1))
    except (TypeError, ValueError):
        raise ImageError("unreadable", f"{name}: the number of frames in the header is no number.") from None


def _inflated(file: IO[bytes], name: str) -> IO[bytes]:
    """The file itself, or its data set inflated where the transfer syntax is the deflated one."""
    from pydicom.filewriter import write_file_meta_info

    if file.read(132)[128:] != b"DICM":
        file.seek(0)
        return file
    file.seek(0)
    # An ordinary file is read to its first element only; a deflated one must not be inflated by pydicom.
    meta = _file_meta(file)
    if str(meta.get("TransferSyntaxUID", "")) != _DEFLATED:
        file.seek(0)
        return file
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    data = inflate.decompress(file.read(), MAX_INFLATED)
    if inflate.unconsumed_tail:
        raise ImageError(
            "too_large", f"{name}: this deflated DICOM file expands beyond {MAX_INFLATED:,} bytes."
        )
    if not inflate.eof:
        raise ImageError("truncated", f"{name}: this deflated DICOM file is not whole.")
    whole = io.BytesIO()
    whole.write(bytes(128) + b"DICM")
    meta.TransferSyntaxUID = _EXPLICIT_LITTLE
    write_file_meta_info(whole, meta, enforce_standard=False)
    whole.write(data)
    whole.seek(0)
    return whole


def _file_meta(file: IO[bytes]) -> Any:
    """The file meta information; the file is left behind it."""
    from pydicom.filereader import read_dataset

    file.seek(132)
    return read_dataset(
        file, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, _vr, _length: tag >> 16 != 2
    )
