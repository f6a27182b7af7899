"""Images: every mode and orientation becomes the same upright RGB; every damage becomes a typed failure."""

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

from skinclf.errors import ImageError
from skinclf.images.decode import EXTENSIONS, MAX_JPEG_PIXELS, MAX_PIXELS, load_image
from skinclf.images.formats import readable_endings
from skinclf.images.preprocess import Preprocess

ORIENTATION = 0x0112
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin")  # damaged EXIF, on purpose


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def assert_rgb(array, shape):
    assert array.shape == (*shape, 3)
    assert array.dtype == np.uint8
    assert array.flags.c_contiguous
    assert array.flags.writeable


def code_of(source, **options) -> str:
    with pytest.raises(ImageError) as caught:
        load_image(source, **options)
    assert str(caught.value).endswith(".")
    return caught.value.code


OUTCOMES = {
    "ok",
    "empty",
    "not_an_image",
    "truncated",
    "unreadable",
    "too_large",
    "zero_size",
    "unsupported",
    "lfs_pointer",
}


def outcome(data: bytes) -> str:
    """`ok` for an RGB array, or the code of the typed failure; anything else escapes."""
    try:
        array = load_image(data)
    except ImageError as error:
        return error.code
    assert_rgb(array, array.shape[:2])
    return "ok"


# --- sources ----------------------------------------------------------------------------------


def test_all_sources_of_one_picture_agree(tmp_path, synthetic_image):
    picture = Image.fromarray(synthetic_image)
    path = tmp_path / "a.png"
    picture.save(path)
    data = path.read_bytes()
    for source in (path, str(path), data, bytearray(data), memoryview(data), picture, synthetic_image):
        array = load_image(source)
        assert_rgb(array, (120, 160))
        np.testing.assert_array_equal(array, synthetic_image)


def test_jpeg_equals_what_pillow_decodes(image_dir):
    path = image_dir / "img-0.jpg"
    with Image.open(path) as picture:
        np.testing.assert_array_equal(load_image(path), np.asarray(picture))


def test_content_decides_not_the_extension(tmp_path, synthetic_image):
    path = tmp_path / "really-a-png.jpg"
    path.write_bytes(encoded(Image.fromarray(synthetic_image), "PNG"))
    np.testing.assert_array_equal(load_image(path), synthetic_image)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_are_exact(kind, synthetic_image):
    np.testing.assert_array_equal(
        load_image(encoded(Image.fromarray(synthetic_image), kind)), synthetic_image
    )


def test_extensions_are_lower_case_with_a_dot():
    assert {".jpg", ".jpeg", ".png", ".tif", ".webp"} <= EXTENSIONS
    assert all(x.startswith(".") and x == x.lower() for x in EXTENSIONS)


# --- orientation ------------------------------------------------------------------------------

# How each EXIF orientation must be undone, in array terms (TIFF 6.0, tag 274).
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}


def with_orientation(array, orientation: int, kind: str = "PNG") -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return encoded(Image.fromarray(np.ascontiguousarray(array)), kind, exif=exif)


@pytest.mark.parametrize("orientation", sorted(UPRIGHT))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_every_exif_orientation_is_applied(orientation, kind, synthetic_image):
    data = with_orientation(synthetic_image, orientation, kind)
    with Image.open(io.BytesIO(data)) as picture:
        stored = np.asarray(picture.convert("RGB"))
        oriented = picture.getexif().get(ORIENTATION) == orientation
    if not oriented:  # a format whose reader turns the picture itself
        np.testing.assert_array_equal(load_image(data), stored)
        return
    np.testing.assert_array_equal(load_image(data), UPRIGHT[orientation](stored))


