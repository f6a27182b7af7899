"""A run: failures, full disks, lost folders, and what is in the table, the manifest and the embeddings."""

from __future__ import annotations

import errno
import io
import os
import re
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support.fake_scorer import FakeScorer
from support.run_helpers import fill, interrupted, manifest, write

from skinclf.errors import ImageError, InvalidArgumentError, OutputError, SkinclfError
from skinclf.images.discovery import Inputs
from skinclf.inference.predictor import Predictor
from skinclf.jobs.output import Output


@pytest.fixture
def folder(image_dir, damaged_files):
    return fill(image_dir, damaged_files)


@pytest.fixture
def whole(folder, tmp_path):
    """The table of an uninterrupted run."""
    path = tmp_path / "whole.csv"
    write(path, folder, embeddings=tmp_path / "whole.npy", top_k=2)
    return path


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
    with pytest.raises(InvalidArgumentError, match="`retry_failed`"):
        write(whole, folder, retry_failed=True)


def test_the_last_line_names_the_bottleneck(folder, tmp_path):
    slow = write(tmp_path / "network.csv", folder, scorer=FakeScorer(seconds=0.05))
    assert re.fullmatch(
        r"30 images, 3 failed(, \d+ flagged)?; [\d.]+ img/s, waiting mostly for the model, \d+% of the time",
        str(slow),
    )

    def names():
        for name in Inputs([folder]):
            time.sleep(0.02)
            yield name

    assert "waiting mostly for finding the inputs" in str(write(tmp_path / "inputs.csv", names()))


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_damaged_neighbours_change_no_bit_of_a_real_network(
    runtime, tiny_bundle, image_dir, damaged_files, tmp_path, monkeypatch
):
    if runtime == "openvino":
        pytest.importorskip("openvino")
    monkeypatch.setenv("SKINCLF_CACHE", str(tmp_path / "cache"))
    good = [str(p) for p in sorted(image_dir.iterdir())] * 13
    bad = [str(damaged_files[kind].path) for kind in ("empty", "truncated_jpeg", "png_crc", "missing")]
    mixed = [bad[i // 7 % 4] if i % 7 == 3 else name for i, name in enumerate(good)]
    predictor = Predictor(tiny_bundle, runtime=runtime, device="cpu", workers=2)
    write(tmp_path / "good.csv", good, predictor=predictor)
    summary = write(tmp_path / "mixed.csv", mixed, predictor=predictor)
    assert (summary.rows, summary.failed) == (104, 15)
    lines = [(tmp_path / f"{name}.csv").read_text().splitlines()[1:] for name in ("good", "mixed")]
    assert sum(a == b for a, b in zip(*lines, strict=True)) == 104 - 15


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
    with pytest.raises(InvalidArgumentError):
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
        with pytest.raises(OutputError, match=r"No space left.*`resume`"):
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

    with pytest.raises(SkinclfError, match="input folder is gone"):
        write(path, folder, progress=vanish, workers=0)
    moved.rename(folder)
    assert b"missing" not in path.read_bytes()
    assert write(path, folder, resume=True).complete
    assert path.read_bytes() == whole.read_bytes()


def test_a_missing_file_in_a_folder_that_is_there_is_a_row(folder, tmp_path):
    (folder / "img-9.jpg").unlink()
    (folder / "img-9.jpg").symlink_to(folder / "nowhere.jpg")
    assert write(tmp_path / "o.csv", folder).statuses["missing"] == 1


def test_outputs_are_checked_before_anything_runs(tmp_path, folder):
    for bad in (tmp_path / "none" / "o.csv", tmp_path):
        with pytest.raises(OutputError):
            Output(path=bad).check()
    with pytest.raises(InvalidArgumentError, match="exclude"):
        Output(path=tmp_path / "o.csv", resume=True, overwrite=True).check()
    with pytest.raises(InvalidArgumentError, match="two files"):
        Output(path=tmp_path / "o.npy", embeddings=tmp_path / "o.npy").check()
    with pytest.raises(InvalidArgumentError, match="embeddings"):
        Output(path=tmp_path / "o.csv", embeddings=tmp_path / "o.txt").check()
    with pytest.raises(InvalidArgumentError, match="Format"):
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
    monkeypatch.setattr("skinclf.jobs.parquet._ROW_GROUP", 8)
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
        "rows": 30,
        "ok": 27,
        "failed": 3,
        "computed": 30,
        "statuses": {"empty": 1, "not_an_image": 1, "ok": 27, "truncated": 1},
    }
    assert state["inputs"]["count"] == 30
    assert state["run"]["runtime"] == "fake"
    assert {"skinclf", "python", "numpy", "pillow"} <= set(state["versions"])
    assert state["started"] <= state["finished"]
    assert state["timings"]["images_per_second"] > 0
    assert "diagnosis" in state["notice"]
