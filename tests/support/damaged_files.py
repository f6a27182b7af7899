"""Damaged picture files, each with the error code that it must give."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from skinclf.images.synthetic import synthetic_lesion
from support.pictures import encode


class Damaged(NamedTuple):
    """A file that must fail, and the code it must fail with."""

    path: Path
    code: str


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int, pixels: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = (
        _png_chunk(b"IHDR", header) + _png_chunk(b"IDAT", zlib.compress(pixels)) + _png_chunk(b"IEND", b"")
    )
    return b"\x89PNG\r\n\x1a\n" + chunks


def _wrong_crc(png: bytes) -> bytes:
    """Flip a bit of the pixel data's checksum."""
    at = png.index(b"IDAT")
    length = struct.unpack(">I", png[at - 4 : at])[0]
    data = bytearray(png)
    data[at + 4 + length] ^= 0xFF
    return bytes(data)


def _jpeg_of_zero_size(jpeg: bytes) -> bytes:
    at = jpeg.index(b"\xff\xc0")
    return jpeg[: at + 5] + b"\0\0\0\0" + jpeg[at + 9 :]


_JPEG = encode(synthetic_lesion(1, width=160, height=120), quality=90)
_PNG = encode(synthetic_lesion(1, width=80, height=60), "PNG")
_GIF = encode(synthetic_lesion(1, width=80, height=60), "GIF")
_WEBP = encode(synthetic_lesion(1, width=80, height=60), "WEBP")
_TIFF = encode(synthetic_lesion(1, width=80, height=60), "TIFF", compression="tiff_lzw")

# Codes follow one rule: what Pillow cannot even open is `not_an_image`, what it cannot decode `truncated`
# or `unreadable`. (A cut TIFF has lost its directory, which stands at the end.)
#: Damaged content by kind: file name, bytes, expected code.
DAMAGED_BYTES: dict[str, tuple[str, bytes, str]] = {
    "empty": ("empty.jpg", b"", "empty"),
    "zero_bytes": ("zeros.jpg", bytes(4096), "not_an_image"),
    "text": ("text.jpg", b"This is not an image.\n", "not_an_image"),
    "html": ("page.jpg", b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "not_an_image"),
    "random": ("random.jpg", np.random.default_rng(0).bytes(5000), "not_an_image"),
    "lfs_pointer": (
        "pointer.jpg",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "lfs_pointer",
    ),
    "half_header_jpeg": ("header.jpg", _JPEG[:12], "not_an_image"),
    "half_header_png": ("header.png", _PNG[:20], "not_an_image"),
    "zip": ("archive.png", b"PK\x03\x04" + bytes(200), "not_an_image"),
    "truncated_jpeg": ("cut.jpg", _JPEG[: len(_JPEG) // 2], "truncated"),
    "truncated_jpeg_late": ("cut-late.jpg", _JPEG[:-200], "truncated"),
    "truncated_png": ("cut.png", _PNG[: len(_PNG) // 2], "truncated"),
    "truncated_gif": ("cut.gif", _GIF[: len(_GIF) // 2], "truncated"),
    "truncated_tiff": ("cut.tif", _TIFF[: len(_TIFF) // 2], "not_an_image"),
    "truncated_webp": ("cut.webp", _WEBP[: len(_WEBP) // 2], "not_an_image"),
    "png_crc": ("crc.png", _wrong_crc(_PNG), "unreadable"),
    "bomb_png": ("bomb.png", _png(60_000, 60_000, bytes(1000)), "too_large"),
    "large_png": ("large.png", _png(9_500, 9_500, bytes(1000)), "too_large"),
    "zero_size_png": ("zero.png", _png(0, 10, b""), "not_an_image"),
    "zero_size_jpeg": ("zero.jpg", _jpeg_of_zero_size(_JPEG), "not_an_image"),
}
_SPECIAL = ("missing", "directory", "dangling_link", "no_permission", "fifo")


@pytest.fixture(scope="session")
def damaged_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Damaged]]:
    """Damaged files by kind, each with the `ImageError.code` it must give. Read only.

    `no_permission` is absent for root, whom permissions do not stop; `fifo` where the system has none.
    """
    folder = tmp_path_factory.mktemp("damaged")
    files: dict[str, Damaged] = {}
    for kind, (name, data, code) in DAMAGED_BYTES.items():
        path = folder / f"{kind}-{name}"
        path.write_bytes(data)
        files[kind] = Damaged(path, code)
    files["missing"] = Damaged(folder / "missing.jpg", "missing")
    directory = folder / "directory.jpg"
    directory.mkdir()
    files["directory"] = Damaged(directory, "unreadable")
    link = folder / "link.jpg"
    link.symlink_to(folder / "nowhere.jpg")
    files["dangling_link"] = Damaged(link, "missing")
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "fifo.jpg")
        files["fifo"] = Damaged(folder / "fifo.jpg", "unreadable")
    locked = folder / "locked.jpg"
    locked.write_bytes(_JPEG)
    locked.chmod(0)
    if not os.access(locked, os.R_OK):
        files["no_permission"] = Damaged(locked, "unreadable")
    yield files
    locked.chmod(0o600)


@pytest.fixture(params=[*DAMAGED_BYTES, *_SPECIAL])
def damaged_file(request: pytest.FixtureRequest, damaged_files: dict[str, Damaged]) -> Damaged:
    """Each damaged kind in turn."""
    if request.param not in damaged_files:
        pytest.skip(f"{request.param}: cannot be made for this user on this system")
    return damaged_files[request.param]
