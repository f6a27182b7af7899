"""Notes beside the pixels: whatever is wrong with them, the pixels are read, upright where that can be told."""

from __future__ import annotations

import io
import random
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.pictures import encode

from skinclf.errors import ImageError
from skinclf.images.decode import load_image
from skinclf.images.metadata import exif_orientation, without_metadata

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")
PIXELS = np.random.default_rng(3).integers(0, 256, (24, 40, 3), dtype=np.uint8)


def exif(orientation: int = 6, order: str = ">", entries: bytes = b"", count: int = 0) -> bytes:
    """An EXIF block: the orientation, then further raw entries."""
    mark = b"MM\0*" if order == ">" else b"II*\0"
    own = struct.pack(f"{order}HHIHH", 274, 3, 1, orientation, 0)
    return b"Exif\0\0" + mark + struct.pack(f"{order}IH", 8, 1 + count) + own + entries


def png(*chunks: tuple[bytes, bytes], crc: int = 0) -> bytes:
    """The picture with chunks before its pixel data."""
    extra = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body) ^ crc)
        for kind, body in chunks
    )
    data = encode(PIXELS, "PNG")
    return data[:33] + extra + data[33:]


def jpeg(*segments: tuple[int, bytes]) -> bytes:
    data = encode(PIXELS, quality=95)
    extra = b"".join(struct.pack(">BBH", 0xFF, m, len(body) + 2) + body for m, body in segments)
    return data[:2] + extra + data[2:]


BAD_PNG = {
    "EXIF that is no TIFF": [(b"eXIf", b"nonsense")],
    "empty EXIF": [(b"eXIf", b"")],
    "EXIF cut in its table": [(b"eXIf", b"MM\0*\0\0\0\x08\0\x20\x01")],
    "a text that unpacks to 2 MB": [(b"zTXt", b"note\0\0" + zlib.compress(bytes(2_000_000)))],
    "many long texts": [(b"zTXt", b"note\0\0" + zlib.compress(bytes(1_000_000)))] * 70,
    "an unknown text compression": [(b"zTXt", b"note\0\x07rubbish")],
    "an international text of 2 MB": [
        (b"iTXt", b"note\0\1\0\0\0" + zlib.compress(b"a" * 2_000_000)),
    ],
    "a profile that does not unpack": [(b"iCCP", b"icc\0\0broken")],
    "a profile of unknown compression": [(b"iCCP", b"icc\0\x09broken")],
    "a huge profile": [(b"iCCP", b"icc\0\0" + zlib.compress(bytes(3_000_000)))],
    "short gamma": [(b"gAMA", b"\0")],
    "short resolution": [(b"pHYs", b"\0\0")],
    "short rendering intent": [(b"sRGB", b"")],
    "short chromaticities": [(b"cHRM", b"\0\0\0")],
}


@pytest.mark.parametrize("what", BAD_PNG)
def test_png_with_odd_notes(what):
    np.testing.assert_array_equal(load_image(png(*BAD_PNG[what])), PIXELS)


def test_png_notes_with_wrong_checksums_are_left_aside():
    data = png((b"tEXt", b"note\0text"), (b"eXIf", exif()[6:]), crc=1)
    np.testing.assert_array_equal(load_image(data), PIXELS)


def test_png_stays_upright_when_another_note_is_broken():
    bad = (b"zTXt", b"note\0\x07rubbish")
    np.testing.assert_array_equal(load_image(png(bad, (b"eXIf", exif()[6:]))), np.rot90(PIXELS, -1))
    xmp = b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="3"/>'
    np.testing.assert_array_equal(load_image(png(bad, (b"iTXt", xmp))), np.rot90(PIXELS, 2))


@pytest.mark.parametrize("at", ["IHDR", "PLTE", "tRNS", "IDAT"])
def test_png_damage_of_the_pixels_stays_a_failure(at):
    picture = Image.fromarray(PIXELS).quantize(16)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", transparency=3)
    data = bytearray(buffer.getvalue())
    data[data.index(at.encode()) + 5] ^= 0x40
    with pytest.raises(ImageError):
        load_image(bytes(data))


BROKEN_ENTRIES = {
    "a rational out of range": (
        struct.pack(">HHII", 282, 5, 1, 26) + b"\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff",
        1,
    ),
    "an unknown type": (struct.pack(">HHII", 271, 99, 1, 0), 1),
    "text beyond the end": (struct.pack(">HHII", 271, 2, 5000, 60000), 1),
    "a table cut short": (b"\x01", 30),
    "a directory beyond the end": (struct.pack(">HHII", 34853, 4, 1, 60000), 1),
    "a directory of the wrong type": (struct.pack(">HHII", 34665, 2, 1, 0), 1),
}


@pytest.mark.parametrize("what", BROKEN_ENTRIES)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_broken_exif_beside_a_readable_orientation(what, kind):
    entries, count = BROKEN_ENTRIES[what]
    note = exif(6, entries=entries, count=count)
    plain = load_image(encode(PIXELS, kind))
    data = png((b"eXIf", note[6:])) if kind == "PNG" else encode(PIXELS, kind, exif=note)
    np.testing.assert_array_equal(load_image(data), np.rot90(plain, -1))


