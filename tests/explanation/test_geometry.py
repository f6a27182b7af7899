"""Geometry: maps lie where the original's pixels are, and what a crop removed is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skinclf.explanation.geometry import LONGEST, Geometry, enlarge
from skinclf.images.preprocess import Preprocess

SIDES = st.integers(20, 300)


@settings(max_examples=60, deadline=None)
@given(
    rows=SIDES,
    cols=SIDES,
    fit=st.sampled_from(["squash", "crop", "pad"]),
    height=st.integers(32, 96),
    width=st.integers(32, 96),
    crop_pct=st.sampled_from([0.7, 0.875, 1.0]),
)
def test_a_resized_ramp_comes_back_to_its_place(rows, cols, fit, height, width, crop_pct):
    # Each pixel of the ramp holds its own column; what comes back must be that column again.
    ramp = np.broadcast_to(np.linspace(0, 255, cols)[None, :, None], (rows, cols, 3)).astype(np.uint8)
    preprocess = Preprocess(height=height, width=width, fit=fit, crop_pct=crop_pct)
    geometry = Geometry.of(preprocess, rows, cols)
    back = geometry.to_original(preprocess.pixels(ramp)[:, :, 0])
    assert back.shape == (rows, cols)
    seen = geometry.seen(rows, cols)
    # Beside an edge of the picture, resizing and the outermost cells smear by up to two pixels of the input.
    margin = int(np.ceil(2 * max(cols / (width / geometry.width), rows / (height / geometry.height), 1))) + 1
    inner = seen.copy()
    for axis in (0, 1):
        where = np.flatnonzero(seen.any(axis=1 - axis))
        if len(where) <= 2 * margin:
            return
        cut = np.ones(inner.shape[axis], bool)
        cut[where[0] : where[0] + margin] = False
        cut[where[-1] - margin + 1 : where[-1] + 1] = False
        inner &= cut[:, None] if axis == 0 else cut[None, :]
    step = 255 / cols
    assert np.abs(back - ramp[:, :, 0])[inner].max() <= 2 * step + 2
    assert not back[~seen].any()
    assert abs(seen.mean() - geometry.seen_share) < 2 / min(rows, cols)


def test_a_crop_hides_the_ends_of_a_wide_picture_and_padding_hides_nothing():
    crop = Geometry.of(Preprocess(height=64, width=64, fit="crop"), 100, 300)
    assert crop.seen_share == pytest.approx(1 / 3, abs=0.02)
    assert not crop.seen(100, 300)[:, :95].any()
    assert crop.seen(100, 300)[:, 105:195].all()
    assert Geometry.of(Preprocess(height=64, width=64, fit="pad"), 100, 300).seen(100, 300).all()
    assert Geometry.of(Preprocess(height=64, width=64), 100, 300).seen_share == 1


def test_maps_of_large_pictures_are_smaller_and_keep_the_proportions():
    assert Geometry(3000, 4000).map_size == (384, 512)
    assert Geometry(4000, 40).map_size == (LONGEST, 5)
    assert Geometry(40, 30).map_size == (40, 30)


def test_enlarging_keeps_corners_and_means():
    grid = np.array([[1.0, 2.0], [3.0, 4.0]])
    large = enlarge(grid, 10, 12)
    assert large[0, 0] == 1
    assert large[-1, -1] == 4
    assert large.mean() == pytest.approx(2.5)
