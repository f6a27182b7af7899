"""Damaged, hostile and unsupported images: each becomes a typed failure, as any bytes do."""

from __future__ import annotations

import importlib.machinery
import io
import pickle
import shutil
import struct
import subprocess
import sys
import types
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile
from support.decoding import ORIENTATION, OUTCOMES, code_of, encoded, outcome, with_orientation

from skinclf.errors import ImageError
from skinclf.images.decode import MAX_JPEG_PIXELS, MAX_PIXELS, load_image
from skinclf.images.formats import readable_endings

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin")  # damaged EXIF, on purpose


# --- damage -----------------------------------------------------------------------------------


def test_every_damaged_file_has_its_code(damaged_file):
    assert code_of(damaged_file.path) == damaged_file.code


def test_damaged_bytes_fail_like_the_file(damaged_file):
    if not damaged_file.path.is_file() or damaged_file.code == "unreadable":
        pytest.skip("a failure of the file system, or one tested as a file")
    assert code_of(damaged_file.path.read_bytes()) == damaged_file.code


def test_messages_name_the_file(damaged_files):
    for kind in ("text", "truncated_jpeg", "missing", "directory", "empty", "bomb_png"):
        with pytest.raises(ImageError, match=damaged_files[kind].path.name):
            load_image(damaged_files[kind].path)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_truncation_is_never_filled_in_even_if_another_package_asked_for_it(
    share, synthetic_image, monkeypatch
):
    data = encoded(Image.fromarray(synthetic_image), "JPEG", quality=95)
    assert code_of(data[: int(len(data) * share)], draft=(20, 20)) == "truncated"
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_warnings_as_errors_do_not_escape(damaged_files):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert code_of(damaged_files["large_png"].path) == "too_large"


def test_path_problems_of_the_system():
    assert code_of("a\0b.jpg") == "unreadable"
    assert code_of("x" * 5000 + ".jpg") in {"unreadable", "missing"}
    assert code_of(Path(__file__) / "below-a-file.jpg") == "missing"


def test_unknown_types_are_refused():
    for source in (None, 3, [1, 2], {"path": "a.jpg"}, object()):
        assert code_of(source) == "unsupported"


def test_too_large_in_memory_pictures(monkeypatch):
    monkeypatch.setattr("skinclf.images.decode.MAX_PIXELS", 100)
    assert code_of(Image.new("RGB", (11, 10))) == "too_large"
    assert code_of(np.zeros((11, 10, 3), np.uint8)) == "too_large"
    assert load_image(np.zeros((10, 10, 3), np.uint8)).shape == (10, 10, 3)


def test_limit_is_pillows_warning_level():
    assert MAX_PIXELS == Image.MAX_IMAGE_PIXELS
    assert (
        16320 * 12240 <= MAX_JPEG_PIXELS <= 4 * MAX_PIXELS
    )  # the largest phones; half of both sides is enough


