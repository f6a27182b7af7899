"""Preparing data: reading, checking, and a split whose promises are tested."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.prepared_data import SHARES, ham_like, make_data

from skinclf.errors import InvalidArgumentError
from skinclf.images.preprocess import Preprocess
from skinclf.labels import HAM10000
from skinclf_training.data.locate import find_images
from skinclf_training.data.prepare import prepare, read_prepared, split_table
from skinclf_training.data.split import grouped_split, parse_ratios, shared_groups, split_hash
from skinclf_training.data.store import decoded_store


@pytest.mark.parametrize("seed", range(5))
def test_split_keeps_lesions_together_and_classes_in_proportion(seed: int) -> None:
    groups, labels = ham_like(seed)
    parts = grouped_split(groups, labels, shares=SHARES, seed=seed)
    assert shared_groups(groups, parts) == 0
    for label in set(labels):
        total = labels.count(label)
        for part, share in SHARES.items():
            count = sum(1 for x, p in zip(labels, parts, strict=True) if (x, p) == (label, part))
            assert abs(count - share * total) <= 3, (label, part, count, share * total)


def test_split_shares_out_lesions_with_many_images() -> None:
    groups, labels = ham_like(0, scale=4)
    parts = grouped_split(groups, labels, shares=SHARES, seed=1)
    images, lesions = (
        Counter(parts),
        {p: len({g for g, q in zip(groups, parts, strict=True) if q == p}) for p in SHARES},
    )
    ratios = [images[p] / lesions[p] for p in SHARES]
    assert max(ratios) - min(ratios) < 0.02


@given(
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from("abc")), min_size=1, max_size=120),
    st.integers(0, 3),
)
@settings(max_examples=60, deadline=None)
def test_split_never_cuts_a_group(rows: list[tuple[int, str]], seed: int) -> None:
    groups, labels = [str(g) for g, _ in rows], [x for _, x in rows]
    parts = grouped_split(groups, labels, shares=SHARES, seed=seed)
    assert len(parts) == len(rows)
    assert set(parts) <= set(SHARES)
    assert shared_groups(groups, parts) == 0


def test_split_depends_on_seed_and_not_on_row_order() -> None:
    groups, labels = ham_like(3)
    parts = grouped_split(groups, labels, shares=SHARES, seed=42)
    assert parts == grouped_split(groups, labels, shares=SHARES, seed=42)
    order = np.random.default_rng(0).permutation(len(groups))
    shuffled = grouped_split([groups[i] for i in order], [labels[i] for i in order], shares=SHARES, seed=42)
    assert [parts[i] for i in order] == shuffled
    assert parts != grouped_split(groups, labels, shares=SHARES, seed=43)


def test_split_is_the_same_for_ever() -> None:
    # A change of the algorithm would silently move images between published parts.
    groups, labels = ham_like(0)
    images = [str(i) for i in range(len(groups))]
    digest = split_hash(images, grouped_split(groups, labels, shares=SHARES, seed=42))
    assert digest.startswith("4be543a974c007cf")


def test_hash_ignores_row_order_and_sees_a_move() -> None:
    assert split_hash(["a", "b"], ["train", "val"]) == split_hash(["b", "a"], ["val", "train"])
    assert split_hash(["a", "b"], ["train", "val"]) != split_hash(["a", "b"], ["val", "train"])


@pytest.mark.parametrize("text", ["70/30", "70/15/0", "a/b/c", "", "70/15/-15"])
def test_bad_ratios(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="three positive numbers"):
        parse_ratios(text)


def test_ratios_are_normalised() -> None:
    assert parse_ratios("70/20/10") == pytest.approx({"train": 0.7, "val": 0.2, "test": 0.1})


# --- the whole --------------------------------------------------------------------------------


def test_a_name_of_two_files_is_refused(tmp_path: Path) -> None:
    for name in ("a/x.jpg", "b/x.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"")
    folders = [tmp_path / "a", tmp_path / "b"]
    with pytest.raises(
        InvalidArgumentError, match=r"x of the table is .*a/x\.jpg, .*b/x\.png of the image folders"
    ):
        find_images({"x": "x"}, folders)
    for name, file in (("x.png", "b/x.png"), ("a/x", "a/x.jpg"), ("elsewhere/b/x.png", "b/x.png")):
        assert find_images({"x": name}, folders) == {"x": tmp_path / file}
    assert find_images({"x": "c/x.jpg"}, folders) == {}


def test_prepare_writes_a_split_that_reads_back(tmp_path: Path) -> None:
    metadata, dirs = make_data(tmp_path)
    manifest = prepare(metadata, dirs, tmp_path / "out", shares=SHARES, seed=42, workers=2)
    rows = list(csv.DictReader((tmp_path / "out" / "split.csv").open()))
    assert list(rows[0]) == ["lesion_id", "image_id", "dx", "age", "label", "split"]
    assert json.loads((tmp_path / "out" / "split.json").read_text()) == manifest
    assert manifest["images"] == len(rows) == 63
    assert manifest["lesions_in_several_parts"] == 0
    assert manifest["sizes"] == {"32x24": 63}
    assert sum(sum(c.values()) for c in manifest["counts"].values()) == 63
    assert split_table(manifest)[-2][-1] == "63"
    prepared = read_prepared(tmp_path / "out")
    assert prepared.labels.codes == HAM10000.codes
    assert prepared.hash == manifest["split_sha256"]
    assert [prepared.paths[i].stem for i in range(63)] == list(prepared.images)
    assert [HAM10000.codes[t] for t in prepared.targets] == [r["dx"] for r in rows]
    again = prepare(metadata, dirs[::-1], tmp_path / "again", shares=SHARES, seed=42, workers=1)
    assert again["split_sha256"] == manifest["split_sha256"]


def test_missing_and_broken_images_are_listed_and_limited(tmp_path: Path) -> None:
    metadata, dirs = make_data(tmp_path)
    (dirs[0] / "I000.jpg").unlink()
    (dirs[1] / "I001.jpg").write_bytes(b"no image")
    with pytest.raises(
        InvalidArgumentError, match=r"2 of 63 images(.|\n)*I000: missing(.|\n)*I001: not_an_image"
    ):
        prepare(metadata, dirs, tmp_path / "out", shares=SHARES, seed=1, max_missing=0.02)
    assert not (tmp_path / "out" / "split.csv").exists()
    manifest = prepare(metadata, dirs, tmp_path / "out", shares=SHARES, seed=1, max_missing=0.05)
    assert set(manifest["rejected"]) == {"I000", "I001"}
    assert manifest["images"] == 61


def test_identical_files_are_reported(tmp_path: Path) -> None:
    metadata, dirs = make_data(tmp_path)
    (dirs[1] / "I001.jpg").write_bytes((dirs[0] / "I000.jpg").read_bytes())
    manifest = prepare(metadata, dirs, tmp_path / "out", shares=SHARES, seed=1)
    assert manifest["identical_files"] == [["I000", "I001"]]


def test_a_class_with_too_few_lesions_is_refused(tmp_path: Path) -> None:
    metadata, dirs = make_data(tmp_path, per_class=2)
    with pytest.raises(InvalidArgumentError, match="Too few lesions"):
        prepare(metadata, dirs, tmp_path / "out", shares=SHARES, seed=1)


def test_a_changed_split_is_refused(tmp_path: Path) -> None:
    metadata, dirs = make_data(tmp_path)
    prepare(metadata, dirs, tmp_path / "out", shares=SHARES, seed=1)
    path = tmp_path / "out" / "split.csv"
    path.write_text(path.read_text().replace(",train\n", ",val\n", 1))
    with pytest.raises(InvalidArgumentError, match="differs from the hash"):
        read_prepared(tmp_path / "out")
    with pytest.raises(InvalidArgumentError, match="not a prepared data set"):
        read_prepared(tmp_path)


def test_store_holds_what_preprocess_gives(tmp_path: Path) -> None:
    _, dirs = make_data(tmp_path)
    paths = sorted(dirs[0].glob("*.jpg"))[:5]
    preprocess = Preprocess(height=12, width=10, fit="crop", interpolation="lanczos")
    store = decoded_store(paths, preprocess, tmp_path / "cache", workers=2)
    from skinclf.images.decode import load_image

    for i, path in enumerate(paths):
        assert np.array_equal(store[i], preprocess.pixels(load_image(path)))
    assert len(list((tmp_path / "cache").iterdir())) == 1
    decoded_store(paths, preprocess, tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 1
    decoded_store(paths[:4], preprocess, tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from skinclf_cli.main import run

    metadata, (first, second) = make_data(tmp_path)
    base = ["data", "prepare", "--metadata", str(metadata), "--output", str(tmp_path / "out")]
    dirs = ["--image-dir", str(first), "--image-dir", str(second)]
    assert run([*base, *dirs]) == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()] == ["class", *HAM10000.codes, "images", "lesions"]
    assert run([*base, *dirs, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 63
    assert run([*base, "--image-dir", str(first)]) == 2
    assert "of 63 images are missing" in capsys.readouterr().err
    assert run([*base, *dirs, "--ratios", "1/2"]) == 2
