"""Preprocessing: geometry and arithmetic equal to the libraries that models were trained with."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from skinclf.errors import ImageError, InvalidArgumentError
from skinclf.images.preprocess import SCALINGS, Preprocess, scaling
from skinclf.images.resample import bilinear

# (height, width) before and after: odd, extreme, exact halving (OpenCV's special case), one side halved, equal.
SIZES = [
    ((450, 600), (224, 224)),
    ((120, 160), (224, 224)),
    ((240, 320), (120, 160)),
    ((240, 320), (120, 100)),
    ((100, 100), (100, 100)),
    ((101, 37), (64, 63)),
    ((1, 1), (8, 9)),
    ((1, 500), (32, 32)),
    ((500, 1), (32, 48)),
    ((33, 2), (16, 1)),
    ((3, 3), (300, 299)),
    ((1000, 999), (10, 11)),
]


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


# --- resizing arithmetic ----------------------------------------------------------------------


@pytest.mark.parametrize(("before", "after"), SIZES)
def test_opencv_resize_is_bit_equal(before, after):
    cv2 = pytest.importorskip("cv2")
    image = noise(*before)
    expected = cv2.resize(image, after[::-1], interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(bilinear(image, *after, fixed_point=True), expected)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 200), st.integers(1, 200), st.integers(1, 120), st.integers(1, 120), st.integers(0, 99))
def test_opencv_resize_is_bit_equal_for_any_size(h, w, height, width, seed):
    cv2 = pytest.importorskip("cv2")
    image = noise(h, w, seed)
    expected = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(bilinear(image, height, width, fixed_point=True), expected)


@pytest.mark.tensorflow
@pytest.mark.slow
def test_tensorflow_resize_is_bit_equal():
    tf = pytest.importorskip("tensorflow")
    rng = np.random.default_rng(1)
    sizes = SIZES + [(tuple(rng.integers(1, 300, 2)), tuple(rng.integers(1, 200, 2))) for _ in range(40)]
    for before, after in sizes:
        image = noise(*before)
        expected = tf.image.resize(image, [int(x) for x in after], method="bilinear", antialias=False).numpy()
        np.testing.assert_array_equal(bilinear(image, *map(int, after), fixed_point=False), expected)


def test_bilinear_of_a_constant_is_that_constant():
    flat = np.full((37, 53, 3), 201, np.uint8)
    for fixed_point in (True, False):
        assert (bilinear(flat, 20, 70, fixed_point=fixed_point) == 201).all()


def test_tensorflow_resize_is_not_rounded():
    image = np.array([[[0] * 3, [255] * 3]], np.uint8)
    assert bilinear(image, 1, 4, fixed_point=False)[0, :, 0].tolist() == [0.0, 63.75, 191.25, 255.0]
    assert bilinear(image, 1, 4, fixed_point=True)[0, :, 0].tolist() == [0, 64, 191, 255]


@pytest.mark.parametrize("interpolation", ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"])
def test_pillow_squash_is_pillows_resize(interpolation, synthetic_image):
    expected = Image.fromarray(synthetic_image).resize((40, 56), Image.Resampling[interpolation.upper()])
    pixels = Preprocess(height=56, width=40, interpolation=interpolation).pixels(synthetic_image)
    np.testing.assert_array_equal(pixels, np.asarray(expected))


def test_pillow_squash_is_what_keras_and_torchvision_do(synthetic_image):
    transforms = pytest.importorskip("torchvision.transforms")
    expected = transforms.Resize((64, 48))(Image.fromarray(synthetic_image))
    np.testing.assert_array_equal(
        Preprocess(height=64, width=48).pixels(synthetic_image), np.asarray(expected)
    )


# --- geometry ---------------------------------------------------------------------------------


@pytest.mark.parametrize("crop_pct", [1.0, 0.95, 0.875, 0.9, 0.5])
@pytest.mark.parametrize(
    "shape", [(450, 600), (600, 450), (333, 334), (64, 64), (50, 301), (65, 64), (20, 31)]
)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_crop_is_torchvisions_resize_and_centre_crop(crop_pct, shape, interpolation):
    transforms = pytest.importorskip("torchvision.transforms")
    image = noise(*shape)
    mode = transforms.InterpolationMode(interpolation)
    reference = transforms.Compose(
        [transforms.Resize(math.floor(64 / crop_pct), interpolation=mode), transforms.CenterCrop(64)]
    )
    ours = Preprocess(height=64, width=64, fit="crop", crop_pct=crop_pct, interpolation=interpolation)
    np.testing.assert_array_equal(ours.pixels(image), np.asarray(reference(Image.fromarray(image))))


@pytest.mark.parametrize("size", [(64, 64), (48, 80), (81, 49)])
@pytest.mark.parametrize("shape", [(450, 600), (600, 449), (97, 101), (30, 200)])
@pytest.mark.parametrize("crop_pct", [1.0, 0.875])
def test_crop_is_timms_evaluation_transform(size, shape, crop_pct):
    transforms_factory = pytest.importorskip("timm.data.transforms_factory")
    image = noise(*shape)
    reference = transforms_factory.transforms_imagenet_eval(
        size, crop_pct=crop_pct, interpolation="bicubic", use_prefetcher=True
    )
    ours = Preprocess(height=size[0], width=size[1], fit="crop", crop_pct=crop_pct, interpolation="bicubic")
    expected = np.asarray(reference(Image.fromarray(image))).transpose(1, 2, 0)
    np.testing.assert_array_equal(ours.pixels(image), expected)


def test_timms_whole_evaluation_input_is_ours(synthetic_image):
    transforms_factory = pytest.importorskip("timm.data.transforms_factory")
    reference = transforms_factory.transforms_imagenet_eval(64, crop_pct=0.875, interpolation="bicubic")
    ours = scaling("torch", height=64, width=64, fit="crop", crop_pct=0.875, interpolation="bicubic")
    batch = ours.normalize(ours.pixels(synthetic_image)[None])
    expected = reference(Image.fromarray(synthetic_image)).numpy()
    np.testing.assert_allclose(batch[0], expected, atol=2e-6)


@pytest.mark.parametrize(("shape", "box"), [((60, 120), (16, 0, 48, 64)), ((120, 60), (0, 16, 64, 48))])
def test_pad_keeps_the_whole_picture_centred(shape, box):
    image = np.full((*shape, 3), 200, np.uint8)
    pixels = Preprocess(height=64, width=64, fit="pad", fill=7).pixels(image)
    top, left, bottom, right = box
    inside = np.zeros((64, 64), bool)
    inside[top:bottom, left:right] = True
    assert (pixels[inside] == 200).all()
    assert (pixels[~inside] == 7).all()


def test_crop_keeps_the_centre():
    image = np.zeros((40, 120, 3), np.uint8)
    image[:, 40:80] = 255
    assert (Preprocess(height=40, width=40, fit="crop").pixels(image) == 255).all()


def test_a_picture_of_the_right_size_is_untouched(synthetic_image):
    for library in ("pillow", "opencv", "tensorflow"):
        for fit in ("squash", "crop", "pad"):
            pixels = Preprocess(height=120, width=160, library=library, fit=fit).pixels(synthetic_image)
            np.testing.assert_array_equal(pixels, synthetic_image)


sizes = st.integers(1, 300)
geometries = st.builds(
    Preprocess,
    height=st.integers(8, 96),
    width=st.integers(8, 96),
    fit=st.sampled_from(["squash", "crop", "pad"]),
    crop_pct=st.sampled_from([1.0, 0.9, 0.875, 0.5]),
    library=st.sampled_from(["pillow", "opencv", "tensorflow"]),
    fill=st.integers(0, 255),
)


@settings(max_examples=150, deadline=None)
@given(sizes, sizes, geometries)
@example(1, 300, Preprocess(height=96, width=8, fit="crop"))
@example(300, 1, Preprocess(height=8, width=96, fit="pad"))
def test_any_picture_gets_the_declared_shape(rows, cols, preprocess):
    image = noise(rows, cols)
    before = image.copy()
    pixels = preprocess.pixels(image)
    assert pixels.shape == (preprocess.height, preprocess.width, 3)
    assert pixels.dtype == preprocess.pixel_dtype
    assert pixels.min() >= 0
    assert pixels.max() <= 255
    np.testing.assert_array_equal(image, before)


def test_read_only_and_strided_pictures_are_fine(synthetic_image):
    expected = Preprocess(height=32, width=32).pixels(np.ascontiguousarray(synthetic_image[:, ::-1]))
    flipped = synthetic_image[:, ::-1]
    flipped.flags.writeable = False
    np.testing.assert_array_equal(Preprocess(height=32, width=32).pixels(flipped), expected)


@pytest.mark.parametrize("shape", [(1, 60_000), (60_000, 1)])
def test_a_line_cannot_blow_up_the_memory_of_a_crop(shape):
    line = np.zeros((*shape, 3), np.uint8)
    with pytest.raises(ImageError, match="too narrow") as caught:
        Preprocess(fit="crop").pixels(line)
    assert caught.value.code == "unsupported"
    assert Preprocess(fit="squash").pixels(line).shape == (224, 224, 3)
    assert Preprocess(fit="pad").pixels(line).shape == (224, 224, 3)


# --- scaling ----------------------------------------------------------------------------------


def test_named_scalings_are_what_their_libraries_do():
    pixels = noise(8, 8)[None]
    x = pixels.astype(np.float64)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = {
        "caffe": x[..., ::-1] - np.array([103.939, 116.779, 123.68]),
        "tf": x / 127.5 - 1,
        "torch": (x / 255 - mean) / std,
        "unit": x / 255,
        "raw": x,
    }
    assert set(SCALINGS) == set(expected)
    for name, value in expected.items():
        batch = scaling(name, height=8, width=8).normalize(pixels)
        assert batch.shape == (1, 3, 8, 8)
        assert batch.dtype == np.float32
        assert batch.flags.c_contiguous
        np.testing.assert_allclose(batch, value.transpose(0, 3, 1, 2), rtol=1e-5, atol=2e-5)


@pytest.mark.tensorflow
@pytest.mark.slow
@pytest.mark.parametrize("mode", ["caffe", "tf", "torch"])
def test_named_scalings_are_keras_preprocess_input(mode):
    utils = pytest.importorskip("tensorflow.keras.applications.imagenet_utils")
    pixels = noise(16, 16)[None]
    expected = utils.preprocess_input(pixels.astype(np.float32), data_format="channels_last", mode=mode)
    batch = scaling(mode, height=16, width=16).normalize(pixels)
    np.testing.assert_allclose(batch.transpose(0, 2, 3, 1), expected, rtol=1e-5, atol=2e-5)


def test_affine_is_the_same_map_as_normalize():
    preprocess = scaling("caffe", height=8, width=8, std=(50.0, 60.0, 70.0))
    pixels = noise(8, 8)[None]
    a, b = preprocess.affine()
    assert a.dtype == b.dtype == np.float32
    expected = (pixels[..., ::-1] * a + b).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(preprocess.normalize(pixels), expected, rtol=1e-6)


def test_unknown_scaling_names_the_known():
    with pytest.raises(InvalidArgumentError, match="caffe, tf, torch, unit, raw"):
        scaling("keras")


# --- all of it ----------------------------------------------------------------------------------


def test_the_numbers_of_one_picture_stay_what_they_were():
    """A change of any digit here changes every published prediction."""
    image = (np.indices((61, 97, 3)).sum(0) * 7 % 256).astype(np.uint8)
    sums = {
        (library, fit): Preprocess(height=32, width=40, library=library, fit=fit)
        .pixels(image)
        .sum(dtype=np.float64)
        for library in ("pillow", "opencv", "tensorflow")
        for fit in ("squash", "crop", "pad")
    }
    assert sums == {
        ("pillow", "squash"): 497_512,
        ("pillow", "crop"): 496_314,
        ("pillow", "pad"): 388_714,
        ("opencv", "squash"): 497_049,
        ("opencv", "crop"): 496_096,
        ("opencv", "pad"): 387_461,
        ("tensorflow", "squash"): pytest.approx(497_522.4016804695, abs=1e-3),
        ("tensorflow", "crop"): pytest.approx(496_592.08210372925, abs=1e-3),
        ("tensorflow", "pad"): pytest.approx(387_826.1112985611, abs=1e-3),
    }
