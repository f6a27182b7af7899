"""Nothing is lost: whatever stops a run, resuming gives the file of an uninterrupted one."""

from __future__ import annotations

import csv
import io
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support.fake_scorer import FakeScorer
from support.run_helpers import fill, interrupted, manifest, write

from skinclf.errors import InvalidArgumentError, MismatchError
from skinclf.images.discovery import Inputs
from skinclf.jobs.formats import read_csv
from skinclf.jobs.output import Output
from skinclf.jobs.progress import Stop

CHILD = Path(__file__).parents[1] / "support" / "predict_child.py"


@pytest.fixture
def folder(image_dir, damaged_files):
    return fill(image_dir, damaged_files)


@pytest.fixture
def whole(folder, tmp_path):
    """The table of an uninterrupted run."""
    path = tmp_path / "whole.csv"
    write(path, folder, embeddings=tmp_path / "whole.npy", top_k=2)
    return path


def test_a_table_has_one_row_per_input_in_order(whole, folder):
    with whole.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["image"] for r in rows] == list(Inputs([folder]))
    assert {r["image"].rpartition("/")[2]: r["status"] for r in rows if r["status"] != "ok"} == {
        "a.jpg": "empty",
        'img-5 "odd",\n.jpg': "truncated",
        "z.jpg": "not_an_image",
    }
    vectors = np.load(whole.with_suffix(".npy"))
    assert vectors.shape == (30, 5)
    assert np.isnan(vectors).any(axis=1).tolist() == [r["status"] != "ok" for r in rows]


def test_a_kill_at_any_byte_can_be_resumed(whole, folder, tmp_path):
    data = whole.read_bytes()
    sizes = [0, 1, len(data) - 1, len(data), *random.Random(0).sample(range(len(data)), 30)]
    for size in sizes:
        path = interrupted(whole, tmp_path, size)
        scorer = FakeScorer()
        summary = write(
            path, folder, scorer=scorer, embeddings=path.with_suffix(".npy"), top_k=2, resume=True
        )
        assert path.read_bytes() == data
        assert path.with_suffix(".npy").read_bytes() == whole.with_suffix(".npy").read_bytes()
        assert summary.rows == 30
        # Nothing is computed twice beyond one batch.
        rows = max(0, len(list(read_csv(io.BytesIO(data[:size])))) - 1)
        assert summary.computed <= 30 - rows + 4
        assert manifest(path)["complete"]
        assert manifest(path)["counts"] == {**manifest(whole)["counts"], "computed": summary.computed}


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_other_formats_resume_too(folder, tmp_path, kind):
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    whole = tmp_path / f"whole.{kind}"
    write(whole, folder)
    for seed in range(4):
        path = tmp_path / f"part{seed}.{kind}"
        stop = Stop()
        count = random.Random(seed).randrange(1, 6)

        def progress(summary, stop=stop, count=count):
            if summary.rows >= 4 * count:
                stop.requested = True

        assert not write(path, folder, stop=stop, progress=progress).complete
        growing = Output(path=path).journal
        assert growing.stat().st_size > 0
        growing.write_bytes(growing.read_bytes()[: -random.Random(seed).randrange(200)])
        assert write(path, folder, resume=True).complete
        assert path.read_bytes() == whole.read_bytes()
        assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []


def child(seconds, *args, **more):
    return subprocess.Popen(
        [sys.executable, str(CHILD), str(seconds), "predict", *map(str, args)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        **more,
    )


def wait_for_rows(path, process, rows):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists() and path.read_bytes().count(b"\n") > rows:
            return
        time.sleep(0.01)
    raise AssertionError(process.stderr.read())


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
def test_kill_minus_nine_at_ten_random_moments(folder, tmp_path):
    names = [str(folder / f"img-{i % 26}.jpg") for i in range(400)]
    whole, path, listing = tmp_path / "whole.csv", tmp_path / "part.csv", tmp_path / "list.txt"
    listing.write_text("\n".join(names))
    write(whole, names)
    pause, rows = random.Random(1), 0
    for _ in range(10):
        process = child(0.1, "--from-file", listing, "--output", path, "--resume", "--workers", 2)
        wait_for_rows(path, process, rows + 1)
        time.sleep(pause.uniform(0, 0.3))
        process.kill()
        process.communicate()
        assert not manifest(path)["complete"]
        kept = len(list(read_csv(io.BytesIO(path.read_bytes())))) - 1
        assert kept >= rows
        rows = kept
    assert 40 <= rows < 400
    summary = write(path, names, resume=True)
    assert summary.complete
    assert summary.computed <= 400 - rows + 4
    assert path.read_bytes() == whole.read_bytes()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_finishes_the_batch_in_hand_and_says_how_to_go_on(folder, tmp_path, name):
    whole, path = tmp_path / "whole.csv", tmp_path / "part.csv"
    write(whole, folder)
    process = child(0.3, "--image-dir", folder, "--output", path)
    wait_for_rows(path, process, 4)
    process.send_signal(getattr(signal, name))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert f"skinclf predict --image-dir {folder} --output {path} --resume" in errors.decode()
    data = path.read_bytes()
    assert whole.read_bytes().startswith(data)
    assert data != whole.read_bytes()
    assert manifest(path)["complete"] is False
    assert (
        manifest(path)["counts"]["rows"] == len(list(csv.reader(io.StringIO(data.decode(), newline="")))) - 1
    )
    assert write(path, folder, resume=True).complete
    assert path.read_bytes() == whole.read_bytes()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
def test_a_second_signal_stops_at_once_and_a_silent_pipe_is_no_hindrance(folder, tmp_path):
    path = tmp_path / "slow.csv"
    process = child(30, "--image-dir", folder, "--output", path)
    wait_for_rows(path, process, 0)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
    assert time.monotonic() - start < 10
    path = tmp_path / "pipe.csv"
    process = child(0, "--from-file", "-", "--output", path, stdin=subprocess.PIPE)
    process.stdin.write(b"".join(f"{folder}/img-{i}.jpg\n".encode() for i in range(6)))
    process.stdin.flush()
    wait_for_rows(path, process, 0)  # the header: the run has begun
    time.sleep(2)
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=60)
    assert process.returncode == 130
    assert path.read_bytes().count(b"\n") == 7


