"""Image file formats: their usual endings, opening by content, and names of formats that cannot be read."""

from __future__ import annotations

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

_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})


def readable_endings() -> frozenset[str]:
    """Endings of the formats that this installation reads."""
    return ENDINGS | HEIF_ENDINGS if has_heif() else ENDINGS


def has_heif() -> bool:
    """Whether the extra `heif` is installed."""
    try:
        return find_spec("pillow_heif") is not None
    except ValueError:  # a module without a specification
        return True


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
    head = file.read(132)
    kind = _foreign(head)
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
    return "DICOM" if head[128:132] == b"DICM" else None
