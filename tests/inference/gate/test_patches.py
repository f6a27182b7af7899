"""Patches of the small picture: how they are cut, and how strange they are together."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from support.overlays import clean_lesion

from skinclf.inference.gate.gate import blocks
from skinclf.inference.gate.patches import SIDE, STEP, cut, fit_patches, patch_strangeness
from skinclf.inference.gate.picture import PATCHES, THUMBNAIL, measure


def small(picture: np.ndarray) -> np.ndarray:
    return measure(Image.fromarray(picture), marks=False)[blocks()[PATCHES]]


@pytest.fixture(scope="module")
def lesions() -> np.ndarray:
    return np.stack([small(clean_lesion(seed, width=160, height=120)) for seed in range(80)])


def test_patches_are_overlapping_squares_of_the_picture(lesions):
    height, width, values = THUMBNAIL
    picture = lesions[3].reshape(THUMBNAIL)
    expected = [
        picture[row : row + SIDE, column : column + SIDE].transpose(2, 0, 1).ravel()
        for row in range(0, height - SIDE + 1, STEP)
        for column in range(0, width - SIDE + 1, STEP)
    ]
    assert cut(lesions)[3].tolist() == np.stack(expected).tolist()
    assert cut(lesions).shape[2] == values * SIDE**2


def test_a_picture_is_as_strange_as_its_patches_on_the_average(lesions):
    gaussian = fit_patches(lesions)
    found = patch_strangeness(gaussian, lesions)
    assert found.std() == pytest.approx(1, rel=1e-3)
    mean = np.mean([gaussian.distance(cut(lesions)[:, i]) for i in range(cut(lesions).shape[1])], axis=0)
    assert found == pytest.approx(np.log(mean) / gaussian.spread, rel=1e-4)
    # In whatever company it is measured.
    assert [patch_strangeness(gaussian, row[None])[0] for row in lesions[:5]] == found[:5].tolist()


def test_edges_and_colours_of_other_things_are_strange(lesions):
    gaussian = fit_patches(lesions)
    rng = np.random.default_rng(0)
    usual = patch_strangeness(gaussian, lesions)
    new = small(clean_lesion(500, width=160, height=120))
    noise = small(rng.integers(0, 256, (120, 160, 3), dtype=np.uint8))
    blue = small(clean_lesion(501, width=160, height=120)[..., ::-1].copy())
    strange = patch_strangeness(gaussian, np.stack([new, noise, blue]))
    assert strange[0] < usual.max() + 1
    assert strange[1:].min() > usual.max() + 3


def test_an_upright_picture_is_laid_on_its_side():
    picture = clean_lesion(7, width=160, height=120)
    upright = np.ascontiguousarray(np.rot90(picture, -1))
    assert small(upright) == pytest.approx(small(picture), abs=0.02)