def test_stopping_keeps_what_was_decoded(folder, tmp_path):
    stop = Stop()
    summary = write(
        tmp_path / "o.csv", folder, stop=stop, progress=lambda _: setattr(stop, "requested", True)
    )
    assert not summary.complete
    assert 4 <= summary.rows <= 16


# --- refusals ---------------------------------------------------------------------------------


def test_an_existing_table_is_neither_replaced_nor_taken_up_unasked(whole, folder):
    before = whole.read_bytes()
    with pytest.raises(InvalidArgumentError, match="`resume`, or replace it with `overwrite`"):
        write(whole, folder)
    assert whole.read_bytes() == before
    assert write(whole, folder, overwrite=True).computed == 30


def test_an_empty_file_counts_as_none(folder, tmp_path):
    path = tmp_path / "made-by-mktemp.csv"
    path.touch()
    assert write(path, folder).complete
    fresh = tmp_path / "fresh.csv"
    assert write(fresh, folder, resume=True).computed == 30  # nothing there yet: it starts
    assert fresh.read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"scorer": FakeScorer(seed=1)}, "weights_sha256"),
        ({"threshold": 0.4}, "threshold"),
        ({"batch_size": 8}, "batch_size"),
        ({"top_k": 1}, "columns.top2_class"),
        ({"embeddings": None}, "embeddings"),
        ({"format": "jsonl"}, "format"),
        ({"scorer": FakeScorer(columns={"spread": float})}, "columns.spread"),
    ],
)
def test_another_run_is_refused(whole, folder, tmp_path, change, named):
    path = interrupted(whole, tmp_path, 2000)
    before = path.read_bytes()
    with pytest.raises(MismatchError, match=named):
        write(path, folder, **{"embeddings": path.with_suffix(".npy"), "top_k": 2, "resume": True, **change})
    assert path.read_bytes() == before


def test_other_inputs_are_refused(whole, folder, tmp_path):
    path = interrupted(whole, tmp_path, len(whole.read_bytes()))
    options = {"embeddings": path.with_suffix(".npy"), "top_k": 2, "resume": True}
    names = list(Inputs([folder]))
    with pytest.raises(MismatchError, match="row 4"):
        write(path, [*names[:3], "other.jpg", *names[4:]], **options)
    with pytest.raises(MismatchError, match="more rows than there are inputs"):
        write(path, names[:-1], **options)


def test_more_inputs_at_the_end_extend_the_table(folder, tmp_path):
    names, path, whole = list(Inputs([folder])), tmp_path / "grow.csv", tmp_path / "whole.csv"
    write(whole, names)
    write(path, names[:21])
    assert write(path, names, resume=True).computed == 10  # the batch of one, and the new ones
    assert path.read_bytes() == whole.read_bytes()


def test_a_complete_table_needs_no_work(whole, folder):
    before = whole.read_bytes()
    scorer = FakeScorer()
    summary = write(whole, folder, scorer=scorer, embeddings=whole.with_suffix(".npy"), top_k=2, resume=True)
    assert (summary.computed, summary.rows, summary.failed) == (0, 30, 3)
    assert scorer.calls == []
    assert whole.read_bytes() == before


def test_a_table_without_its_manifest_is_refused(whole, folder):
    whole.with_name(whole.name + ".run.json").unlink()
    with pytest.raises(MismatchError, match="is unknown"):
        write(whole, folder, resume=True, top_k=2)
    whole.with_name(whole.name + ".run.json").write_text("{")
    with pytest.raises(MismatchError, match="not readable"):
        write(whole, folder, resume=True, top_k=2)


def test_embeddings_that_do_not_belong_to_the_table_are_refused(whole, folder, tmp_path):
    path = interrupted(whole, tmp_path, len(whole.read_bytes()))
    vectors = path.with_suffix(".npy")
    np.save(vectors, np.zeros((3, 5), np.float32))
    with pytest.raises(MismatchError, match="rows"):
        write(path, folder, embeddings=vectors, top_k=2, resume=True)
    vectors.write_bytes(b"nothing")
    with pytest.raises(MismatchError, match="embeddings"):
        write(path, folder, embeddings=vectors, top_k=2, resume=True)


def test_a_finished_parquet_table_is_left_alone(folder, tmp_path):
    pytest.importorskip("pyarrow")
    path = tmp_path / "o.parquet"
    write(path, folder)
    before = path.read_bytes()
    assert write(path, folder, resume=True).rows == 30
    (folder / "zz.jpg").symlink_to(folder / "img-0.jpg")
    with pytest.raises(MismatchError, match="neither extended nor repaired"):
        write(path, folder, resume=True)
    assert path.read_bytes() == before