def test_orientation_of_a_pil_image_is_applied(synthetic_image):
    picture = Image.open(io.BytesIO(with_orientation(synthetic_image, 6)))
    np.testing.assert_array_equal(load_image(picture), np.rot90(synthetic_image, -1))
    assert picture.size == (160, 120)  # the caller's image is left alone


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("orientation", [1, 6])
def test_scaled_decoding_keeps_the_ratio_in_every_mode(mode, progressive, orientation, synthetic_image):
    big = Image.fromarray(synthetic_image).resize((1000, 640), Image.Resampling.BICUBIC).convert(mode)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encoded(big, "JPEG", progressive=progressive, exif=exif, quality=95)
    sides = (1000, 640) if orientation == 1 else (640, 1000)
    # The target is 160 x 100 for the upright sides: 4 times either would be 640 x 400.
    preprocess = Preprocess(width=sides[0] // 8, height=sides[1] // 8, scaled_decoding=4)
    array = load_image(data, draft=preprocess.reduction)
    assert array.shape == (sides[1] // 2, sides[0] // 2, 3)
    full, scaled = (preprocess.pixels(x).astype(int) for x in (load_image(data), array))
    assert np.abs(full - scaled).mean() < 1.5


def test_orientation_comes_before_draft(synthetic_image):
    data = with_orientation(np.repeat(np.repeat(synthetic_image, 4, 0), 4, 1), 6, "JPEG")
    array = load_image(data, draft=(60, 80))
    assert array.shape[0] >= 80
    assert array.shape[1] >= 60
    assert array.shape[0] > array.shape[1]


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_undefined_orientations_change_nothing(value, synthetic_image):
    np.testing.assert_array_equal(load_image(with_orientation(synthetic_image, value)), synthetic_image)


def test_grey_and_alpha_are_oriented_too(synthetic_image):
    exif = Image.Exif()
    exif[ORIENTATION] = 8
    for mode in ("L", "RGBA", "P", "I;16"):
        picture = Image.fromarray(synthetic_image).convert("L" if mode == "I;16" else mode)
        if mode == "I;16":
            picture = Image.fromarray(np.asarray(picture).astype(np.uint16) * 257)
        assert load_image(encoded(picture, "PNG", exif=exif)).shape == (160, 120, 3)


# --- modes ------------------------------------------------------------------------------------


def grey_ramp() -> np.ndarray:
    return np.arange(256, dtype=np.uint8).reshape(16, 16)


def test_mode_1():
    picture = Image.fromarray(grey_ramp() >= 128)
    assert picture.mode == "1"
    expected = np.where(grey_ramp() >= 128, 255, 0)[..., None].repeat(3, 2)
    np.testing.assert_array_equal(load_image(encoded(picture, "PNG")), expected)


def test_mode_l_repeats_grey():
    np.testing.assert_array_equal(
        load_image(encoded(Image.fromarray(grey_ramp()), "PNG")), grey_ramp()[..., None].repeat(3, 2)
    )


@pytest.mark.parametrize(
    ("mode", "black"), [("LA", (0,)), ("PA", (0,)), ("RGBA", (0, 0, 0)), ("RGBa", (0, 0, 0))]
)
def test_alpha_is_composited_over_white(mode, black):
    picture = Image.new(mode, (3, 1))
    for x, alpha in enumerate((0, 128, 255)):
        picture.putpixel((x, 0), (*black, alpha))
    assert load_image(picture)[0, :, 0].tolist() == [255, 127, 0]


def test_fully_transparent_pixels_hide_their_colour():
    picture = Image.new("RGBA", (4, 4), (200, 30, 30, 0))
    assert (load_image(encoded(picture, "PNG")) == 255).all()


def test_palette_without_transparency(synthetic_image):
    picture = Image.fromarray(synthetic_image).quantize(64)
    np.testing.assert_array_equal(load_image(encoded(picture, "PNG")), np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_palette_with_transparency_is_white_there(kind, synthetic_image):
    picture = Image.fromarray(synthetic_image).quantize(8)
    where = np.asarray(picture) == 2
    assert where.any()
    array = load_image(encoded(picture, kind, transparency=2))
    expected = np.asarray(picture.convert("RGB")).copy()
    expected[where] = 255
    np.testing.assert_array_equal(array, expected)


def test_rgb_and_grey_with_a_transparent_colour():
    picture = Image.new("RGB", (2, 1), (10, 20, 30))
    picture.putpixel((1, 0), (40, 50, 60))
    array = load_image(encoded(picture, "PNG", transparency=(10, 20, 30)))
    assert array[0].tolist() == [[255, 255, 255], [40, 50, 60]]
    grey = Image.new("L", (2, 1), 7)
    grey.putpixel((1, 0), 9)
    assert load_image(encoded(grey, "PNG", transparency=7))[0, :, 0].tolist() == [255, 9]


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "RGBX"])
def test_direct_modes_take_pillows_conversion(mode, synthetic_image):
    picture = Image.fromarray(synthetic_image).convert(mode)
    np.testing.assert_array_equal(load_image(picture), np.asarray(picture.convert("RGB")))


def test_cmyk_jpeg_is_not_inverted(synthetic_image):
    picture = Image.fromarray(synthetic_image).convert("CMYK")
    array = load_image(encoded(picture, "JPEG", quality=95))
    assert np.abs(array.astype(int) - synthetic_image).mean() < 4


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_is_divided_by_257(kind):
    values = np.array([[0, 128, 129, 257, 32768, 65406, 65407, 65535]], np.uint16)
    array = load_image(encoded(Image.fromarray(values), kind))
    assert (
        array[0, :, 0].tolist()
        == [round(int(v) / 257) for v in values[0]]
        == [0, 0, 1, 1, 128, 254, 255, 255]
    )


def test_16_bit_grey_big_endian_and_32_bit():
    values = np.array([[0, 257, 65535]], np.uint16)
    big = Image.frombytes("I;16B", (3, 1), values.astype(">u2").tobytes())
    assert load_image(big)[0, :, 0].tolist() == [0, 1, 255]
    assert load_image(Image.fromarray(values.astype(np.int32)))[0, :, 0].tolist() == [0, 1, 255]


@pytest.mark.parametrize("value", [-1, 65536])
def test_32_bit_values_beyond_16_bits_are_refused(value):
    assert code_of(Image.fromarray(np.array([[0, value]], np.int32))) == "unsupported"


def test_16_bit_grey_with_a_transparent_value_is_white_there():
    values = np.array([[257, 514]], np.uint16)
    array = load_image(encoded(Image.fromarray(values), "PNG", transparency=257))
    assert array[0, :, 0].tolist() == [255, 2]


@pytest.mark.parametrize("mode", ["F", "LAB", "La"])
def test_modes_without_a_declared_rule_are_refused(mode):
    assert code_of(Image.new(mode, (4, 4))) == "unsupported"


def test_float_tiff_is_refused():
    assert code_of(encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF")) == "unsupported"


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG"])
def test_first_frame_of_several(kind):
    first, second = Image.new("RGB", (8, 8), (250, 0, 0)), Image.new("RGB", (8, 8), (0, 0, 250))
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(first, kind, save_all=True, append_images=[second], **options)
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.n_frames == 2
    assert (load_image(data) == (250, 0, 0)).all()


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
