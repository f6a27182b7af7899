"""Preprocessing as a record: JSON, fingerprint, what is refused, and scaled decoding."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skinclf.errors import ModelError
from skinclf.images.enhance import Step
from skinclf.images.preprocess import Preprocess

# --- scaled decoding --------------------------------------------------------------------------

SCALED = Preprocess(scaled_decoding=2)


def test_reduction_is_the_largest_that_keeps_the_ratio():
    assert Preprocess().reduction(6000, 4000) == 1
    assert SCALED.reduction(6000, 4000) == 8
    assert SCALED.reduction(3584, 3584) == 8
    assert SCALED.reduction(3584, 3568) == 4
    assert SCALED.reduction(894, 5000) == 1
    assert Preprocess(scaled_decoding=4).reduction(6000, 4000) == 4
    crop = replace(SCALED, fit="crop", crop_pct=0.5)  # 448 pixels on the shorter side
    assert crop.reduction(6000, 4000) == crop.reduction(4000, 6000) == 4
    assert replace(SCALED, fit="pad").reduction(6000, 600) == 8  # the target is 224 x 22


@settings(max_examples=300, deadline=None)
@given(
    st.integers(1, 30000),
    st.integers(1, 30000),
    st.builds(
        Preprocess,
        height=st.integers(8, 640),
        width=st.integers(8, 640),
        fit=st.sampled_from(["squash", "crop", "pad"]),
        crop_pct=st.floats(0.3, 1),
        scaled_decoding=st.integers(2, 6),
    ),
)
def test_a_reduced_picture_is_never_below_the_declared_ratio(width, height, preprocess):
    by = preprocess.reduction(width, height)
    assert by in {1, 2, 4, 8}
    if by > 1:
        rows, cols = -(-height // by), -(-width // by)
        new_h, new_w = preprocess._target(rows, cols)
        assert rows >= preprocess.scaled_decoding * new_h
        assert cols >= preprocess.scaled_decoding * new_w


@pytest.mark.parametrize(
    "fields",
    [
        {"library": "opencv"},
        {"library": "tensorflow"},
        {"interpolation": "nearest"},
        {"steps": (Step("jpeg", {"quality": 90}),)},
    ],
)
def test_scaled_decoding_is_for_antialiased_resizing_only(fields):
    with pytest.raises(ModelError, match="scaled_decoding is for antialiased resizing"):
        Preprocess(scaled_decoding=2, **fields)


def test_files_from_before_the_key_decode_in_full_and_keep_their_fingerprint():
    old = {**Preprocess().to_dict(), "draft": False}
    del old["scaled_decoding"]
    assert Preprocess.from_dict(old) == Preprocess()
    assert (
        Preprocess().fingerprint == hashlib.sha256(json.dumps(old, sort_keys=True).encode()).hexdigest()[:16]
    )
    with pytest.raises(ModelError, match="`scaled_decoding`"):
        Preprocess.from_dict({**old, "draft": True})


# --- the record -------------------------------------------------------------------------------

finite = st.floats(-1000, 1000).filter(lambda x: abs(x) > 1e-3)
triples = st.tuples(finite, finite, finite)
records = st.builds(
    Preprocess,
    height=st.integers(8, 4096),
    width=st.integers(8, 4096),
    fit=st.sampled_from(["squash", "crop", "pad"]),
    crop_pct=st.floats(0.1, 1),
    interpolation=st.sampled_from(["bilinear", "bicubic", "lanczos"]),
    color=st.sampled_from(["rgb", "bgr"]),
    scale=finite,
    mean=triples,
    std=triples,
    fill=st.integers(0, 255),
    scaled_decoding=st.sampled_from([0, 2, 3]),
) | st.builds(
    Preprocess,
    library=st.sampled_from(["pillow", "opencv"]),
    steps=st.lists(st.builds(lambda q: Step("jpeg", {"quality": q}), st.integers(50, 95)), max_size=2).map(
        tuple
    ),
)


@settings(max_examples=80, deadline=None)
@given(records)
def test_json_round_trip_keeps_everything(preprocess):
    again = Preprocess.from_dict(json.loads(json.dumps(preprocess.to_dict())))
    assert again == preprocess
    assert again.fingerprint == preprocess.fingerprint
    assert hash(again) == hash(preprocess)


@pytest.mark.parametrize("field", sorted(Preprocess().to_dict()))
def test_every_field_is_in_the_fingerprint_and_none_has_a_default_on_reading(field):
    other = {
        "height": 225,
        "width": 225,
        "fit": "crop",
        "crop_pct": 0.9,
        "interpolation": "bicubic",
        "library": "opencv",
        "color": "bgr",
        "scale": 1.0,
        "mean": (0.1, 0.0, 0.0),
        "std": (1.0, 2.0, 1.0),
        "fill": 1,
        "scaled_decoding": 2,
        "steps": (Step("jpeg", {"quality": 90}),),
    }
    assert Preprocess(**{field: other[field]}).fingerprint != Preprocess().fingerprint
    data = Preprocess().to_dict()
    del data[field]
    if field == "scaled_decoding":  # the one younger than the first files
        return
    with pytest.raises(ModelError, match=field):
        Preprocess.from_dict(data)


@pytest.mark.parametrize(
    "change",
    [
        {"height": 7},
        {"height": 4097},
        {"width": 0},
        {"height": -224},
        {"height": 224.0},
        {"height": True},
        {"fit": "stretch"},
        {"crop_pct": 0.0},
        {"crop_pct": 1.01},
        {"crop_pct": 0.01},
        {"crop_pct": math.nan},
        {"interpolation": "area"},
        {"library": "torch"},
        {"library": "opencv", "interpolation": "bicubic"},
        {"library": "tensorflow", "interpolation": "nearest"},
        {"color": "RGB"},
        {"color": "gray"},
        {"scale": 0.0},
        {"scale": math.inf},
        {"mean": (0.0, math.nan, 0.0)},
        {"mean": (0.0, 0.0)},
        {"std": (1.0, 0.0, 1.0)},
        {"std": (1.0, 1.0, 1.0, 1.0)},
        {"fill": 256},
        {"fill": -1},
        {"fill": 0.5},
        {"scaled_decoding": 1},
        {"scaled_decoding": True},
        {"scaled_decoding": 2.0},
        {"scaled_decoding": 65},
    ],
)
def test_impossible_values_are_refused(change):
    with pytest.raises(ModelError, match="Preprocess"):
        Preprocess(**change)


@pytest.mark.parametrize(
    "change",
    [
        {"mean": 3},
        {"mean": ["a", 0, 0]},
        {"mean": [0, 0]},
        {"steps": [{"name": "jpeg"}]},
        {"steps": 5},
        {"steps": [{"name": "jpeg", "params": 3}]},
        {"crop_pct": "0.9"},
        {"scale": None},
        {"fill": "0"},
        {"fit": ["squash"]},
        {"height": "224"},
        {"resize": 3},
    ],
)
def test_malformed_json_is_refused(change):
    with pytest.raises(ModelError, match="Preprocess"):
        Preprocess.from_dict({**Preprocess().to_dict(), **change})


def test_json_that_is_no_object_is_refused():
    for data in (None, [], "squash", 3):
        with pytest.raises(ModelError, match="expected an object"):
            Preprocess.from_dict(data)


def test_it_is_frozen():
    with pytest.raises(AttributeError):
        Preprocess().height = 3
