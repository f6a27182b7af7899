"""`skinclf.images.enhance`: each step does what it says, and only on request."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from skinclf.errors import ImageError, MissingExtraError, ModelError
from skinclf.images.enhance import STEPS, Step, apply_steps, check_steps, hair_mask
from skinclf.images.preprocess import Preprocess
from skinclf.images.synthetic import synthetic_lesion

DEFAULTS = {"resize": {"height": 32, "width": 48}, "jpeg": {"quality": 90}}


@pytest.fixture(scope="module")
def lesion():
    return synthetic_lesion(3, width=240, height=180)


def step(name, **params):
    return Step(name, {**DEFAULTS.get(name, {}), **params})


@pytest.mark.parametrize("name", sorted(STEPS))
def test_every_step_keeps_the_contract_and_its_input(name, lesion):
    pytest.importorskip("cv2")
    before = lesion.copy()
    result = apply_steps(lesion, [step(name)])
    assert result.dtype == np.uint8
    assert result.shape == ((32, 48, 3) if name == "resize" else lesion.shape)
    assert np.array_equal(lesion, before)
    assert np.array_equal(result, apply_steps(lesion, [step(name)]))


def test_resize_and_jpeg_are_pillows(lesion):
    picture = Image.fromarray(lesion).resize((48, 32), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90)
    expected = np.asarray(Image.open(buffer))
    assert np.array_equal(apply_steps(lesion, [step("resize"), step("jpeg")]), expected)


def test_clahe_equals_opencv_written_out(lesion):
    cv2 = pytest.importorskip("cv2")
    light, a, b = cv2.split(cv2.cvtColor(lesion, cv2.COLOR_RGB2LAB))
    light = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(light)
    expected = cv2.cvtColor(cv2.merge([light, a, b]), cv2.COLOR_LAB2RGB)
    assert np.array_equal(apply_steps(lesion, [step("clahe")]), expected)


@pytest.fixture
def hairy():
    """Flat skin with one dark hair, 3 px wide."""
    image = np.full((120, 120, 3), (210, 170, 150), np.uint8)
    image[:, 60:63] = 40
    return image


def test_hair_removal_paints_over_the_hair_and_nothing_else(hairy):
    pytest.importorskip("cv2")
    result = apply_steps(hairy, [step("hair_removal")])
    assert np.abs(result.astype(int) - (210, 170, 150)).max() <= 2
    mask = hair_mask(hairy) > 0
    assert mask[:, 60:63].all()
    assert mask[:, :58].sum() == 0
    assert mask[:, 65:].sum() == 0
    assert np.array_equal(result[~mask], hairy[~mask])


def test_hair_removal_stops_at_its_area(hairy):
    pytest.importorskip("cv2")
    area = float((hair_mask(hairy) > 0).mean())
    apply_steps(hairy, [step("hair_removal", max_area=area + 0.001)])
    with pytest.raises(ImageError, match=r"paint over 4\.2%") as caught:
        apply_steps(hairy, [step("hair_removal", max_area=area - 0.001)])
    assert caught.value.code == "enhancement_failed"


def test_shades_of_gray_takes_a_colour_cast_away(lesion):
    cast = (lesion * np.array([1.0, 0.8, 0.6])).astype(np.uint8)
    balanced = apply_steps(cast, [step("shades_of_gray")]).astype(float) / 255
    power = (balanced**6).mean(axis=(0, 1)) ** (1 / 6)
    assert np.ptp(power) < 0.02
    assert np.ptp(((cast / 255.0) ** 6).mean(axis=(0, 1)) ** (1 / 6)) > 0.1


def test_shades_of_gray_leaves_grey_alone():
    grey = np.repeat(np.random.default_rng(0).integers(0, 256, (30, 30, 1), np.uint8), 3, axis=2)
    assert np.array_equal(apply_steps(grey, [step("shades_of_gray")]), grey)


def test_a_picture_without_a_channel_fails_by_name():
    image = np.full((20, 20, 3), 99, np.uint8)
    image[..., 2] = 0
    with pytest.raises(ImageError, match="shades_of_gray") as caught:
        apply_steps(image, [step("shades_of_gray")])
    assert caught.value.code == "enhancement_failed"


def test_what_opencv_cannot_do_is_an_image_error(monkeypatch, lesion):
    cv2 = pytest.importorskip("cv2")

    def fail(*_, **__):
        raise cv2.error("no")

    monkeypatch.setattr(cv2, "cvtColor", fail)
    for name in ("clahe", "hair_removal"):
        with pytest.raises(ImageError, match=name):
            apply_steps(lesion, [step(name)])


def test_without_opencv_the_message_holds_the_line_to_install(monkeypatch, lesion):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingExtraError, match=r"skinclf\[enhance\]"):
        apply_steps(lesion, [step("clahe")])


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (Step("sharpen", {}), "sharpen"),
        (Step("resize", {"height": 32}), "width"),
        (Step("resize", {"height": 10**9, "width": 32}), "4096"),
        (Step("jpeg", {"quality": 90.5}), "whole number"),
        (Step("jpeg", {"quality": float("nan")}), "quality"),
        (Step("jpeg", {"quality": "90"}), "quality"),
        (Step("jpeg", {"quality": True}), "quality"),
        (Step("clahe", {"tiles": 8}), "tiles"),
        (Step("hair_removal", {"max_area": 1.5}), "max_area"),
        (Step("shades_of_gray", {"p": 0}), "from 1 to 100"),
    ],
)
def test_unknown_steps_and_parameters_are_refused_when_a_preprocess_is_made(bad, says):
    with pytest.raises(ModelError, match=says):
        check_steps([bad])
    with pytest.raises(ModelError, match=says):
        Preprocess(steps=(bad,))


def test_preprocess_runs_the_steps_before_the_resize(lesion):
    steps = (step("resize", height=64, width=64), step("jpeg", quality=20))
    pixels = Preprocess(height=32, width=32, steps=steps).pixels(lesion)
    expected = Preprocess(height=32, width=32).pixels(apply_steps(lesion, steps))
    assert np.array_equal(pixels, expected)
    assert not np.array_equal(pixels, Preprocess(height=32, width=32).pixels(lesion))


def test_checking_imports_no_opencv():
    code = (
        "import sys; from skinclf.images.preprocess import *; "
        "Preprocess(steps=(Step('clahe', {}),)); assert 'cv2' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
