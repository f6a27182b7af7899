"""One frame of a DICOM file: an encoded stream for the decoder of ordinary files, or an RGB picture.

JPEG and JPEG 2000 streams are handed back as they are, so that the same decoder gives the same pixels as for a file
outside DICOM. Everything else is decoded by pydicom and its plug-ins. Samples of more than 8 bits give their top 8 of
Bits Stored; tables of a palette are shifted by 8, as they are written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from skinclf.errors import ImageError
from skinclf.images.dicom.files import DicomFile, open_dicom, quiet
from skinclf.images.dicom.kinds import check_kind
from skinclf.images.dicom.palettes import palette_rgb
from skinclf.images.dicom.streams import read_jpeg, read_jpeg2000

_DIRECTORY = "1.2.840.10008.1.3.10"
_NATIVE = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"})
_JPEG = "1.2.840.10008.1.2.4."
_JPEG_STREAMS = frozenset(_JPEG + last for last in ("50", "51", "57", "70"))
_JPEG2000_STREAMS = frozenset(_JPEG + last for last in ("90", "91"))
#: Encodings that need a further package, and one with a permissive licence that decodes them.
_CODECS: Mapping[str, str] = {
    _JPEG + "51": "python-gdcm",
    _JPEG + "57": "python-gdcm",
    _JPEG + "70": "python-gdcm",
    _JPEG + "80": "pyjpegls",
    _JPEG + "81": "pyjpegls",
    **dict.fromkeys((_JPEG + "201", _JPEG + "202", _JPEG + "203"), "pylibjpeg-openjpeg"),
}
_RLE = "1.2.840.10008.1.2.5"
#: What pixels cannot be decoded without; for colours also their order, which nothing else tells.
_NEEDED = ("SamplesPerPixel", "BitsAllocated", "BitsStored", "PixelRepresentation")
_COLOURS = frozenset({"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT", "PALETTE COLOR"})


@dataclass(frozen=True, slots=True)
class Encoded:
    """A frame that an ordinary image decoder reads.

    Attributes:
        data: The encoded stream.
        ycbcr: Whether its three components are YCbCr although the stream does not say so.
    """

    data: bytes
    ycbcr: bool = False


def read_frame(
    file: IO[bytes], name: str, *, frame: int | None = None, most: int, any_kind: bool = False
) -> Encoded | Image.Image:
    """One frame of a DICOM file.

    Args:
        file: File in the DICOM format.
        name: Name of the file for messages.
        frame: Number of the frame, from 1; None expects a single one.
        most: Largest number of pixels of a frame that is decoded.
        any_kind: Whether objects that hold no dermoscopy are read too.

    Raises:
        ImageError: There is no such frame, it is no colour picture of the skin, or it cannot be decoded; its `code`
            says which.
    """
    found = open_dicom(file, name)
    try:
        with quiet():
            return _read(found, name, frame, most, any_kind=any_kind)
    except (ImageError, MemoryError):
        raise
    except (
        Exception
    ) as error:  # whatever damaged data make pydicom or a plug-in raise; its words may be values
        raise _damaged(name, type(error).__name__) from None


def _damaged(name: str, what: str) -> ImageError:
    return ImageError("unreadable", f"{name}: the pixel data of this DICOM file are damaged ({what}).")


def _read(
    found: DicomFile, name: str, frame: int | None, most: int, *, any_kind: bool
) -> Encoded | Image.Image:
    header = found.header
    if str(getattr(header, "file_meta", {}).get("MediaStorageSOPClassUID", "")) == _DIRECTORY:
        raise ImageError(
            "no_pixels", f"{name}: a DICOMDIR, the index of a medium; name the files that it lists."
        )
    if not found.keyword:
        raise ImageError("no_pixels", f"{name}: a DICOM file without pixel data.")
    if not any_kind:
        check_kind(header, name)
    if frame is None and found.frames > 1:
        raise ImageError(
            "multi_frame",
            f"{name}: {found.frames:,} frames; expected one. Name one, such as {name}#1, or choose with `frames`.",
        )
    if frame is not None and not 1 <= frame <= found.frames:
        raise ImageError("missing", f"{name}: no such frame; the file has {found.frames:,}.")
    index = (frame or 1) - 1
    syntax, declared = found.transfer_syntax, str(header.get("PhotometricInterpretation") or "")
    if found.keyword != "PixelData":
        raise ImageError(
            "not_dermoscopy", f"{name}: pixels of floating-point values; dermoscopy is in colour."
        )
    palette = declared == "PALETTE COLOR"
    if syntax in _JPEG_STREAMS and not palette:
        stream = _jpeg(_stream(found, index), name, declared)
        if stream is not None:
            return stream
    elif syntax in _JPEG2000_STREAMS and not palette:
        return _jpeg2000(_stream(found, index), name, declared)
    elif declared.startswith("MONOCHROME"):
        raise _grey(name)
    if declared not in _COLOURS:
        raise ImageError(
            "unsupported", f"{name}: this photometric interpretation has no declared conversion to RGB."
        )
    _check_size(found, name, most)
    _check_codec(syntax, name)
    samples = _samples(found, index)
    if palette:
        return Image.fromarray(palette_rgb(samples[0], header, name))
    return _rgb(samples[0], samples[1], header, name)


def _grey(name: str) -> ImageError:
    return ImageError("not_dermoscopy", f"{name}: a grey picture; dermoscopy is in colour.")


def _stream(found: DicomFile, index: int) -> bytes:
    from pydicom.encaps import get_frame
    from pydicom.pixels.utils import as_pixel_options

    offsets = as_pixel_options(found.header).get("extended_offsets")
    data: bytes = get_frame(found.file, index, extended_offsets=offsets, number_of_frames=found.frames)
    return data


def _jpeg(data: bytes, name: str, declared: str) -> Encoded | None:
    """A stream for Pillow; None for a process or precision that it does not decode."""
    stream = read_jpeg(data)
    if stream is None:
        raise _damaged(name, "no JPEG stream")
    if len(stream.ids) == 1:
        raise _grey(name)
    if len(stream.ids) != 3:
        raise _components(name, len(stream.ids))
    return Encoded(stream.for_pillow(data, declared)) if stream.plain else None


def _jpeg2000(data: bytes, name: str, declared: str) -> Encoded:
    stream = read_jpeg2000(data)
    if stream is None:
        raise _damaged(name, "no JPEG 2000 stream")
    if stream.components == 1:
        raise _grey(name)
    if stream.components != 3:
        raise _components(name, stream.components)
    return Encoded(data, ycbcr=not stream.transformed and declared.startswith("YBR_FULL"))


def _components(name: str, number: int) -> ImageError:
    return ImageError("unsupported", f"{name}: {number} components in each pixel; expected 3.")


def _check_size(found: DicomFile, name: str, most: int) -> None:
    """Refuse what is too large or has too few bytes, before anything is allocated."""
    header = found.header
    rows, columns = int(header.get("Rows") or 0), int(header.get("Columns") or 0)
    needed = [*_NEEDED, "PlanarConfiguration"] if header.get("SamplesPerPixel") == 3 else _NEEDED
    if missing := [keyword for keyword in needed if header.get(keyword) is None]:
        raise ImageError(
            "unreadable",
            f"{name}: the header has no {' and no '.join(missing)}; pixels cannot be read without.",
        )
    samples, bits = int(header.SamplesPerPixel), int(header.BitsAllocated)
    if rows < 1 or columns < 1:
        raise ImageError("zero_size", f"{name}: the image has {columns} x {rows} pixels.")
    if rows * columns > most:
        raise ImageError("too_large", f"{name}: {columns} x {rows} pixels; at most {most:,} are read.")
    if samples not in {1, 3}:
        raise _components(name, samples)
    if bits not in {8, 16, 32}:
        raise ImageError("unsupported", f"{name}: {bits} bits allocated; expected 8, 16 or 32.")
    if found.transfer_syntax in _NATIVE:
        half = str(header.get("PhotometricInterpretation")) == "YBR_FULL_422"
        need = rows * columns * (2 if half else samples) * (bits // 8) * found.frames
        if need > found.left:
            raise ImageError("truncated", f"{name}: {found.left:,} bytes of pixels; expected {need:,}.")


def _check_codec(syntax: str, name: str) -> None:
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID_dictionary

    if syntax in _NATIVE:
        return
    known = UID_dictionary[syntax][0] if syntax in UID_dictionary else "an encoding outside the standard"
    if syntax not in {_RLE, *_CODECS, *_JPEG2000_STREAMS}:
        raise ImageError("unsupported", f"{name}: encoded as {known}, which cannot be read here.")
    if not get_decoder(syntax).is_available:
        package = _CODECS.get(syntax)
        advice = f"install the package {package}" if package else "no package for it is known"
        raise ImageError("codec_missing", f"{name}: encoded as {known}; {advice}.")


def _samples(found: DicomFile, index: int) -> tuple[npt.NDArray[Any], str]:
    """Undecorated samples of a frame, (H, W) or (H, W, 3), and their photometric interpretation."""
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.pixels.utils import as_pixel_options
    from pydicom.uid import UID

    options = as_pixel_options(found.header)
    options |= {"transfer_syntax_uid": UID(found.transfer_syntax), "pixel_keyword": found.keyword}
    if found.vr is not None:
        options["pixel_vr"] = found.vr
    decoder = get_decoder(found.transfer_syntax)
    array, facts = decoder.as_array(found.file, index=index, raw=True, **options)
    return array, str(facts["photometric_interpretation"])


def _rgb(array: npt.NDArray[Any], colours: str, header: Any, name: str) -> Image.Image:
    if array.ndim != 3 or array.shape[2] != 3:
        raise _components(name, 1 if array.ndim < 3 else array.shape[2])
    stored = int(header.get("BitsStored") or 8)
    high = int(header.get("HighBit") or stored - 1)
    if not 8 <= stored <= high + 1 <= 8 * array.dtype.itemsize or array.dtype.kind != "u":
        raise ImageError("unsupported", f"{name}: samples of {stored} bits; expected 8 to 32 without a sign.")
    eight = (array >> (high + 1 - 8)).astype(np.uint8)
    if colours.startswith("YBR_FULL"):
        return Image.frombytes("YCbCr", (eight.shape[1], eight.shape[0]), eight.tobytes()).convert("RGB")
    return Image.fromarray(np.ascontiguousarray(eight))
