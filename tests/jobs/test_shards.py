"""Shards and their merge: the same table as in one piece, or a refusal."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fake_scorer import FakeScorer

from skinclf.errors import InvalidArgumentError, MismatchError
from skinclf.images.discovery import Inputs
from skinclf.inference.predictor import Predictor
from skinclf.jobs.output import Output
from skinclf.jobs.progress import Stop
from skinclf.jobs.run import write_predictions
from skinclf.jobs.shards import Shard, merge


def write(path, inputs, shard=None, scorer=None, **options):
    made = Predictor(scorer or FakeScorer(), workers=2)
    return write_predictions(made, inputs, Output(path=path), shard=shard and Shard.parse(shard), **options)


@pytest.fixture
def inputs(image_dir, damaged_files):
    (image_dir / "a,\n.jpg").write_bytes(damaged_files["text"].path.read_bytes())
    for i in range(8, 13):
        (image_dir / f"img-{i}.jpg").symlink_to(image_dir / f"img-{i % 8}.jpg")
    return Inputs([image_dir])


def shards(tmp_path, inputs, count, ending="csv"):
    paths = [tmp_path / f"part-{i}.{ending}" for i in range(1, count + 1)]
    for i, path in enumerate(paths, 1):
        write(path, inputs, f"{i}/{count}")
    return paths


@given(st.integers(1, 9), st.integers(0, 50))
def test_every_input_is_in_one_shard(count, total):
    parts = [Shard(i, count) for i in range(1, count + 1)]
    assert all(sum(p.takes(n) for p in parts) == 1 for n in range(total))
    assert [sum(p.takes(n) for n in range(total)) for p in parts] == [p.size(total) for p in parts]


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/3", "1/3/5"])
def test_what_is_no_shard(text):
    with pytest.raises(InvalidArgumentError, match="i/n"):
        Shard.parse(text)


@pytest.mark.parametrize(("count", "ending"), [(1, "csv"), (3, "csv"), (4, "jsonl"), (20, "csv")])
def test_merged_shards_are_the_table_in_one_piece(tmp_path, inputs, count, ending):
    whole = tmp_path / f"whole.{ending}"
    write(whole, inputs)
    parts = shards(tmp_path, inputs, count, ending)
    merged = tmp_path / f"all.{ending}"
    summary = merge(parts[::-1], merged)
    assert merged.read_bytes() == whole.read_bytes()
    assert (summary.rows, summary.failed) == (14, 1)
    state = json.loads((tmp_path / f"all.{ending}.run.json").read_text())
    assert state["complete"]
    assert state["identity"]["shard"] is None
    assert state["counts"]["rows"] == 14
    with pytest.raises(InvalidArgumentError, match="`overwrite`"):
        merge(parts, merged)
    assert merge(parts, merged, overwrite=True).rows == 14


def test_csv_shards_merge_to_parquet(tmp_path, inputs):
    pytest.importorskip("pyarrow")
    write(tmp_path / "whole.parquet", inputs)
    merge(shards(tmp_path, inputs, 2), tmp_path / "all.parquet")
    assert (tmp_path / "all.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def test_what_is_not_whole_is_refused(tmp_path, inputs, image_dir):
    one, two, three = shards(tmp_path, inputs, 3)
    merged = tmp_path / "all.csv"
    with pytest.raises(MismatchError, match="missing: 2/3"):
        merge([one, three], merged)
    with pytest.raises(MismatchError, match="given twice"):
        merge([one, one, two, three], merged)
    other = tmp_path / "other.csv"
    write(other, inputs, "2/3", FakeScorer(seed=1))
    with pytest.raises(MismatchError, match="weights_sha256"):
        merge([one, other, three], merged)
    fewer = tmp_path / "fewer.csv"
    write(fewer, list(inputs)[:-1], "2/3")
    with pytest.raises(MismatchError, match="other inputs"):
        merge([one, fewer, three], merged)
    stop = Stop()
    half = tmp_path / "half.csv"
    write(half, inputs, "2/3", stop=stop, progress=lambda _: setattr(stop, "requested", True))
    state = json.loads((tmp_path / "half.csv.run.json").read_text())
    if not state["complete"]:
        with pytest.raises(MismatchError, match="not complete"):
            merge([one, half, three], merged)
    two.write_bytes(two.read_bytes()[:-5])
    with pytest.raises(MismatchError, match="rows are missing"):
        merge([one, two, three], merged)
    assert not merged.exists()
    assert not [p for p in tmp_path.iterdir() if p.name.endswith(".part")]


def test_tables_that_are_no_shards_are_refused(tmp_path, inputs):
    write(tmp_path / "whole.csv", inputs)
    with pytest.raises(MismatchError, match="whole table"):
        merge([tmp_path / "whole.csv"], tmp_path / "all.csv")


def test_formats_must_fit(tmp_path, inputs):
    parts = shards(tmp_path, inputs, 2, "jsonl")
    with pytest.raises(InvalidArgumentError, match="cannot become"):
        merge(parts, tmp_path / "all.csv")