@pytest.mark.parametrize(
    "segments",
    [
        [(0xE1, b"Exif\0\0nonsense")],
        [(0xE1, b"Exif\0\0")],
        [(0xE0, b"JFIF")],
        [(0xEE, b"Adobe")],
        [(0xED, b"Photoshop 3.0\0" + b"8BIM")],
        [(0xE2, b"ICC_PROFILE\0")],
        [(0xE2, b"ICC_PROFILE\0\7\3" + b"x" * 20)],
        [(0xE2, b"MPF\0nonsense")],
        [(0xE2, b"MPF\0MM\0*\0\0\0\x08\0\1\xb0\x01\0\4\0\0\0\1\0\0\0\2\0\0\0\0")],
        [(0xFE, b"\xff\xd8\xff" * 100)],
    ],
)
def test_jpeg_with_odd_notes(segments):
    np.testing.assert_array_equal(load_image(jpeg(*segments)), load_image(encode(PIXELS, quality=95)))


def test_jpeg_bare_of_notes_has_the_same_pixels():
    for mode in ("RGB", "L", "CMYK"):
        buffer = io.BytesIO()
        picture = Image.fromarray(PIXELS).convert(mode)
        picture.save(buffer, "JPEG", exif=exif(8), comment=b"note", icc_profile=bytes(5000))
        bare = without_metadata(buffer.getvalue())
        assert bare is not None
        assert b"note" not in bare
        np.testing.assert_array_equal(load_image(bare), load_image(buffer.getvalue()))


def tiff_with(tag: int, kind: int, count: int, value: int, **options) -> bytes:
    """The picture as TIFF, its entry of the description replaced by any other."""
    data = bytearray(encode(PIXELS, "TIFF", description="a description", tiffinfo={274: 6}, **options))
    entry = struct.pack("<HH", 270, 2)
    at = data.index(entry)
    data[at : at + 12] = struct.pack("<HHII", tag, kind, count, value)
    return bytes(data)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate"])
@pytest.mark.parametrize(
    "entry",
    [
        (34665, 4, 1, 2**31),
        (34853, 2, 3, 7),
        (34853, 4, 1, 5),
        (34675, 7, 2**30, 8),
        (33432, 2, 2**31, 2**31),
        (270, 99, 1, 0),
        (282, 5, 1, 2**31),
        (700, 1, 9, 2**31),
        (305, 12, 4, 11),
    ],
)
def test_tiff_with_odd_tags(entry, compression):
    options = {} if compression is None else {"compression": compression}
    np.testing.assert_array_equal(load_image(tiff_with(*entry, **options)), np.rot90(PIXELS, -1))


def test_tiff_with_a_broken_next_directory():
    data = bytearray(encode(PIXELS, "TIFF", compression="tiff_lzw"))
    at = int.from_bytes(data[4:8], "little")
    end = at + 2 + 12 * int.from_bytes(data[at : at + 2], "little")
    data[end : end + 4] = struct.pack("<I", at + 1)
    np.testing.assert_array_equal(load_image(bytes(data)), PIXELS)


@pytest.mark.parametrize("cut", [0, 4, 30])
def test_webp_whose_notes_are_cut_short(cut):
    data = encode(PIXELS, "WEBP", exif=exif(6, entries=bytes(60)), xmp=b"x" * 40)
    at = data.index(b"EXIF") + 4
    broken = data[:at] + struct.pack("<I", 99999) + data[at + 4 : len(data) - cut]
    np.testing.assert_array_equal(load_image(broken), np.rot90(load_image(encode(PIXELS, "WEBP")), -1))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["JPEG", "PNG"]))
def test_any_change_of_the_notes_leaves_the_pixels(seed, kind):
    dice = random.Random(seed)
    note = bytearray(exif(1, entries=BROKEN_ENTRIES["text beyond the end"][0] + bytes(200), count=1))
    for _ in range(dice.randint(1, 12)):
        note[dice.randrange(6, len(note))] = dice.randrange(256)
    plain = load_image(encode(PIXELS, kind, **({"quality": 95} if kind == "JPEG" else {})))
    data = png((b"eXIf", bytes(note[6:]))) if kind == "PNG" else jpeg((0xE1, bytes(note)))
    array = load_image(data)
    turned = [np.rot90(x, k) for x in (plain, plain[:, ::-1]) for k in range(4)]
    assert any(array.shape == x.shape and np.array_equal(array, x) for x in turned)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_hostile_bytes_neither_hang_nor_escape(data):
    assert 1 <= exif_orientation(data) <= 8
    for head in (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*", b"RIFF\0\0\0\0WEBP"):
        without_metadata(head + data)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("stated", "found"), [(1, 1), (6, 6), (8, 8), (0, 1), (9, 1)])
def test_orientation_of_a_block(order, stated, found):
    assert exif_orientation(exif(stated, order)) == found
