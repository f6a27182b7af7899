"""Decoding of a path, bytes, PIL image or array to an upright RGB `uint8` array, or a typed failure.

Declared rules, in this order: EXIF orientation is applied; the first frame of an animation is taken; alpha (LA, PA,
RGBA, transparent P) is composited over white; 16-bit grey is divided by 257; every other mode goes through Pillow's own
conversion; ICC profiles are ignored, as they were when the published models were trained. Pixels are never repaired: a
truncated file is a failure, and so is a PNG whose checksums of pixel data are wrong. Notes beside the pixels cost no
image: those that cannot be read are left aside (`skinclf.images.metadata`).

Size: at most `MAX_PIXELS` are decoded. A JPEG may have up to `MAX_JPEG_PIXELS`, because libjpeg decodes it at half size
or less without holding all of it: above `MAX_PIXELS` that is done for every model. No other format
is decoded at reduced size: Pillow has that for JPEG 2000 too, but its smaller resolutions differ several times as much.
"""

from __future__ import annotations

import io
import os
import re
import stat
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import IO, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, JpegImagePlugin, UnidentifiedImageError

from skinclf._utils.lfs import ADVICE, is_pointer
from skinclf.errors import ImageError
from skinclf.images.colour_modes import check_array, to_rgb
from skinclf.images.dicom.frame_names import split_frame
from skinclf.images.formats import (
    DICOM_ADVICE,
    DICOM_ENDINGS,
    ENDINGS,
    HEIF_ENDINGS,
    has_dicom,
    is_dicom,
    open_image,
    why_unreadable,
)
from skinclf.images.metadata import exif_orientation, without_metadata
from skinclf.images.named_bytes import NamedBytes

RGBArray: TypeAlias = npt.NDArray[np.uint8]
ImageSource: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image | RGBArray"

#: Divisor 1, 2, 4 or 8 of both sides for an upright (width, height): what a JPEG may be decoded down by.
Reduction: TypeAlias = Callable[[int, int], int]

#: More pixels than this are never decoded: `too_large` (Pillow's own warning level, about 9,459 x 9,459).
MAX_PIXELS = 89_478_485
#: Largest JPEG (2**28 pixels; phones reach 200 million); above `MAX_PIXELS` it is decoded at reduced size.
MAX_JPEG_PIXELS = 268_435_456
#: Endings of image files, in lower case.
EXTENSIONS = ENDINGS | HEIF_ENDINGS | DICOM_ENDINGS

#: Why an address is no input.
NOT_READ = "addresses are not read; download the image and give its file"
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, AttributeError,
                  EOFError, OverflowError, NotImplementedError, struct.error, zlib.error,
                  Warning)  # fmt: skip  # warnings are exceptions under `python -W error`


_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_EXIF_ORIENTATION = 0x0112
#: Function that is told how many bytes the pixels of a picture take, before they are decoded.
_ADMISSION: ContextVar[Callable[[int], None] | None] = ContextVar("_ADMISSION", default=None)


#: Where the divisors of pictures that are decoded down are noted.
_DIVISORS: ContextVar[list[int] | None] = ContextVar("_DIVISORS", default=None)


@contextmanager
def divisors() -> Iterator[list[int]]:
    """Note by what the JPEGs that this thread decodes inside are decoded down; a picture in full leaves no entry."""
    found: list[int] = []
    token = _DIVISORS.set(found)
    try:
        yield found
    finally:
        _DIVISORS.reset(token)


@contextmanager
def admission(ask: Callable[[int], None]) -> Iterator[None]:
    """Let a function know, or delay, what this thread decodes inside.

    Args:
        ask: Function that is called with the number of bytes that a picture takes while it is decoded, and returns
            when there is room.
    """
    token = _ADMISSION.set(ask)
    try:
        yield
    finally:
        _ADMISSION.reset(token)


def is_address(name: str) -> bool:
    """Whether a name is an address such as `https://...` or `s3://...`, and no path."""
    return bool(_ADDRESS.match(name))


