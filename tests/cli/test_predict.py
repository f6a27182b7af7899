"""`skinclf predict`: streams, exit codes, options, and the promises of one row per input."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.fake_scorer import FakeScorer

from skinclf.inference import predictor as module
from skinclf.models.options import HubOptions, ModelOptions
from skinclf_cli.main import run

REAL = module.Predictor


@pytest.fixture
def fake(monkeypatch):
    """The command with the numpy scorer; the list holds the options of every model that was loaded."""
    loads = []

    class FakePredictor(REAL):
        def __init__(self, model=None, **options):
            if not isinstance(model, FakeScorer):
                loads.append(options | {"model": model})
                model = FakeScorer(columns={"spread": float} if options["hub"].revision else None)
            known = {
                k: v for k, v in options.items() if k in {"batch_size", "workers", "processes", "threshold"}
            }
            super().__init__(model, **known)

    monkeypatch.setattr(module, "Predictor", FakePredictor)
    return loads


def predict(*args):
    return run(["predict", *map(str, args)])


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_folder_to_a_table(fake, image_dir, tmp_path, capsys):
    out = tmp_path / "p.csv"
    assert predict("--image-dir", image_dir, "--output", out) == 0
    assert [Path(r["image"]).name for r in rows(out)] == [f"img-{i}.jpg" for i in range(8)]
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert lines[0] == "fake on cpu (auto): fake, fp32"
    assert lines[-1].startswith("8 images, 0 failed; ")
    assert "img/s" in lines[-1]
    assert captured.err.count("never a diagnosis") == 1


def test_failed_inputs_are_rows_and_exit_code_3(fake, image_dir, damaged_files, tmp_path):
    shutil.copy(damaged_files["empty"].path, image_dir / "img-3b.jpg")
    out = tmp_path / "p.csv"
    assert predict(image_dir, image_dir / "none.jpg", "-o", out) == 3
    assert [r["status"] for r in rows(out)] == ["ok"] * 4 + ["empty"] + ["ok"] * 4 + ["missing"]


def test_exit_codes(fake, image_dir, tmp_path, damaged_files, capsys):
    out = tmp_path / "p.csv"
    bad = damaged_files["text"].path
    assert predict(bad, "--on-error", "fail", "-o", out) == 1
    assert "not an image" in capsys.readouterr().err
    for usage in (
        [],
        [image_dir, "--image-dir", image_dir],
        ["--image-dir", tmp_path / "none"],
        ["--image-dir", image_dir, "-o", tmp_path / "no" / "p.csv"],
        ["--image-dir", image_dir, "-o", tmp_path],
        ["--image-dir", image_dir, "-o", out],  # is there already
        ["--image-dir", image_dir, "-o", out, "--resume", "--overwrite"],
        ["--image-dir", image_dir, "--resume"],
        ["--image-dir", image_dir, "--json"],
        ["--image-dir", image_dir, "--format", "parquet"],
        ["--image-dir", image_dir, "-o", tmp_path / "q.xlsx"],
        ["--image-dir", image_dir, "-o", tmp_path / "q.csv", "--format", "text"],
        ["--image-dir", image_dir, "--shard", "5/4"],
        ["--image-dir", image_dir, "--device", "gpu"],
        ["--image-dir", image_dir, "--threshold", "1.5"],
        ["--image-dir", image_dir, "--threshold", "no-such-point"],
        ["--image-dir", image_dir, "--batch-size", "0"],
        ["--from-file", tmp_path / "none.txt"],
        ["--no-such-option"],
        [tmp_path],  # a folder without images
    ):
        assert predict(*usage) == 2, usage
    assert rows(out) == []


def test_the_output_is_checked_before_a_model_loads(fake, image_dir, tmp_path, capsys):
    out = tmp_path / "p.csv"
    out.write_text("something\n")
    assert predict(image_dir, "-o", out) == 2
    assert "--resume, or replace it with --overwrite" in capsys.readouterr().err
    assert predict(image_dir, "-o", tmp_path / "none" / "p.csv") == 2
    assert fake == []
    assert out.read_text() == "something\n"
    assert predict(image_dir, "-o", out, "--overwrite") == 0
    assert len(fake) == 1


def test_stdout_is_data_only(fake, image_dir, capsys):
    assert predict("--image-dir", image_dir) == 0
    captured = capsys.readouterr()
    assert len(list(csv.DictReader(io.StringIO(captured.out)))) == 8
    assert predict("--image-dir", image_dir, "--format", "jsonl", "-q") == 0
    captured = capsys.readouterr()
    assert [json.loads(line)["status"] for line in captured.out.splitlines()] == ["ok"] * 8
    assert captured.err == ""
    assert predict(image_dir / "img-0.jpg", "--format", "text") == 0
    assert "img-0.jpg: " in capsys.readouterr().out


def test_the_formats_agree(fake, image_dir, tmp_path, capsys):
    assert predict(image_dir, "-o", tmp_path / "p.csv") == 0
    assert predict(image_dir, "-o", tmp_path / "p.jsonl") == 0
    assert predict(image_dir) == 0
    assert capsys.readouterr().out == (tmp_path / "p.csv").read_text()
    for row, line in zip(
        rows(tmp_path / "p.csv"), (tmp_path / "p.jsonl").read_text().splitlines(), strict=True
    ):
        assert np.float32(row["p_nv"]) == np.float32(json.loads(line)["p_nv"])


def test_lists_from_stdin(fake, image_dir, tmp_path, monkeypatch):
    names = [str(image_dir / f"img-{i}.jpg") for i in (5, 2, 5)]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(names).encode())))
    assert predict("--from-file", "-", "-o", tmp_path / "p.csv") == 0
    assert [r["image"] for r in rows(tmp_path / "p.csv")] == names
    (tmp_path / "list.txt").write_text("\0".join(names))
    assert predict("--from-file", tmp_path / "list.txt", "-o", tmp_path / "q.csv") == 0
    assert (tmp_path / "q.csv").read_bytes() == (tmp_path / "p.csv").read_bytes()


@pytest.mark.skipif(os.name == "nt", reason="names that Windows does not allow")
def test_odd_file_names(fake, image_dir, tmp_path, capsys):
    odd = ["line\nbreak.jpg", 'a,"b".jpg', "=cmd|' '!A0.jpg", "ünï-β-漢.jpg", " space .jpg", "-rf.jpg"]
    for name in odd:
        shutil.copy(image_dir / "img-0.jpg", image_dir / name)
    with open(os.fsencode(image_dir) + b"/\xff.jpg", "wb") as file:
        file.write((image_dir / "img-0.jpg").read_bytes())
    assert predict("--image-dir", image_dir, "-o", tmp_path / "p.csv") == 0
    found = {Path(r["image"]).name: r["p_nv"] for r in rows(tmp_path / "p.csv")}
    assert len(found) == 15
    assert {found[name] for name in [*odd, "\\udcff.jpg"]} == {found["img-0.jpg"]}


def test_options_reach_the_model(fake, image_dir, tmp_path):
    assert (
        predict(
            image_dir,
            "-o",
            tmp_path / "p.csv",
            "--model",
            "m",
            "--labels",
            "ham10000",
            "--preprocess",
            "caffe",
            "--malignant",
            "mel,bcc",
            "--architecture",
            "x",
            "--revision",
            "main",
            "--offline",
            "--device",
            "cpu",
            "--runtime",
            "torch",
            "--precision",
            "bf16",
            "--batch-size",
            "3",
            "--workers",
            "1",
            "--processes",
            "--embeddings",
            tmp_path / "e.npy",
            "--top-k",
            "2",
            "--threshold",
            "0.25",
        )
        == 0
    )
    (options,) = fake
    assert (
        options.items()
        >= {
            "model": ["m"],
            "options": ModelOptions(
                labels="ham10000", preprocess="caffe", malignant=("mel", "bcc"), architecture="x"
            ),
            "hub": HubOptions(revision="main", offline=True),
            "device": "cpu",
            "runtime": "torch",
            "precision": "bf16",
            "batch_size": 3,
            "workers": 1,
            "processes": True,
            "embeddings": True,
        }.items()
    )
    row = rows(tmp_path / "p.csv")[0]
    assert row["threshold"] == "0.25"
    assert {"top1_class", "top2_probability", "spread"} <= set(row)
    assert np.load(tmp_path / "e.npy").shape == (8, 5)


def test_json_summary(fake, image_dir, tmp_path, capsys):
    assert predict(image_dir, "-o", tmp_path / "p.csv", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["counts"]["rows"] == 8
    assert report["complete"]
    assert report["output"] == str(tmp_path / "p.csv")


def test_resume_shards_and_merge(fake, image_dir, tmp_path):
    assert predict(image_dir, "-o", tmp_path / "whole.csv") == 0
    part = tmp_path / "part.csv"
    shutil.copy(tmp_path / "whole.csv", part)
    shutil.copy(tmp_path / "whole.csv.run.json", tmp_path / "part.csv.run.json")
    part.write_bytes(part.read_bytes()[:700])
    assert predict(image_dir, "-o", part, "--resume") == 0
    assert part.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert predict(image_dir, "-o", part, "--resume", "--threshold", "0.1") == 1
    for i in (1, 2):
        assert predict(image_dir, "-o", tmp_path / f"s{i}.csv", "--shard", f"{i}/2") == 0
    parts = [str(tmp_path / f"s{i}.csv") for i in (2, 1)]
    assert run(["merge", *parts, "-o", str(tmp_path / "all.csv")]) == 0
    assert (tmp_path / "all.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert run(["merge", parts[0], "-o", str(tmp_path / "x.csv")]) == 1
    assert run(["merge", "-o", str(tmp_path / "x.csv")]) == 2


def test_a_thousand_files_a_hundred_damaged_in_ten_ways(fake, image_dir, damaged_files, tmp_path):
    good = sorted(image_dir.iterdir())
    kinds = [
        "empty",
        "text",
        "random",
        "truncated_jpeg",
        "truncated_png",
        "png_crc",
        "bomb_png",
        "missing",
        "directory",
        "half_header_jpeg",
    ]
    folder, clean = tmp_path / "many", tmp_path / "clean"
    folder.mkdir()
    clean.mkdir()
    bad = {}
    for i in range(1000):
        name = f"{i}.jpg"
        (clean / name).symlink_to(good[i % 8])
        if i % 10 == 3:
            damaged = damaged_files[kinds[i // 10 % 10]]
            bad[name] = damaged.code
            (folder / name).symlink_to(damaged.path)
        else:
            (folder / name).symlink_to(good[i % 8])
    assert predict("--image-dir", clean, "-o", tmp_path / "clean.csv") == 0
    assert predict("--image-dir", folder, "-o", tmp_path / "many.csv") == 3
    found, expected = rows(tmp_path / "many.csv"), rows(tmp_path / "clean.csv")
    assert [Path(r["image"]).name for r in found] == [f"{i}.jpg" for i in range(1000)]
    assert {Path(r["image"]).name: r["status"] for r in found if r["status"] != "ok"} == bad
    assert len(set(bad.values())) >= 5
    for a, b in zip(found, expected, strict=True):
        if a["status"] == "ok":
            assert {**a, "image": ""} == {**b, "image": ""}
        else:
            assert a["error"]
            assert not a["p_nv"]


CHILD = [sys.executable, str(Path(__file__).parents[1] / "support" / "predict_child.py"), "0", "predict"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX pipes")
def test_a_closed_pipe_ends_the_run_with_one_line(image_dir):
    process = subprocess.Popen(
        [*CHILD, str(image_dir), *[str(image_dir)] * 200], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout.readline().startswith(b"image,")
    process.stdout.close()
    errors = process.stderr.read().decode()
    assert process.wait(timeout=60) == 1
    assert "its reader went away" in errors
    assert "Traceback" not in errors
    assert "Exception ignored" not in errors


def test_a_console_of_another_charset_gets_utf8(image_dir, tmp_path):
    """A Windows console may speak cp1251; a table is UTF-8 all the same, and messages do not fail."""
    shutil.copy(image_dir / "img-0.jpg", image_dir / "漢-ü.jpg")
    done = subprocess.run(
        [*CHILD, str(image_dir / "漢-ü.jpg"), str(image_dir / "нет-漢.jpg")],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "cp1251"},
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert "漢-ü.jpg" in done.stdout.decode("utf-8")
    bad = subprocess.run(
        [*CHILD, str(image_dir / "нет-漢.jpg"), "--on-error", "fail"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "cp1251"},
        check=False,
    )
    assert bad.returncode == 1
    assert b"Traceback" not in bad.stderr


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo terminal")
@pytest.mark.parametrize("plain", [False, True])
def test_a_bar_on_a_terminal_only_and_no_colour_when_asked(image_dir, tmp_path, plain):
    import pty

    main, terminal = pty.openpty()
    env = {**os.environ, "TERM": "xterm", **({"NO_COLOR": "1"} if plain else {})}
    process = subprocess.Popen(
        [CHILD[0], CHILD[1], "0.3", "predict", str(image_dir), "-o", str(tmp_path / "o.csv")],
        stderr=terminal,
        env=env,
    )
    os.close(terminal)
    text = b""
    while True:
        try:
            block = os.read(main, 4096)
        except OSError:
            break
        if not block:
            break
        text += block
    assert process.wait(timeout=60) == 0
    assert b"img/s, 0 failed" in text
    assert b"8/8" in text
    assert (b"\x1b[3" in text) != plain  # colours
    os.close(main)


@pytest.mark.slow
def test_the_real_thing_end_to_end(tiny_bundle, image_dir, damaged_files, tmp_path):
    """A fresh process, a real network, the names of the issue."""
    shutil.copy(damaged_files["truncated_jpeg"].path, image_dir / "img-3b.jpg")
    out = tmp_path / "p.csv"
    command = [
        sys.executable,
        "-m",
        "skinclf",
        "predict",
        "--image-dir",
        str(image_dir),
        "--output",
        str(out),
        "--model",
        str(tiny_bundle),
        "--device",
        "cpu",
        "--runtime",
        "torch",
    ]
    done = subprocess.run([*command, "--threshold", "youden"], capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert [r["status"] for r in rows(out)] == ["ok"] * 4 + ["truncated"] + ["ok"] * 4
    assert {r["threshold"] for r in rows(out)} == {"0.42", ""}
    state = json.loads((tmp_path / "p.csv.run.json").read_text())
    assert state["model"]["name"] == "tiny"
    assert state["identity"]["model"]["runtime"] == "torch"
    direct = REAL(str(tiny_bundle), device="cpu", runtime="torch").predict(
        sorted(map(str, image_dir.glob("img-?.jpg")))
    )
    found = [r for r in rows(out) if r["status"] == "ok"]
    for row, prediction in zip(found, direct, strict=True):
        assert [np.float32(row[f"p_{c}"]) for c in prediction.labels.codes] == [
            np.float32(v) for v in prediction.values
        ]
