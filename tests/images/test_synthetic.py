"""The generator of synthetic pictures, and the examples that it drew."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from skinclf.errors import InvalidArgumentError
from skinclf.images.decode import load_image
from skinclf.images.synthetic import synthetic_lesion

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_a_seed_is_a_picture():
    first = synthetic_lesion(3, width=96, height=72)
    assert first.shape == (72, 96, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, synthetic_lesion(3, width=96, height=72))
    assert (first != synthetic_lesion(4, width=96, height=72)).mean() > 0.5


def test_the_default_size_is_that_of_the_public_data_set():
    assert synthetic_lesion(0).shape == (450, 600, 3)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(16, 120), st.integers(16, 120))
def test_any_seed_and_size_is_drawn(seed, width, height):
    picture = synthetic_lesion(seed, width=width, height=height)
    assert picture.shape == (height, width, 3)
    assert picture.std() > 1


@pytest.mark.parametrize(("seed", "width", "height"), [(-1, 96, 72), (0, 15, 72), (0, 96, 0)])
def test_impossible_pictures_are_refused(seed, width, height):
    with pytest.raises(InvalidArgumentError, match="expected seed >= 0"):
        synthetic_lesion(seed, width=width, height=height)


def test_they_look_like_skin_with_a_darker_lesion_in_the_middle():
    pictures = np.stack([synthetic_lesion(seed, width=120, height=90) for seed in range(24)]).astype(float)
    red, green, blue = pictures.mean(axis=(1, 2)).T
    assert (red > green).all()
    assert (red > blue).all()
    middle = pictures[:, 40:50, 55:65].mean(axis=(1, 2, 3))
    ring = np.concatenate([pictures[:, 20:30, 55:65], pictures[:, 60:70, 55:65]], 1).mean(axis=(1, 2, 3))
    assert (middle < ring + 12).mean() > 0.8
    assert red.std() > 15, "skin tones differ"


# --- examples ---------------------------------------------------------------------------------


def example_files():
    files = sorted((EXAMPLES / "images").glob("*"))
    if not files:
        pytest.skip("no examples beside the tests")
    return files


def test_the_examples_are_a_dozen_small_marked_jpegs():
    files = example_files()
    assert [f.name for f in files] == [f"synthetic-{i:02d}.jpg" for i in range(1, len(files) + 1)]
    assert 10 <= len(files) <= 16
    assert sum(f.stat().st_size for f in files) < 600_000
    for file in files:
        with Image.open(file) as picture:
            assert picture.format == "JPEG"
            assert picture.size == (600, 450)
            assert b"synthetic" in picture.info["comment"]
            assert "synthetic" in picture.getexif()[0x010E]
        assert load_image(file).shape == (450, 600, 3)


def test_the_readme_says_what_they_are():
    example_files()
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for word in ("synthetic", "patient", "accuracy"):
        assert word in text


def test_the_script_writes_the_committed_pictures(tmp_path):
    files = example_files()
    script = runpy.run_path(str(EXAMPLES / "make_images.py"))
    assert len(script["SEEDS"]) == len(files)
    written = script["write_images"](tmp_path, script["SEEDS"][:3])
    assert [p.name for p in written] == [p.name for p in files[:3]]
    for new, old in zip(written, files[:3], strict=True):
        # Not byte for byte: JPEG encoders and the last bit of exp() differ between builds.
        assert np.abs(load_image(new).astype(int) - load_image(old)).mean() < 1
