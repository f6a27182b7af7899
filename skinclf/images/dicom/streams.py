"""JPEG and JPEG 2000 streams inside DICOM: what their own markers say about components and colour.

Headers contradict their streams often enough (files that were transcoded, or converted from photographs) that the
stream decides. For a JPEG of three components, in this order: the transform of an Adobe marker (APP14), a JFIF marker
(YCbCr), component ids 1, 2, 3 (YCbCr, the rule of libjpeg); only where none of them speaks, the photometric
interpretation of the header. The pixel values are not touched: where libjpeg would decide otherwise, the markers are
written anew.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
#: Start-of-frame markers that Pillow decodes: baseline, extended sequential and progressive.
_PLAIN_SOF = frozenset({0xC0, 0xC1, 0xC2})
_LOSSLESS_SOF = frozenset({0xC3, 0xC7, 0xCB, 0xCF})
_ADOBE = b"Adobe\0\x64\0\0\0\0"


@dataclass(frozen=True, slots=True)
class JpegStream:
    """The markers of a JPEG stream before its first scan.

    Attributes:
        width: Number of columns.
        height: Number of rows.
        precision: Bits of each sample.
        ids: Identifiers of the components.
        lossless: Whether its process is a lossless one.
        plain: Whether Pillow has a decoder for its process and precision.
        jfif: Whether there is a JFIF marker.
        adobe: Colour transform of an Adobe marker; None without one.
        segments: Marker and whole segment, in order, up to the scan.
        scan: Position of the first scan in the stream.
    """

    width: int
    height: int
    precision: int
    ids: tuple[int, ...]
    lossless: bool
    plain: bool
    jfif: bool
    adobe: int | None
    segments: tuple[tuple[int, bytes], ...]
    scan: int

    def is_ycbcr(self, declared: str) -> bool:
        """Whether three components are YCbCr.

        Args:
            declared: Photometric interpretation of the header.
        """
        if self.adobe is not None:
            return self.adobe != 0
        if self.jfif or self.ids == (1, 2, 3):
            return True
        return declared.startswith("YBR")

    def _libjpeg_says_ycbcr(self) -> bool:
        if self.jfif:
            return True
        if self.adobe is not None:
            return self.adobe != 0
        return self.ids != (0x52, 0x47, 0x42)  # R, G, B

    def for_pillow(self, data: bytes, declared: str) -> bytes:
        """The stream without EXIF, whose orientation DICOM does not know, and with markers that Pillow reads right.

        Args:
            data: The stream.
            declared: Photometric interpretation of the header.
        """
        wanted = self.is_ycbcr(declared)
        dropped = {0xE1}
        note = b""
        if wanted != self._libjpeg_says_ycbcr():
            dropped |= {0xE0, 0xEE}
            body = _ADOBE + bytes([int(wanted)])
            note = b"\xff\xee" + struct.pack(">H", len(body) + 2) + body
        elif all(marker != 0xE1 for marker, _ in self.segments):
            return data
        kept = b"".join(segment for marker, segment in self.segments if marker not in dropped)
        return b"\xff\xd8" + note + kept + data[self.scan :]


def read_jpeg(data: bytes) -> JpegStream | None:
    """The markers of a JPEG stream; None where it has no start of frame before its first scan."""
    segments, at, frame = list[tuple[int, bytes]](), 2, b""
    sof, jfif, adobe = 0, False, None
    try:
        while data[at : at + 2] != b"\xff\xda":  # start of scan
            if data[at] != 0xFF or data[at + 1] in {0x00, 0xFF}:  # filling
                at += 1
                continue
            marker = data[at + 1]
            (length,) = struct.unpack_from(">H", data, at + 2)
            body = data[at + 4 : at + 2 + length]
            segments.append((marker, data[at : at + 2 + length]))
            if marker in _SOF:
                sof, frame = marker, body
            elif marker == 0xE0 and body.startswith(b"JFIF\0"):
                jfif = True
            elif marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12:
                adobe = body[11]
            at += 2 + length
        precision, height, width, number = struct.unpack_from(">BHHB", frame)
        ids = tuple(frame[6 + 3 * i] for i in range(number))
    except (struct.error, IndexError):
        return None
    plain = sof in _PLAIN_SOF and precision == 8
    lossless = sof in _LOSSLESS_SOF
    return JpegStream(
        width, height, precision, ids, lossless, plain, jfif, adobe, tuple(segments), at
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Jpeg2000Stream:
    """The main header of a JPEG 2000 codestream.

    Attributes:
        width: Number of columns.
        height: Number of rows.
        components: Number of components.
        transformed: Whether a colour transform (RCT or ICT) was applied, which every decoder undoes.
        high_throughput: Whether it is coded as HTJ2K (ISO/IEC 15444-15).
    """

    width: int
    height: int
    components: int
    transformed: bool
    high_throughput: bool


def read_jpeg2000(data: bytes) -> Jpeg2000Stream | None:
    """The main header of a codestream, bare or in a JP2 file; None where it is none."""
    at = 0 if data[:4] == b"\xff\x4f\xff\x51" else data.find(b"\xff\x4f\xff\x51")
    if at < 0:
        return None
    try:
        right, bottom, left, top = struct.unpack_from(">4I", data, at + 8)
        (components,) = struct.unpack_from(">H", data, at + 40)
        transformed, high, at = False, False, at + 2
        while True:
            marker, length = struct.unpack_from(">HH", data, at)
            if marker == 0xFF52:  # coding style
                transformed = data[at + 8] == 1
            elif marker == 0xFF50:  # capabilities, which only later parts of the standard have
                high = True
            elif marker in {0xFF90, 0xFF93}:  # start of a tile
                break
            at += 2 + length
    except (struct.error, IndexError):
        return None
    return Jpeg2000Stream(right - left, bottom - top, components, transformed, high)
