"""The Ray engine on a real local Ray runtime, with worker processes that are killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from support.damaged_files import DAMAGED_BYTES
from support.pictures import encode
from support.ray_scorer import make_scorer

from skinclf.errors import InvalidArgumentError, MissingExtraError, OutputError
from skinclf.images.discovery import scan_directory
from skinclf.images.synthetic import synthetic_lesion
from skinclf.inference.predictor import Predictor
from skinclf.inference.schema import Schema

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
IMAGES = 56


def test_without_ray_the_error_says_how_to_install_it(monkeypatch):
    from skinclf.jobs.ray import predict_paths

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'skinclf\[ray\]'"):
        predict_paths(["a.jpg"])


def test_cluster_imports_no_ray():
    import subprocess

    code = "import sys, skinclf.jobs.ray; print([m for m in ('ray', 'pyarrow', 'torch') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


# --- listing and output -----------------------------------------------------------------------


def test_remote_listing_has_the_order_of_a_local_scan(tmp_path, image_dir):
    pytest.importorskip("pyarrow")
    from skinclf.jobs.ray.listing import find_images

    for name in (
        "b10/x.jpg",
        "b2/y.PNG",
        "b2/deep/z.jpg",
        "b2/notes.txt",
        ".hidden/h.txt",
        "img-10.jpg",
        ".h.jpg",
    ):
        (image_dir / name).parent.mkdir(exist_ok=True, parents=True)
        (image_dir / name).write_bytes(b"x")
    uri = image_dir.as_uri()
    for recursive in (False, True):
        local = [Path(p).as_uri() for p in scan_directory(image_dir, recursive=recursive)]
        assert list(find_images([uri], recursive=recursive)) == local
        assert len(local) == (12 if recursive else 9), local
    assert list(find_images([uri + "/img-1.jpg"])) == [uri + "/img-1.jpg"]
    with pytest.raises(InvalidArgumentError, match="No images"):
        list(find_images([(image_dir / ".hidden").as_uri()], recursive=True))
    with pytest.raises(InvalidArgumentError, match="cannot be listed"):
        list(find_images(["nosuchscheme://bucket/x"]))


def _partition(folder, name, rows):
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = {"index": pa.array(rows, pa.int64()), "status": pa.array(["ok"] * len(rows))}
    pq.write_table(pa.table(table), folder / name)


def test_lost_and_doubled_rows_are_found(tmp_path):
    pytest.importorskip("pyarrow")
    from skinclf.jobs.ray.output import PartitionedOutput

    target = PartitionedOutput.open(str(tmp_path))
    _partition(tmp_path, "a.parquet", [3, 1])
    _partition(tmp_path, "b.parquet", [0, 2])
    assert target.verify(4) == {"ok": 4}
    with pytest.raises(OutputError, match=r"1 of 5 inputs .* number 4"):
        target.verify(5)
    _partition(tmp_path, "c.parquet", [2])
    with pytest.raises(OutputError, match=r"1 of 4 inputs .* number 2"):
        target.verify(4)


def test_only_partitions_are_replaced(tmp_path):
    pytest.importorskip("pyarrow")
    from skinclf.jobs.ray.output import PartitionedOutput

    folder = tmp_path / "out"
    target = PartitionedOutput.open(str(folder))
    target.check(overwrite=False)
    target.clear()
    _partition(folder, "old.parquet", [0])
    with pytest.raises(InvalidArgumentError, match="`overwrite`"):
        target.check(overwrite=False)
    target.check(overwrite=True)
    target.clear()
    assert list(folder.iterdir()) == []
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(InvalidArgumentError, match="thesis"):
        target.check(overwrite=True)
    with pytest.raises(OutputError, match="is a file"):
        PartitionedOutput.open(str(folder / "thesis.txt")).check(overwrite=True)
    with pytest.raises(InvalidArgumentError, match="folder"):
        PartitionedOutput.open("-").check(overwrite=True)


# --- a real Ray -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ray():
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    # Workers unpickle `make_scorer` by its module's name.
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=80 << 20, log_to_driver=False)
    yield ray
    ray.shutdown()


def _kill_the_waiting_worker(folder, killed):
    flag = folder / "waiting"
    for _ in range(12_000):
        if flag.exists():
            killed.append(int(flag.read_text()))
            os.kill(killed[0], signal.SIGKILL)
            return
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_every_input_has_one_row_though_workers_are_killed(ray, tmp_path, tiny_bundle, image_dir):
    import pyarrow.parquet as pq

    from skinclf.jobs.ray import predict_with_ray

    good = sorted(image_dir.iterdir())
    for number in range(8, IMAGES):
        shutil.copy(good[number % 8], image_dir / f"img-{number}.jpg")
    for kind in ("empty", "text", "truncated_jpeg", "png_crc"):
        name, data, _ = DAMAGED_BYTES[kind]
        (image_dir / f"bad-{name}").write_bytes(data)
    missing = str(image_dir / "missing.jpg")
    names = [*scan_directory(image_dir), missing]
    expected = list(
        Predictor(tiny_bundle, runtime="torch", device="cpu", batch_size=2, workers=1).stream(names)
    )
    schema = Schema(expected[0].labels, 2)

    # Two more: what they hold is an ordinary image.
    shutil.copy(good[3], image_dir / "a-wait.jpg")
    shutil.copy(good[5], image_dir / "poison.jpg")
    names = [*scan_directory(image_dir), missing]
    folder = tmp_path / "workers"
    folder.mkdir()
    killed: list[int] = []
    killer = threading.Thread(target=_kill_the_waiting_worker, args=(folder, killed), daemon=True)
    killer.start()
    out = tmp_path / "out"
    run = predict_with_ray(
        names,
        out,
        model=partial(make_scorer, tiny_bundle, folder),
        batch_size=2,
        top_k=2,
        concurrency=2,
        num_cpus=0.5,
        quiet=True,
        rows_per_file=20,
    )
    killer.join(timeout=10)

    assert killed, "nobody was killed"
    workers = {int(p.name.partition("-")[2]) for p in folder.glob("worker-*")}
    assert killed[0] in workers
    assert len(workers) >= 3, "two were killed, so a third one did the rest"
    assert os.getpid() not in workers
    poisoned = (folder / "poisoned").read_text().split()
    # The actor that was killed while it waited is guarded after its restart (`Classifier._guarded_calls`): where Ray gives
    # it the block with this file, decoding starts in a process at once.
    assert len(poisoned) in {2, 3}, "at most once in the actor, then twice in a decode process"

    assert len(list(out.glob("*.parquet"))) > 1
    table = pq.read_table(out).sort_by("index")
    assert table.column_names == [*schema.columns, "index"]
    assert table["index"].to_pylist() == list(range(len(names)))
    rows = {row.pop("image"): row for row in table.to_pylist()}
    assert list(rows) == names
    assert rows[str(image_dir / "poison.jpg")]["status"] == "worker_died"
    assert rows[str(image_dir / "a-wait.jpg")]["p_mel"] == pytest.approx(
        rows[str(image_dir / "img-3.jpg")]["p_mel"], abs=1e-6
    )
    for prediction in expected:
        row = rows[prediction.image]
        for name, value in zip(list(schema.columns)[1:], schema.values(prediction)[1:], strict=True):
            assert row[name] == (pytest.approx(value, abs=1e-6) if isinstance(value, float) else value), name
    assert run.rows == len(names)
    assert run.failed == 6
    assert run.statuses["worker_died"] == 1
    assert str(run).startswith(f"{len(names)} images, 6 failed")
    assert json.loads((out / "_run.json").read_text())["counts"]["failed"] == 6


@pytest.mark.slow
def test_parquet_of_bytes_and_paths_on_another_filesystem(ray, tmp_path, tiny_bundle):
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyarrow.fs import LocalFileSystem, SubTreeFileSystem

    from skinclf.jobs.ray import predict_parquet

    data = [encode(synthetic_lesion(seed, width=90, height=80), quality=90) for seed in range(7)]
    tables = tmp_path / "tables"
    tables.mkdir()
    (tmp_path / "six.jpg").write_bytes(data[6])
    (tmp_path / "empty.jpg").write_bytes(b"")
    # As the Hub's image datasets: bytes, or a path, which is that of a file in the bucket.
    cells = [{"bytes": data[i], "path": None} for i in range(6)]
    cells += [{"bytes": None, "path": p} for p in ("six.jpg", "gone.jpg", "empty.jpg", None)]
    patients = [f"P{i}" for i in range(10)]
    for name, part in (("part-2", slice(0, 5)), ("part-10", slice(5, 10))):
        table = pa.table({"image": cells[part], "patient": patients[part], "other": patients[part]})
        pq.write_table(table, tables / f"{name}.parquet", row_group_size=3)
    bucket = SubTreeFileSystem(str(tmp_path), LocalFileSystem())
    out = predict_parquet(
        "tables",
        model=tiny_bundle,
        image_column="image",
        keep=["patient"],
        filesystem=bucket,
        runtime="torch",
        threshold=0.4,
        num_cpus=0.5,
        concurrency=1,
    )
    rows = sorted(out.take_all(), key=lambda row: row["index"])
    assert [row["index"] for row in rows] == list(range(10))
    assert [row["patient"] for row in rows] == patients
    assert "other" not in rows[0]
    assert [row["status"] for row in rows] == ["ok"] * 7 + ["missing", "empty", "missing"]
    names = [f"image-{i}" for i in range(6)] + ["six.jpg", "gone.jpg", "empty.jpg", "image-9"]
    assert [row["image"] for row in rows] == names
    local = Predictor(tiny_bundle, runtime="torch", device="cpu", workers=0, threshold=0.4)
    for row, source in zip(rows, data, strict=False):
        p = local.predict(source)
        assert [row[f"p_{c}"] for c in p.labels.codes] == pytest.approx(list(p.values), abs=1e-6)
        assert (row["flagged"], row["threshold"]) == (p.flagged, np.float32(0.4))
    with pytest.raises(InvalidArgumentError, match="no column 'bytes'"):
        predict_parquet("tables", model=tiny_bundle, filesystem=bucket)
    with pytest.raises(InvalidArgumentError, match="not readable as Parquet"):
        predict_parquet("six.jpg", model=tiny_bundle, filesystem=bucket)


def test_options_are_checked_before_any_worker_starts(tmp_path):
    pytest.importorskip("ray.data")
    from skinclf.errors import ModelError
    from skinclf.jobs.ray.dataset import _check

    with pytest.raises(InvalidArgumentError, match="precisoin"):
        _check(None, 16, None, {"precisoin": "fp32"})
    with pytest.raises(InvalidArgumentError, match="threshold"):
        _check(None, 16, 1.5, {})
    with pytest.raises(InvalidArgumentError, match="batch_size"):
        _check(None, 0, None, {})
    with pytest.raises(ModelError):
        _check(tmp_path, 16, None, {})