def load_image(source: ImageSource, *, draft: tuple[int, int] | Reduction | None = None) -> RGBArray:
    """Decode one image to an upright RGB array.

    Args:
        source: Path, encoded bytes, PIL image, or an array of shape (H, W, 3), dtype uint8, RGB. A frame of a DICOM
            file is named as `file.dcm#3`.
        draft: Limit of libjpeg's scaled decoding of a file: a (width, height) that the upright result never falls
            below, or a function such as `Preprocess.reduction`; None decodes in full. It changes pixel values
            slightly, hence is only used for models whose `Preprocess` declares it.

    Returns:
        Array of shape (H, W, 3), dtype uint8, RGB, values 0 to 255.

    Raises:
        ImageError: The source is missing, empty, no image, damaged, too large or of an unsupported kind; its `code`
            says which.
    """
    if isinstance(source, np.ndarray):
        return check_array(source, MAX_PIXELS)
    return np.array(load_picture(source, draft=draft), dtype=np.uint8)


def load_picture(source: ImageSource, *, draft: tuple[int, int] | Reduction | None = None) -> Image.Image:
    """Decode one image to an upright RGB PIL image; `load_image` without the copy into an array.

    Arguments and errors are those of `load_image`.
    """
    if isinstance(source, np.ndarray):
        return Image.fromarray(check_array(source, MAX_PIXELS))
    if isinstance(source, Image.Image):
        return _decode(source, "image")
    if isinstance(source, (bytes, bytearray, memoryview)):
        data = bytes(source)
        name = source.name if isinstance(source, NamedBytes) else ""
        if not data and name:
            raise ImageError("empty", f"{name}: the file is empty.")
        if not data:
            raise ImageError("empty", "Received 0 bytes; expected an encoded image.")
        return _open_and_decode(io.BytesIO(data), name or f"{len(data)} bytes", draft)
    if isinstance(source, str) and is_address(source):
        raise ImageError("missing", f"{source}: {NOT_READ}.")
    if isinstance(source, (str, os.PathLike)):
        return _load_path(Path(source), draft)
    raise ImageError(
        "unsupported",
        f"Received {type(source).__name__}; expected a path, bytes, a PIL image or a uint8 array (H, W, 3).",
    )


def _load_path(path: Path, draft: tuple[int, int] | Reduction | None) -> Image.Image:
    name, frame = str(path), None
    try:
        if not path.exists():
            path, frame = split_frame(path)
        info = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise ImageError("missing", f"{name}: no such file.") from None
    except (OSError, ValueError) as error:
        raise ImageError("unreadable", f"{path}: {_reason(error)}.") from None
    if not stat.S_ISREG(info.st_mode):
        raise ImageError("unreadable", f"{path}: not a regular file.")
    if info.st_size == 0:
        raise ImageError("empty", f"{path}: the file is empty.")
    try:
        with path.open("rb") as file:
            return _open_and_decode(file, name, draft, frame)
    except ImageError:
        raise
    except OSError as error:
        raise ImageError("unreadable", f"{path}: {_reason(error)}.") from None


def _open_and_decode(
    file: IO[bytes], name: str, draft: tuple[int, int] | Reduction | None, frame: int | None = None
) -> Image.Image:
    if is_dicom(file, name if frame is None else name.rpartition("#")[0]):
        return _decode_dicom(file, name, draft, frame)
    if frame is not None:
        raise ImageError("missing", f"{name}: frames are numbered in DICOM files only.")
    try:
        return _decode_file(file, name, draft)
    except ImageError as error:
        if error.code in {"too_large", "zero_size", "unsupported"}:
            raise
        failure = error
    # Notes beside the pixels may be all that is wrong.
    file.seek(0)
    bare = without_metadata(file.read())
    if bare is None:
        raise failure
    try:
        return _decode_file(io.BytesIO(bare), name, draft)
    except ImageError:
        raise failure from None


def _decode_dicom(
    file: IO[bytes], name: str, draft: tuple[int, int] | Reduction | None, frame: int | None
) -> Image.Image:
    """A frame of a DICOM file; its JPEG or JPEG 2000 stream as if it were a file of its own."""
    from skinclf.images.dicom.frames import Encoded, read_frame

    if not has_dicom():
        raise ImageError("unsupported", f"{name}: DICOM: {DICOM_ADVICE}.")
    try:
        found = read_frame(file, name, frame=frame, most=MAX_PIXELS)
    except MemoryError:
        raise ImageError("too_large", f"{name}: not enough memory for this DICOM file.") from None
    if not isinstance(found, Encoded):
        return found
    picture = _decode_file(io.BytesIO(found.data), name, draft)
    return Image.merge("YCbCr", picture.split()).convert("RGB") if found.ycbcr else picture


