"""Notes beside the pixels of an image file: the orientation read from them, and files rewritten without them.

EXIF, XMP, ICC profiles, comments and text chunks say nothing about the pixels apart from the orientation. When a
reader stumbles over them, `without_metadata` gives it the same pixels with nothing beside them but the orientation.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator

_PNG = b"\x89PNG\r\n\x1a\n"
_JFIF = b"JFIF\0\1\1\0\0\1\0\1\0\0"
_XMP = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')
#: PNG chunks that decide the pixels; those with a capital first letter are critical and always stay.
_PNG_KEPT = frozenset({b"tRNS", b"acTL", b"fcTL", b"fdAT"})
#: TIFF 6.0 tags that decide the pixels, with the orientation (274) and those of old and new JPEG compression.
_TIFF_KEPT = frozenset({254, 255, 256, 257, 258, 259, 262, 263, 266, 273, 274, 277, 278, 279, 284, 292, 293, 317, 320,
                        322, 323, 324, 325, 332, 334, 336, 338, 339, 347, *range(512, 522), 529, 530, 531, 532,
                        })  # fmt: skip
#: WebP chunks that hold the pixels.
_WEBP_KEPT = frozenset({b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"})
_WEBP_NOTES, _WEBP_EXIF = 0x2C, 0x08  # flags of the profile, EXIF and XMP, and of EXIF alone
_ORIENTATION = 274


def exif_orientation(exif: bytes) -> int:
    """Orientation 1 to 8 of an EXIF block, whatever state its other tags are in; 1 where it cannot be read."""
    data = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        return 1
    try:
        (at,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, at)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind, number, value = struct.unpack_from(f"{order}HHIH", data, entry)
            if tag == _ORIENTATION and kind == 3 and number == 1:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def without_metadata(data: bytes) -> bytes | None:
    """The same JPEG, PNG, TIFF or WebP with its orientation as the only note; None for other data.

    Args:
        data: Encoded image.
    """
    try:
        if data[:3] == b"\xff\xd8\xff":
            return _bare_jpeg(data)
        if data[:8] == _PNG:
            return _bare_png(data)
        if data[:4] in {b"II*\0", b"MM\0*"}:
            return _bare_tiff(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _bare_webp(data)
    except (struct.error, IndexError):
        pass
    return None


def _note(orientation: int) -> bytes:
    """An EXIF block with the orientation only."""
    return b"MM\0*\0\0\0\x08\0\1" + struct.pack(">HHIHH", _ORIENTATION, 3, 1, orientation, 0) + bytes(4)


def _orientation(exif: bytes, xmp: bytes) -> int:
    found = exif_orientation(exif)
    stated = _XMP.search(xmp) if found == 1 else None
    return int(stated[1]) if stated else found


def _bare_jpeg(data: bytes) -> bytes:
    exif, xmp, kept, at = b"", b"", list[bytes](), 2
    while data[at : at + 2] != b"\xff\xda":  # start of scan
        if data[at] != 0xFF or data[at + 1] in {0x00, 0xFF}:  # filling
            at += 1
            continue
        marker = data[at + 1]
        (length,) = struct.unpack_from(">H", data, at + 2)
        body = data[at + 4 : at + 2 + length]
        if marker == 0xE1 and body.startswith(b"Exif\0\0"):
            exif = exif or body
        elif marker == 0xE1 and b"adobe.com" in body[:32]:
            xmp += body
        elif marker == 0xE0 and body.startswith(b"JFIF"):
            kept.append(_segment(marker, _JFIF))  # it says that the colours are YCbCr
        elif marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12:
            kept.append(_segment(marker, body))  # the colour transform
        elif not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            kept.append(data[at : at + 2 + length])
        at += 2 + length
    note = _segment(0xE1, b"Exif\0\0" + _note(_orientation(exif, xmp)))
    return b"\xff\xd8" + note + b"".join(kept) + data[at:]


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def _bare_png(data: bytes) -> bytes:
    exif, xmp, kept = b"", b"", list[bytes]()
    for kind, chunk in _png_chunks(data):
        body = chunk[8:-4]
        if kind[:1].isupper() or kind in _PNG_KEPT:
            kept.append(chunk)
        elif zlib.crc32(kind + body) != int.from_bytes(chunk[-4:], "big"):
            continue
        elif kind == b"eXIf":
            exif = exif or body
        elif kind == b"iTXt" and body.startswith(b"XML:com.adobe.xmp"):
            xmp += body
    body = b"eXIf" + _note(_orientation(exif, xmp))
    kept.insert(1, struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)))
    return _PNG + b"".join(kept)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind = data[at + 4 : at + 8]
        yield kind, data[at : at + 12 + length]
        if kind == b"IEND":
            break
        at += 12 + length


def _bare_tiff(data: bytes) -> bytes:
    """The file with the other tags and all further directories struck out; no offset changes."""
    order = "<" if data[:2] == b"II" else ">"
    (at,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, at)
    entries = [data[p : p + 12] for p in range(at + 2, at + 2 + 12 * count, 12)]
    kept = [e for e in entries if struct.unpack_from(f"{order}H", e)[0] in _TIFF_KEPT]
    table = struct.pack(f"{order}H", len(kept)) + b"".join(kept) + bytes(4)
    return data[:at] + table + data[at + len(table) :]


def _bare_webp(data: bytes) -> bytes:
    exif, extended, kept, at = b"", b"", list[bytes](), 12
    while at + 8 <= len(data):
        kind = data[at : at + 4]
        (length,) = struct.unpack_from("<I", data, at + 4)
        chunk = data[at : at + 8 + length + length % 2]
        if kind == b"EXIF":
            exif = exif or chunk[8:]
        elif kind == b"VP8X":
            extended = chunk
        elif kind in _WEBP_KEPT:
            kept.append(chunk)
        at += 8 + length + length % 2
    if extended:
        flags = (extended[8] & ~_WEBP_NOTES) | _WEBP_EXIF
        note = _note(exif_orientation(exif))
        kept.insert(0, extended[:8] + bytes([flags]) + extended[9:])
        kept.append(b"EXIF" + struct.pack("<I", len(note)) + note)
    body = b"WEBP" + b"".join(kept)
    return b"RIFF" + struct.pack("<I", len(body)) + body
