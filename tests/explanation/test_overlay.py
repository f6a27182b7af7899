"""Overlays: the original's size, colour only where the map is, and the sentence on each."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from support.colour_square import red_model, with_square

from skinclf.explanation import Explainer
from skinclf.explanation.explanation import enclosing_level
from skinclf.explanation.overlay import SENTENCE, legend, overlay, png

PLACE = (400, 500, 100, 200, 60)


def explained(picture: np.ndarray, **options):
    fit = options.pop("fit", "squash")
    return Explainer(red_model(fit=fit), runtime="torch", workers=0, **options).explain(picture)


@pytest.mark.parametrize("size", [(400, 500), (40, 30), (16, 300), (300, 16), (1000, 200)])
def test_the_overlay_has_the_size_of_the_original(size):
    picture = with_square(*size, size[0] // 3, size[1] // 3, max(size) // 3)
    drawn = overlay(picture, explained(picture))
    assert drawn.shape == picture.shape
    assert drawn.dtype == np.uint8


def test_colour_lies_where_the_map_is_and_nowhere_else():
    picture = with_square(*PLACE)
    drawn = overlay(picture, explained(picture)).astype(int)
    change = np.abs(drawn - picture.astype(int)).sum(axis=2)
    assert change[110:150, 210:250].mean() > 50
    assert change[:60].max() <= 3  # above the strip and away from the square
    # Yellow, the strong end of the map: more red and green than blue.
    assert drawn[130, 230, 2] < drawn[130, 230, :2].min()


def test_what_was_not_seen_is_hatched():
    picture = with_square(300, 600, 100, 280, 40)
    drawn = overlay(picture, explained(picture, fit="crop"))
    unseen = drawn[:150, :140].astype(int)
    assert unseen.mean() < picture[:150, :140].mean() * 0.75
    assert len(np.unique(unseen.reshape(-1, 3), axis=0)) > 10
    assert (unseen == 220).all(axis=2).mean() > 0.05  # the lines
    np.testing.assert_array_equal(drawn[10:90, 200:260], picture[10:90, 200:260])


def test_the_sentence_is_on_every_picture_and_in_every_file():
    for picture in (with_square(*PLACE), with_square(24, 24, 8, 8, 8)):
        found = explained(picture)
        assert SENTENCE in legend(found, 1.0)[-1]
        with Image.open(io.BytesIO(png(picture, found))) as image:
            assert SENTENCE in image.text["Description"]
            assert "diagnosis" in image.text["Description"]


def test_the_legend_names_value_scale_and_total():
    picture = with_square(*PLACE)
    found = explained(picture, target="benign", fit="crop")
    text = " ".join(legend(found, 2.0))
    assert "log-odds of benign" in text
    assert f"P = {found.probability:.3f}" in text
    assert "0 to 2" in text
    assert f"total {found.mass:.3g}" in text
    assert "lowers it" in text
    assert "not seen by the model (20%)" in text


def test_levels_enclose_their_share_of_the_mass():
    found = explained(with_square(*PLACE))
    for share in (0.5, 0.8):
        inside = found.shown >= enclosing_level(found.shown, share)
        assert found.shown[inside].sum() >= share * found.shown.sum()
        tighter = found.shown > enclosing_level(found.shown, share)
        assert found.shown[tighter].sum() <= share * found.shown.sum() * (1 + 1e-6)


def test_a_stronger_scale_gives_paler_colours():
    picture = with_square(*PLACE)
    found = explained(picture)
    own, common = (overlay(picture, found, scale=s).astype(int) for s in (None, 10 * found.maximum))
    place = (slice(110, 150), slice(210, 250))
    assert np.abs(common - picture)[place].mean() < np.abs(own - picture)[place].mean()


def test_lines_of_a_map_of_single_pixels_are_no_noise():
    found = explained(with_square(*PLACE))
    rng = np.random.default_rng(0)
    rows, cols = np.ogrid[:128, :128]
    blob = np.exp(-((rows - 64) ** 2 + (cols - 64) ** 2) / 800)
    noisy = (blob * rng.exponential(size=(128, 128))).astype(np.float32)
    grey = np.full((256, 256, 3), 128, np.uint8)
    drawn = overlay(grey, replace(found, map=noisy), with_legend=False)
    black = (drawn < 8).all(axis=2)
    assert 0.002 < black.mean() < 0.03