def _decode_file(file: IO[bytes], name: str, draft: tuple[int, int] | Reduction | None) -> Image.Image:
    image = _open(file, name)
    if image.format == "PNG":
        # Decoding alone skips checksums, and a verified image cannot be decoded: open it twice.
        try:
            image.verify()
        except _DECODE_ERRORS as error:
            raise _damaged(error, name) from None
        file.seek(0)
        image = _open(file, name)
    with image:
        whole = image.width * image.height
        if isinstance(image, JpegImagePlugin.JpegImageFile):
            _check_size(image, name, MAX_JPEG_PIXELS)
            _reduce(image, draft)
        return _decode(image, name, whole=whole)


def _open(file: IO[bytes], name: str) -> Image.Image:
    try:
        return open_image(file)
    except UnidentifiedImageError:
        file.seek(0)
        if is_pointer(file.read(64)):
            raise ImageError("lfs_pointer", f"{name}: {ADVICE}") from None
        reason = why_unreadable(file)
        if reason is not None:
            raise ImageError("unsupported", f"{name}: {reason}.") from None
        raise ImageError("not_an_image", f"{name}: not an image in a format that can be read.") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError("too_large", f"{name}: more than {MAX_PIXELS:,} pixels.") from None
    except PermissionError as error:
        raise ImageError("unreadable", f"{name}: {_reason(error)}.") from None
    except _DECODE_ERRORS as error:
        raise ImageError("not_an_image", f"{name}: {_reason(error)}.") from None


def _check_size(image: Image.Image, name: str, most: int) -> None:
    width, height = image.size
    if width < 1 or height < 1:
        raise ImageError("zero_size", f"{name}: the image has {width} x {height} pixels.")
    if width * height > most:
        raise ImageError("too_large", f"{name}: {width} x {height} pixels; at most {most:,} are read.")


def _reduce(image: JpegImagePlugin.JpegImageFile, draft: tuple[int, int] | Reduction | None) -> None:
    """Ask libjpeg for 1/2, 1/4 or 1/8 of both sides where that is allowed, or needed for `MAX_PIXELS`."""
    width, height = image.size
    upright = (height, width) if _orientation(image) >= 5 else (width, height)
    if callable(draft):
        by = draft(*upright)
    elif draft is not None:
        ratio = min(side // least for side, least in zip(upright, draft, strict=True))
        by = next((n for n in (8, 4, 2) if ratio >= n), 1)
    else:
        by = 1
    while by < 8 and -(-width // by) * -(-height // by) > MAX_PIXELS:
        by *= 2
    if by > 1:
        # Pillow takes the largest divisor that does not fall below the size it is given.
        image.draft(image.mode, (max(1, width // by), max(1, height // by)))
        noted = _DIVISORS.get()
        if noted is not None and image.size != (width, height):
            noted.append(by)


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1 to 8, as far as it can be read."""
    try:
        value = image.getexif().get(_EXIF_ORIENTATION, 1)
    except _DECODE_ERRORS:
        exif = image.info.get("exif")
        value = exif_orientation(exif) if isinstance(exif, bytes) else 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _decode(image: Image.Image, name: str, *, whole: int = 0) -> Image.Image:
    _check_size(image, name, MAX_PIXELS)
    width, height = image.size
    ask = _ADMISSION.get()
    if ask is not None:
        # Pillow holds RGB in four bytes; libjpeg holds a progressive file whole, as three planes of 16 bits.
        ask(4 * width * height + (6 * whole if image.info.get("progressive") else 0))
    try:
        image.load()
        method = _UPRIGHT.get(_orientation(image))
        if method is not None:
            image = image.transpose(method)
        return to_rgb(image, name)
    except ImageError:
        raise
    except MemoryError:
        raise ImageError("too_large", f"{name}: not enough memory for {width} x {height} pixels.") from None
    except _DECODE_ERRORS as error:
        raise _damaged(error, name) from None


def _damaged(error: Exception, name: str) -> ImageError:
    text = _reason(error)
    truncated = (
        isinstance(error, EOFError) or "truncat" in text.lower() or "broken data stream" in text.lower()
    )
    return ImageError("truncated" if truncated else "unreadable", f"{name}: {text}.")


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


# Another package in the process may have asked Pillow to fill truncated files with grey.
ImageFile.LOAD_TRUNCATED_IMAGES = False
