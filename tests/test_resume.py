"""Nothing is lost: whatever stops a run, resuming gives the file of an uninterrupted one."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fake_scorer import FakeScorer

from skinclf import journal
from skinclf.errors import ImageError, InvalidInputError, MismatchError, OutputError, SkinclfError
from skinclf.inputs import Inputs
from skinclf.journal import AppendFile, NpyFile
from skinclf.output import Output
from skinclf.predictor import Predictor
from skinclf.records import read_csv
from skinclf.run import write_table
from skinclf.summary import Stop

CHILD = Path(__file__).with_name("predict_child.py")


@pytest.fixture
def folder(image_dir, damaged_files):
    """Thirty names, of which three are damaged, one of them with an odd name."""
    for i in range(8, 27):
        (image_dir / f"img-{i}.jpg").symlink_to(image_dir / f"img-{i % 8}.jpg")
    for name, kind in (("a.jpg", "empty"), ('img-5 "odd",\n.jpg', "truncated_jpeg"), ("z.jpg", "text")):
        shutil.copy(damaged_files[kind].path, image_dir / name)
    return image_dir


def write(path, inputs, *, scorer=None, predictor=None, **options):
    run = {k: options.pop(k) for k in ("on_error", "stop", "progress", "shard") if k in options}
    made = {k: options.pop(k) for k in ("batch_size", "workers", "threshold") if k in options}
    predictor = predictor or Predictor(scorer or FakeScorer(), **{"workers": 2, **made})
    inputs = Inputs([inputs]) if isinstance(inputs, Path) else inputs
    return write_table(predictor, inputs, Output(path=path, **options), **run)


def manifest(path):
    return json.loads(path.with_name(path.name + ".run.json").read_text())


@pytest.fixture
def whole(folder, tmp_path):
    """The table of an uninterrupted run."""
    path = tmp_path / "whole.csv"
    write(path, folder, embeddings=tmp_path / "whole.npy", top_k=2)
    return path


def interrupted(whole, tmp_path, size, name="part.csv"):
    """What a kill leaves when the table has `size` bytes."""
    path = tmp_path / name
    path.write_bytes(whole.read_bytes()[:size])
    shutil.copy(whole.with_suffix(".npy"), path.with_suffix(".npy"))
    state = manifest(whole)
    state["complete"] = False
    path.with_name(path.name + ".run.json").write_text(json.dumps(state))
    return path


def test_a_table_has_one_row_per_input_in_order(whole, folder):
    with whole.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["image"] for r in rows] == list(Inputs([folder]))
    assert {r["image"].rpartition("/")[2]: r["status"] for r in rows if r["status"] != "ok"} == {
        "a.jpg": "empty", 'img-5 "odd",\n.jpg': "truncated", "z.jpg": "not_an_image",
    }  # fmt: skip
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
def test_kill_minus_nine_again_and_again(folder, tmp_path):
    whole, path = tmp_path / "whole.csv", tmp_path / "part.csv"
    write(whole, folder)
    pause = random.Random(1)
    for kill in range(3):
        process = child(0.15, "--image-dir", folder, "--output", path, "--resume", "--workers", 2)
        wait_for_rows(path, process, kill * 4)
        time.sleep(pause.uniform(0, 0.3))
        process.kill()
        process.communicate()
        assert not manifest(path)["complete"]
    assert write(path, folder, resume=True).complete
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
    with pytest.raises(InvalidInputError, match="--resume, or replace it with --overwrite"):
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
    with pytest.raises(MismatchError, match="nobody knows"):
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


# --- failures ---------------------------------------------------------------------------------


def test_failed_inputs_are_tried_again_on_request(whole, folder):
    options = {"embeddings": whole.with_suffix(".npy"), "top_k": 2}
    shutil.copy(folder / "img-0.jpg", folder / "a.jpg")
    scorer = FakeScorer()
    summary = write(whole, folder, scorer=scorer, resume=True, retry_failed=True, **options)
    assert (summary.rows, summary.failed, summary.computed) == (30, 2, 3)
    assert len(scorer.calls) == 1
    fresh = whole.with_name("fresh.csv")
    write(fresh, folder, embeddings=fresh.with_suffix(".npy"), top_k=2)
    assert whole.read_bytes() == fresh.read_bytes()
    assert whole.with_suffix(".npy").read_bytes() == fresh.with_suffix(".npy").read_bytes()
    with pytest.raises(InvalidInputError, match="--retry-failed"):
        write(whole, folder, retry_failed=True)


def test_an_interrupted_table_is_repaired_and_completed_at_once(whole, folder, tmp_path):
    path = interrupted(whole, tmp_path, 2500)
    shutil.copy(folder / "img-0.jpg", folder / "a.jpg")
    options = {"embeddings": path.with_suffix(".npy"), "top_k": 2}
    assert write(path, folder, resume=True, retry_failed=True, **options).failed == 2
    fresh = tmp_path / "fresh.csv"
    write(fresh, folder, embeddings=fresh.with_suffix(".npy"), top_k=2)
    assert path.read_bytes() == fresh.read_bytes()


def test_on_error_fail_stops_at_the_first_failure_and_can_go_on(folder, tmp_path):
    path, whole = tmp_path / "o.csv", tmp_path / "whole.csv"
    write(whole, folder)
    (folder / "a.jpg").rename(folder / "img-20a.jpg")
    names = [n for n in Inputs([folder]) if "odd" not in n]
    with pytest.raises(ImageError, match="empty"):
        write(path, names, on_error="fail")
    assert path.read_bytes().count(b"\n") == 1 + names.index(str(folder / "img-20a.jpg"))
    assert write(path, names, resume=True).failed == 2
    with pytest.raises(InvalidInputError):
        write(tmp_path / "x.csv", folder, on_error="ignore")


@pytest.mark.skipif(os.name == "nt", reason="disk quotas differ")
def test_a_full_disk_is_a_clear_error_and_the_table_stays_readable(folder, tmp_path, monkeypatch):
    path, whole = tmp_path / "o.csv", tmp_path / "whole.csv"
    write(whole, folder)

    class Full(io.FileIO):
        """A device with room for 1500 bytes; it takes a part, as a real one does."""

        def write(self, data):
            room = 1500 - self.tell()
            if room <= 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data[:room])

    real = Path.open

    def opened(self, mode="r", *args, **kwargs):
        if self == path and "a" in mode:
            return Full(str(self), mode)
        return real(self, mode, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", opened)
        with pytest.raises(OutputError, match=r"No space left.*--resume"):
            write(path, folder)
    assert whole.read_bytes().startswith(path.read_bytes())
    assert path.read_bytes().endswith(b"\n")  # the torn chunk was taken back
    assert write(path, folder, resume=True).complete
    assert path.read_bytes() == whole.read_bytes()


def test_a_folder_that_vanishes_in_mid_run_is_an_error_not_a_million_rows(folder, tmp_path):
    path, moved, whole = tmp_path / "o.csv", tmp_path / "moved", tmp_path / "whole.csv"
    write(whole, folder)

    def vanish(summary):
        if folder.exists():
            folder.rename(moved)

    with pytest.raises(SkinclfError, match="vanished"):
        write(path, folder, progress=vanish, workers=0)
    moved.rename(folder)
    assert b"missing" not in path.read_bytes()
    assert write(path, folder, resume=True).complete
    assert path.read_bytes() == whole.read_bytes()


def test_a_missing_file_in_a_folder_that_is_there_is_a_row(folder, tmp_path):
    (folder / "img-9.jpg").unlink()
    (folder / "img-9.jpg").symlink_to(folder / "nowhere.jpg")
    assert write(tmp_path / "o.csv", folder).statuses["missing"] == 1


def test_two_runs_do_not_write_one_table(tmp_path):
    pytest.importorskip("fcntl")
    first = AppendFile(tmp_path / "o.csv")
    with pytest.raises(OutputError, match="another process"):
        AppendFile(tmp_path / "o.csv")
    first.close()
    AppendFile(tmp_path / "o.csv").close()


def test_outputs_are_checked_before_anything_runs(tmp_path, folder):
    for bad in (tmp_path / "none" / "o.csv", tmp_path):
        with pytest.raises(OutputError):
            Output(path=bad).check()
    with pytest.raises(InvalidInputError, match="exclude"):
        Output(path=tmp_path / "o.csv", resume=True, overwrite=True).check()
    with pytest.raises(InvalidInputError, match="two files"):
        Output(path=tmp_path / "o.npy", embeddings=tmp_path / "o.npy").check()
    with pytest.raises(InvalidInputError, match="embeddings"):
        Output(path=tmp_path / "o.csv", embeddings=tmp_path / "o.txt").check()
    with pytest.raises(InvalidInputError, match="Format"):
        Output(path=tmp_path / "o.csv", format="xlsx").check()


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SkinclfError, match=r"skinclf\[parquet\]"):
        Output(path=tmp_path / "o.parquet").check()


# --- what is written --------------------------------------------------------------------------


def test_formats_hold_the_same(folder, tmp_path):
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    columns = {"spread": float, "n": int, "hit": bool, "word": str}
    for kind in ("csv", "jsonl", "parquet"):
        write(tmp_path / f"o.{kind}", folder, scorer=FakeScorer(columns=columns), top_k=1)
    by_csv = pd.read_csv(tmp_path / "o.csv", keep_default_na=False, dtype=str)
    by_json = pd.read_json(tmp_path / "o.jsonl", lines=True, dtype=False)
    by_parquet = pd.read_parquet(tmp_path / "o.parquet")
    assert list(by_csv.columns) == list(by_json.columns) == list(by_parquet.columns)
    good = by_csv["status"] == "ok"
    for name in by_csv.columns:
        kind = {"spread": float, "n": int, "hit": bool}.get(name) or (float if "p" in name[:2] else str)
        assert (
            by_json[name][~good].tolist() == by_json[name][~good].tolist()
            or by_json[name][~good].isna().all()
        )
        if by_parquet[name].dtype == np.float32:
            assert (by_csv[name][good].astype(np.float32) == by_parquet[name][good]).all()
            assert (by_json[name][good].astype(np.float32) == by_parquet[name][good]).all()
            assert by_parquet[name][~good].isna().all()
        elif kind is str:
            expected = by_csv[name][good]
            if name in {"flagged", "predicted_label"}:
                expected = expected.astype(int)
            assert (expected == by_parquet[name][good]).all()
            assert (by_json[name][good] == by_parquet[name][good]).all()


def test_parquet_in_row_groups(folder, tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("skinclf._parquet._ROW_GROUP", 8)
    path = tmp_path / "o.parquet"
    write(path, folder, embeddings=tmp_path / "e.parquet")
    table, vectors = parquet.ParquetFile(path), parquet.read_table(tmp_path / "e.parquet")
    assert [table.metadata.row_group(i).num_rows for i in range(table.num_row_groups)] == [8, 8, 8, 6]
    assert vectors["image"].to_pylist() == table.read()["image"].to_pylist() == list(Inputs([folder]))
    assert len(vectors["embedding"].to_pylist()[1]) == 5


def test_the_manifest_says_what_made_the_table(whole, folder):
    state = manifest(whole)
    assert state["complete"]
    assert state["identity"]["model"]["weights_sha256"] == FakeScorer().spec.weights_sha256
    assert state["identity"]["model"]["preprocess"] == FakeScorer().spec.preprocess.fingerprint
    assert state["counts"] == {
        "rows": 30, "ok": 27, "failed": 3, "computed": 30,
        "statuses": {"empty": 1, "not_an_image": 1, "ok": 27, "truncated": 1},
    }  # fmt: skip
    assert state["inputs"]["count"] == 30
    assert state["run"]["runtime"] == "fake"
    assert {"skinclf", "python", "numpy", "pillow"} <= set(state["versions"])
    assert state["started"] <= state["finished"]
    assert state["timings"]["images_per_second"] > 0
    assert "diagnosis" in state["notice"]


def test_npy_files_are_readable_after_every_row(tmp_path):
    path = tmp_path / "v.npy"
    file = NpyFile(path)
    file.append([None, None])
    assert np.load(path).shape == (2, 0)
    file.append([None, np.arange(3, dtype=np.float32)])
    assert np.isnan(np.load(path)[:3]).all()
    file.append([np.full(3, i, np.float32) for i in range(100)])
    assert np.load(path).shape == (104, 3)
    file.close()
    again = NpyFile(path, rows=4)
    again.replace(0, np.ones(3, np.float32))
    again.close()
    assert np.load(path)[[0, 3]].tolist() == [[1, 1, 1], [0, 1, 2]]
    assert np.load(path).shape == (4, 3)


def test_an_error_in_the_middle_of_a_chunk_leaves_the_size_of_before(tmp_path):
    file = journal.AppendFile(tmp_path / "o.csv")
    file.append(b"one\n")
    assert file.size == 4
    file.cut(0)
    file.append(b"two\n")
    file.close()
    assert (tmp_path / "o.csv").read_bytes() == b"two\n"
