"""No path of the user's machine in what is published."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinclf._utils.public import short_names, without_paths

PRIVATE = [
    "/home/canary/work/labels.csv",
    "~/canary/labels.csv",
    "~canary/labels.csv",
    "C:\\Users\\canary\\labels.csv",
    "C:/Users/canary/labels.csv",
    "\\\\canary\\share\\labels.csv",
    "file:///home/canary/labels.csv",
    "../canary/labels.csv",
    "../../canary/labels.csv",
    "runs/../../canary/labels.csv",
    "/home/Ana Canary Diaz/labels.csv".replace("Canary", "canary"),
]


@pytest.mark.parametrize("path", PRIVATE)
def test_a_private_path_becomes_its_name(path):
    assert without_paths(path) == "labels.csv"
    assert without_paths({"a": [path, {"b": path}]}) == {"a": ["labels.csv", {"b": "labels.csv"}]}
    assert short_names([path, path]) == ["labels.csv", "labels.csv"]


@pytest.mark.parametrize("path", [p for p in PRIVATE if " " not in p and "runs" not in p])
def test_a_private_path_in_a_sentence_becomes_its_name(path):
    text = without_paths(f"Trained with {path}, then ({path}); see '{path}': shared.")
    assert text == "Trained with labels.csv, then (labels.csv); see 'labels.csv': shared."


@pytest.mark.parametrize(
    "text",
    [
        "https://doi.org/10.7910/DVN/DBW86T",
        "Licence <https://creativecommons.org/licenses/by-nc/4.0/>.",
        "hf-hub:user/repo@main",
        "user/repo",
        "imgs/a.jpg",
        "Actinic keratosis / Bowen's disease",
        "max/mean, 1/2, and/or",
        "{test AUC} 0.9 / 0.8 / 0.7",
        "Data: 10/11/2020.",
        "",
    ],
)
def test_other_text_stays(text):
    assert without_paths(text) == text


def test_names_stay_different_with_as_few_folders_as_that_takes():
    assert short_names(["a/x.jpg", "b/x.jpg"]) == ["a/x.jpg", "b/x.jpg"]
    assert short_names(["/home/canary/p1/x.jpg", "/home/canary/p2/x.jpg", "/home/canary/p1/y.jpg"]) == [
        "p1/x.jpg",
        "p2/x.jpg",
        "y.jpg",
    ]
    assert short_names(["/a/b/x.jpg", "x.jpg"]) == ["b/x.jpg", "x.jpg"]


@given(
    st.lists(
        st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4),
        min_size=2,
        max_size=8,
        unique_by=tuple,
    )
)
def test_short_names_never_join_two_images(parts):
    names = ["/home/canary/" + "/".join(p) + ".jpg" for p in parts]
    short = short_names(names)
    assert len(set(short)) == len(names)
    assert all(name.endswith("/" + s) for name, s in zip(names, short, strict=True))