def jpeg_header(width: int, height: int) -> bytes:
    data = bytearray(encoded(Image.new("RGB", (16, 16)), "JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def test_a_jpeg_beyond_its_own_limit_is_refused():
    assert code_of(jpeg_header(16384, 16385)) == "too_large"
    assert code_of(jpeg_header(65500, 65500)) == "too_large"


def test_a_jpeg_above_the_limit_is_decoded_at_reduced_size_without_a_warning(synthetic_image, monkeypatch):
    monkeypatch.setattr("skinclf.images.decode.MAX_PIXELS", 160 * 120 - 1)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    data = with_orientation(synthetic_image, 6, "JPEG")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_image(data).shape == (80, 60, 3)
        assert load_image(data, draft=(10, 10)).shape == (20, 15, 3)
        for kind in ("PNG", "BMP", "TIFF", "GIF", "WEBP", "JPEG2000"):
            assert code_of(encoded(Image.fromarray(synthetic_image), kind)) == "too_large"


@pytest.mark.parametrize(
    ("shape", "dtype", "code"),
    [
        ((4, 4), np.uint8, "unsupported"),
        ((4, 4, 1), np.uint8, "unsupported"),
        ((4, 4, 4), np.uint8, "unsupported"),
        ((1, 4, 4, 3), np.uint8, "unsupported"),
        ((4, 4, 3), np.float32, "unsupported"),
        ((4, 4, 3), np.int64, "unsupported"),
        ((4, 4, 3), bool, "unsupported"),
        ((0, 4, 3), np.uint8, "zero_size"),
        ((4, 0, 3), np.uint8, "zero_size"),
    ],
)
def test_arrays_are_checked(shape, dtype, code):
    assert code_of(np.zeros(shape, dtype)) == code


def ftyp(*brands: bytes) -> bytes:
    box = b"ftyp" + brands[0] + bytes(4) + b"".join(brands)
    return struct.pack(">I", len(box) + 4) + box + bytes(200)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (ftyp(b"heic", b"mif1"), "HEIC, the format of iPhone photographs: install the extra `heif`"),
        (ftyp(b"mif1", b"heic"), "HEIC"),
        (ftyp(b"msf1", b"hevc"), "HEIC"),
        (b"\xff\x0a" + bytes(40), "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40), "JPEG XL"),
        (bytes(128) + b"DICM" + bytes(40), "DICOM"),
    ],
)
def test_known_formats_that_cannot_be_read_are_named(data, named, monkeypatch):
    monkeypatch.setattr("skinclf.images.formats.has_heif", lambda: False)
    monkeypatch.setattr("skinclf.images.decode.has_dicom", lambda: False)
    with pytest.raises(ImageError, match=named) as caught:
        load_image(data)
    assert caught.value.code == "unsupported"
    assert str(caught.value).endswith(".")


def test_heic_is_read_with_the_plug_in(monkeypatch, synthetic_image):
    class Reader(ImageFile.ImageFile):
        format = "HEIF"

        def _open(self):
            self._size, self._mode = (160, 120), "RGB"

        def load(self):
            self.im = Image.fromarray(synthetic_image).im

    plug_in = types.ModuleType("pillow_heif")
    plug_in.__spec__ = importlib.machinery.ModuleSpec("pillow_heif", None)
    plug_in.register_heif_opener = lambda: Image.register_open(
        "HEIF", Reader, lambda head: head[4:8] == b"ftyp"
    )
    monkeypatch.setitem(sys.modules, "pillow_heif", plug_in)
    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    monkeypatch.setattr(Image, "ID", [*Image.ID])
    np.testing.assert_array_equal(load_image(ftyp(b"heic", b"mif1")), synthetic_image)
    assert ".heic" in readable_endings()


def test_the_real_plug_in_reads_heic(synthetic_image):
    plug_in = pytest.importorskip("pillow_heif", reason="the extra `heif` is not installed")
    buffer = io.BytesIO()
    plug_in.from_pillow(Image.fromarray(synthetic_image)).save(buffer, quality=95)
    assert np.abs(load_image(buffer.getvalue()).astype(int) - synthetic_image).mean() < 4


def test_empty_bytes_and_zero_size_pil():
    assert code_of(b"") == "empty"
    assert code_of(Image.new("RGB", (0, 5))) == "zero_size"


def test_failures_cross_process_borders():
    error = pickle.loads(pickle.dumps(ImageError("truncated", "a.jpg: cut.")))
    assert (error.code, str(error)) == ("truncated", "a.jpg: cut.")


def test_a_failure_leaves_no_file_open(damaged_files, image_dir):
    script = (
        "import sys, warnings; warnings.simplefilter('error')\n"
        "from skinclf.errors import ImageError\nfrom skinclf.images.decode import load_image\n"
        "for path in sys.argv[1:]:\n"
        "    try: load_image(path)\n    except ImageError: pass\n"
    )
    kinds = ("text", "truncated_jpeg", "png_crc", "half_header_png", "truncated_tiff")
    paths = [str(damaged_files[kind].path) for kind in kinds]
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", script, *paths, str(image_dir / "img-0.jpg")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "ResourceWarning" not in done.stderr


# --- properties -------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_give_an_image_or_a_typed_failure(data):
    assert outcome(data) in OUTCOMES


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_mutation_gives_an_image_or_a_typed_failure(data):
    kind = data.draw(st.sampled_from(["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP"]))
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    options = {} if kind in {"GIF", "BMP"} else {"exif": exif}
    sound = bytearray(encoded(Image.new("RGB", (9, 7), (200, 120, 90)), kind, **options))
    for _ in range(data.draw(st.integers(1, 6))):
        sound[data.draw(st.integers(0, len(sound) - 1))] = data.draw(st.integers(0, 255))
    assert outcome(bytes(sound)) in OUTCOMES


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_png_round_trip_of_any_size(height, width, seed):
    array = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    np.testing.assert_array_equal(load_image(encoded(Image.fromarray(array), "PNG")), array)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 700), st.integers(1, 700), st.integers(1, 300), st.integers(1, 300))
def test_draft_is_never_smaller_than_asked(width, height, want_w, want_h):
    data = encoded(Image.new("RGB", (width, height), (180, 120, 90)), "JPEG")
    array = load_image(data, draft=(want_w, want_h))
    assert array.shape[0] >= min(height, want_h)
    assert array.shape[1] >= min(width, want_w)


def test_draft_changes_nothing_but_jpegs(synthetic_image):
    big = np.repeat(np.repeat(synthetic_image, 4, 0), 4, 1)
    assert load_image(encoded(Image.fromarray(big), "PNG"), draft=(40, 40)).shape == big.shape
    assert load_image(encoded(Image.fromarray(big), "JPEG"), draft=(40, 40)).shape[0] < big.shape[0]


def test_a_png_that_lies_about_its_length_is_typed(tmp_path, damaged_files):
    data = bytearray(damaged_files["png_crc"].path.read_bytes())
    at = data.index(b"IDAT")
    data[at - 4 : at] = struct.pack(">I", 2**31 - 1)
    path = tmp_path / "lies.png"
    path.write_bytes(data)
    assert code_of(path) in {"truncated", "unreadable"}
    shutil.copy(path, tmp_path / "copy.png")
    assert code_of(tmp_path / "copy.png") in {"truncated", "unreadable"}
