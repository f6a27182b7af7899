"""Images: every mode and orientation becomes the same upright RGB."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from support.decoding import ORIENTATION, assert_rgb, code_of, encoded, with_orientation

from skinclf.images.decode import EXTENSIONS, load_image
from skinclf.images.preprocess import Preprocess

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin")  # damaged EXIF, on purpose


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
