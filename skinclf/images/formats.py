"""Image file formats: their usual endings, opening by content, and names of formats that cannot be read."""

from __future__ import annotations

import os
import stat
import struct
from importlib import import_module
from importlib.util import find_spec
from typing import IO

from PIL import Image, JpegImagePlugin, UnidentifiedImageError

#: Endings, in lower case, that cameras, phones, scanners and browsers give to formats that Pillow reads.
ENDINGS = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jif", ".jfif", ".jfi", ".pjpeg", ".pjp", ".mpo",
    ".png", ".apng", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".gif", ".avif", ".avifs",
    ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".ppm", ".pgm", ".pnm",
})  # fmt: skip
#: Endings of the format of iPhone photographs, which the extra `heif` reads.
HEIF_ENDINGS = frozenset({".heic", ".heif", ".hif", ".heics", ".heifs"})
#: Advice for files in that format while the extra is missing.
HEIF_ADVICE = "install the extra `heif` (pip install 'skinclf[heif]'), or save as JPEG"
#: Endings of DICOM files, which the extra `dicom` reads; many have none.
DICOM_ENDINGS = frozenset({".dcm", ".dicom"})
#: Advice for files in that format while the extra is missing.
DICOM_ADVICE = "install the extra `dicom` (pip install 'skinclf[dicom]')"
_DICOM_INDEX = "dicomdir"
#: First groups of a data set without a preamble, in both byte orders.
_DICOM_GROUPS = frozenset({b"\x02\0", b"\x08\0", b"\0\x02", b"\0\x08"})

_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})


def readable_endings() -> frozenset[str]:
    """Endings of the formats that this installation reads."""
    endings = ENDINGS
    if has_heif():
        endings |= HEIF_ENDINGS
    return endings | DICOM_ENDINGS if has_dicom() else endings


def has_heif() -> bool:
    """Whether the extra `heif` is installed."""
    return _installed("pillow_heif")


def has_dicom() -> bool:
    """Whether the extra `dicom` is installed, as far as reading needs it."""
    return _installed("pydicom")


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ValueError:  # a module without a specification
        return True


def is_dicom(file: IO[bytes], name: str) -> bool:
    """Whether a file is DICOM: by the mark after its preamble, and without one only under the ending of DICOM.

    Args:
        file: File, left at its start.
        name: Name of the file.
    """
    file.seek(0)
    head = file.read(132)
    file.seek(0)
    if head[128:] == b"DICM":
        return True
    return os.path.splitext(name)[1].lower() in DICOM_ENDINGS and head[:2] in _DICOM_GROUPS  # noqa: PTH122


def is_dicom_without_ending(path: str) -> bool:
    """Whether a file whose name has no ending, or a number for one as UIDs have, is DICOM; never an index of files."""
    base = os.path.basename(path).lower()  # noqa: PTH119 - millions of names
    ending = os.path.splitext(base)[1]  # noqa: PTH122
    if (ending and not ending[1:].isdigit()) or base == _DICOM_INDEX or not has_dicom():
        return False
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - a pipe would wait for its writer
            return False
        with open(path, "rb") as file:  # noqa: PTH123
            return is_dicom(file, base)
    except OSError:
        return False


def open_image(file: IO[bytes]) -> Image.Image:
    """The image in a file, not yet decoded; its size is for the caller to check.

    `PIL.Image.open` warns about sizes on stderr or refuses them before a scaled decode can be asked for; this asks the
    same readers in the same order. A JPEG is read as such: what else a phone has put behind it is no part of it.

    Raises:
        UnidentifiedImageError: No reader knows the content.
    """
    head = file.read(64)
    file.seek(0)
    if head[:3] == b"\xff\xd8\xff":
        try:
            return JpegImagePlugin.JpegImageFile(file)
        except (SyntaxError, IndexError, TypeError, struct.error):
            raise UnidentifiedImageError from None
    if _foreign(head) == "HEIC" and has_heif():
        import_module("pillow_heif").register_heif_opener()
    for load_readers in (Image.preinit, Image.init):
        load_readers()
        for name in tuple(Image.ID):
            if name not in Image.OPEN:
                continue
            factory, accept = Image.OPEN[name]
            try:
                if accept is not None and accept(head[:16]) is not True:
                    continue
                file.seek(0)
                return factory(file, "")
            except (SyntaxError, IndexError, TypeError, struct.error):
                continue
    raise UnidentifiedImageError


def why_unreadable(file: IO[bytes]) -> str | None:
    """A sentence's end on a format that is known but cannot be read, and what to do; None for other content."""
    file.seek(0)
    kind = _foreign(file.read(64))
    if kind == "HEIC":
        return f"HEIC, the format of iPhone photographs: {HEIF_ADVICE}"
    return None if kind is None else f"{kind}, which cannot be read here: save it as JPEG or PNG"


def _foreign(head: bytes) -> str | None:
    if head[4:8] == b"ftyp":
        (length,) = struct.unpack_from(">I", head)
        box = head[8 : max(12, min(length, len(head)))]
        brands = {box[i : i + 4] for i in range(0, len(box) - 3, 4)}
        if brands & {b"avif", b"avis"}:
            return "AVIF"
        if brands & _HEIF_BRANDS or box[:4] in {b"mif1", b"msf1"}:
            return "HEIC"
    if head[:2] == b"\xff\x0a" or head[4:12] == b"JXL \r\n\x87\n":
        return "JPEG XL"
    return None
