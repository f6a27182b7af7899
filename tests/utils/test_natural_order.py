"""Natural order: numbers count as numbers, whatever the length of the listing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinclf._utils import natural_order
from skinclf._utils.natural_order import natural_key, sort_names


@pytest.mark.parametrize(
    "names",
    [
        ["img1.jpg", "img2.jpg", "img10.jpg", "img100.jpg"],
        ["a.jpg", "a1.jpg", "b.jpg"],
        ["x9y2.png", "x9y10.png", "x10y1.png"],
        ["ISIC_0024306.jpg", "ISIC_0024307.jpg", "ISIC_10024306.jpg"],
    ],
)
def test_natural_order(names):
    assert sorted(set(names), key=natural_key) == names


@given(st.lists(st.text(alphabet="ab01289._-", min_size=1, max_size=8), max_size=30))
def test_order_is_total_and_does_not_depend_on_the_listing(names):
    assert sorted(set(names), key=natural_key) == sorted(sorted(set(names), reverse=True), key=natural_key)


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_numbers_sort_as_numbers(a, b):
    assert (natural_key(f"n{a}") < natural_key(f"n{b}")) == (a < b)


def test_long_listings_are_sorted_on_disk(monkeypatch):
    names = [f"i{n}.jpg" for n in range(57)] + ["\udcff.jpg", "line\nbreak.jpg"]
    expected = sorted(names, key=natural_key)
    monkeypatch.setattr(natural_order, "_RUN", 7)
    monkeypatch.setattr(natural_order, "_BLOCK", 5)
    assert list(sort_names(iter(reversed(names)))) == expected


def test_a_listing_of_any_length_needs_one_open_file(monkeypatch):
    resource = pytest.importorskip("resource", reason="limits of POSIX")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    names = [f"{n}.jpg" for n in range(500)]
    monkeypatch.setattr(natural_order, "_RUN", 2)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(200, hard), hard))
    try:
        assert list(sort_names(reversed(names))) == names
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
