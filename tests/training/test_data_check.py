"""Decoding every image once: in parallel, resumable, and complete in its report."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.prepared_data import SHARES, make_data

from skinclf.errors import ImageError, InvalidArgumentError
from skinclf.images.decode import load_image
from skinclf.images.enhance import Step
from skinclf.images.preprocess import Preprocess
from skinclf.inference.scorer import LoadPixels
from skinclf_cli.main import run
from skinclf_training.data.check import check_images
from skinclf_training.data.check_report import check_data
from skinclf_training.data.explore.explore import describe, explore, sample_files
from skinclf_training.data.locate import index_images
from skinclf_training.data.prepare import prepare, read_prepared
from skinclf_training.data.store import decoded_store


def test_facts_of_an_image(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20), (200, 100, 50)).save(tmp_path / "a.png")
    (tmp_path / "b.jpg").write_bytes(b"no image")
    found = check_images(["a", "b", "c"], index_images([tmp_path]))
    facts = found.facts["a"]
    assert (facts.width, facts.height, facts.mean) == (30, 20, (200.0, 100.0, 50.0))
    assert found.sizes == {"30x20": 1}
    assert {k: v.split(":")[0] for k, v in found.rejected.items()} == {"b": "not_an_image", "c": "missing"}


def test_only_what_is_new_or_changed_is_decoded(tmp_path: Path) -> None:
    _, dirs = make_data(tmp_path)
    index = index_images(dirs)
    journal = tmp_path / "out" / "check.jsonl"
    first = check_images(list(index), index, journal=journal, workers=2)
    assert first.decoded == 63
    assert check_images(list(index), index, journal=journal).decoded == 0
    Image.new("RGB", (9, 9)).save(index["I000"])
    again = check_images(list(index), index, journal=journal)
    assert again.decoded == 1
    assert again.facts["I000"].width == 9
    assert {k: v for k, v in again.facts.items() if k != "I000"} == {
        k: v for k, v in first.facts.items() if k != "I000"
    }
    # A kill leaves part of a line; only that image is decoded again.
    data = journal.read_bytes()
    journal.write_bytes(data[:-30])
    assert check_images(list(index), index, journal=journal).decoded == 1
    assert check_images(list(index), index, journal=journal).decoded == 0
    journal.write_bytes(b"{}\n" + data)
    with pytest.raises(InvalidArgumentError, match="line 1 is damaged"):
        check_images(list(index), index, journal=journal)


def test_a_killed_check_goes_on(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "one.jpg", quality=95)
    data = (tmp_path / "one.jpg").read_bytes()
    count = 900
    for i in range(count):
        (images / f"I{i:04}.jpg").write_bytes(data)
    table = tmp_path / "labels.csv"
    table.write_text("image_id,lesion_id,dx\n" + "".join(f"I{i:04},L{i},nv\n" for i in range(count)))
    arguments = [
        "data",
        "check",
        "--metadata",
        str(table),
        "--image-dir",
        str(images),
        "--output",
        str(tmp_path / "out"),
        "--workers",
        "1",
        "--json",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "skinclf", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    journal = tmp_path / "out" / "check.jsonl"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (journal.is_file() and journal.stat().st_size):
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = journal.read_bytes().count(b"\n")
    assert 0 < done < count
    report = check_data([table], [images], tmp_path / "out")
    assert report["decoded_now"] == count - done
    assert report["readable"] == count


def test_the_report_and_its_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metadata, dirs = make_data(tmp_path)
    (dirs[0] / "I000.jpg").unlink()
    (dirs[1] / "I001.jpg").write_bytes(b"no image")
    Image.new("RGB", (8, 8)).save(dirs[0] / "stranger.png")
    (dirs[1] / "I003.jpg").write_bytes((dirs[0] / "I002.jpg").read_bytes())
    text = metadata.read_text().replace("bcc-1,I01", "akiec-1,I01")
    metadata.write_text(text)
    base = ["data", "check", "--metadata", str(metadata), "--output", str(tmp_path / "out")]
    dirs_of = ["--image-dir", str(dirs[0]), "--image-dir", str(dirs[1])]
    assert run([*base, *dirs_of, "--json"]) == 3
    out = capsys.readouterr()
    report = json.loads(out.out)
    assert report == json.loads((tmp_path / "out" / "check.json").read_text())
    assert (report["images"], report["readable"]) == (63, 61)
    assert {k: v.split(":")[0] for k, v in report["rejected"].items()} == {
        "I000": "missing",
        "I001": "not_an_image",
    }
    assert report["files_without_a_row"] == {"count": 1, "first": ["stranger"]}
    assert report["identical_files"] == [["I002", "I003"]]
    assert report["lesions_with_several_labels"] == ["akiec-1"]
    assert report["sizes"] == {"32x24": 61}
    assert "I001: not_an_image" in out.err
    assert run([*base, *dirs_of]) == 3
    table = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines()[1:])
    assert table["unreadable"].strip() == "1"
    assert table["missing"].strip() == "1"
    assert run(base) == 3  # no folder at all: every image is missing
    assert run(["data", "check", "--output", str(tmp_path / "out")]) == 2


def test_prepare_takes_over_what_check_has_decoded(tmp_path: Path) -> None:
    metadata, dirs = make_data(tmp_path)
    assert check_data([metadata], dirs, tmp_path / "out")["decoded_now"] == 63
    for path in (p for d in dirs for p in d.glob("*.jpg")):
        info = path.stat()
        path.write_bytes(b"\0" * info.st_size)  # undecodable, but not changed as far as anyone can tell
        os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))
    assert prepare(metadata, dirs, tmp_path / "out", shares=SHARES)["images"] == 63


# --- exploration ------------------------------------------------------------------------------


def test_explore_counts_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metadata, dirs = make_data(tmp_path)
    header, *lines = metadata.read_text().splitlines()
    extra = [
        f"{line},{'male' if i % 3 else 'female'},{'' if i % 5 == 0 else 'back'}"
        for i, line in enumerate(lines)
    ]
    metadata.write_text("\n".join([f"{header},sex,localization", *extra]) + "\n")
    prepare(metadata, dirs, tmp_path / "out", shares=SHARES)
    assert run(["data", "explore", "--data", str(tmp_path / "out"), "--samples", "2", "--json"]) == 0
    numbers = json.loads(capsys.readouterr().out)
    folder = tmp_path / "out" / "explore"
    assert numbers == json.loads((folder / "explore.json").read_text())
    assert (numbers["images"], numbers["lesions"], numbers["imbalance"]) == (63, 42, 1.0)
    assert numbers["malignant_share"] == pytest.approx(27 / 63)
    assert numbers["images_per_lesion"] == {"1": 21, "2": 21}
    assert numbers["aspect"] == {"1.33": 63}
    assert sum(numbers["sex"]["values"]["female"].values()) == 21
    assert numbers["site"]["unknown"] == 13
    assert numbers["age"]["known"] == 63
    assert sum(sum(bins.values()) for bins in numbers["age"]["bins"].values()) == 63
    for row in numbers["classes"]:
        assert sum(row["parts"].values()) == row["images"] == 9
    page = (folder / "explore.html").read_text()
    assert page.count("data:image/png;base64,") == 5
    assert page.count("data:image/jpeg;base64,") == 1
    assert "http" not in page.replace("http-equiv", "")
    assert sorted(p.stem for p in (folder / "figures").iterdir()) == [
        "by_class",
        "classes",
        "lesions",
        "people",
        "pictures",
        "samples",
    ]


def test_explore_leaves_out_what_nobody_knows(tmp_path: Path) -> None:
    metadata, dirs = make_data(tmp_path)
    metadata.write_text(
        "\n".join(",".join(x.split(",")[:3]) for x in metadata.read_text().splitlines()) + "\n"
    )
    prepare(metadata, dirs, tmp_path / "out", shares=SHARES)
    numbers = explore(read_prepared(tmp_path / "out"), tmp_path / "report", samples=0)
    assert (numbers["age"], numbers["sex"], numbers["site"]) == (None, None, None)
    assert sorted(p.stem for p in (tmp_path / "report" / "figures").iterdir()) == [
        "classes",
        "lesions",
        "pictures",
    ]


def test_samples_show_different_lesions_and_follow_the_seed(tmp_path: Path) -> None:
    metadata, dirs = make_data(tmp_path)
    prepare(metadata, dirs, tmp_path / "out", shares=SHARES)
    prepared = read_prepared(tmp_path / "out")
    files = sample_files(prepared, count=5, seed=0)
    lesion = dict(zip(prepared.paths, prepared.lesions, strict=True))
    assert all(len({lesion[f] for f in chosen}) == 5 for chosen in files.values())
    assert files == sample_files(prepared, count=5, seed=0) != sample_files(prepared, count=5, seed=1)


def test_colours_are_means_of_a_class(tmp_path: Path) -> None:
    metadata, dirs = make_data(tmp_path)
    for path in (p for d in dirs for p in d.glob("*.jpg")):
        Image.new("RGB", (8, 8), (180, 90, 30)).save(path.with_suffix(".png"))
        path.unlink()
    prepare(metadata, dirs, tmp_path / "out", shares=SHARES)
    prepared = read_prepared(tmp_path / "out")
    found = check_images(prepared.images, dict(zip(prepared.images, prepared.paths, strict=True)))
    numbers = describe(prepared, found)
    assert numbers["colour"]["mel"] == [180.0, 90.0, 30.0]
    assert numbers["brightness"]["nv"] == {"p5": 100, "p25": 100, "p50": 100, "p75": 100, "p95": 100}


# --- the store --------------------------------------------------------------------------------

ENHANCED = (
    Step("resize", {"height": 48, "width": 48}),
    Step("clahe", {"clip_limit": 2.0, "tile": 8}),
    Step("hair_removal", {}),
    Step("shades_of_gray", {}),
    Step("jpeg", {"quality": 90}),
)


def test_the_store_applies_the_declared_steps_as_prediction_does(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    _, dirs = make_data(tmp_path)
    paths = sorted(dirs[0].glob("*.jpg"))[:4]
    enhanced = Preprocess(height=24, width=24, steps=ENHANCED)
    plain = Preprocess(height=24, width=24)
    store = decoded_store(paths, enhanced, tmp_path / "cache", workers=2)
    for i, path in enumerate(paths):
        assert np.array_equal(store[i], LoadPixels(enhanced)(path)[0])
        assert not np.array_equal(store[i], plain.pixels(load_image(path)))
    decoded_store(paths, plain, tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 2  # the steps are part of the key


def test_a_draft_decode_is_the_same_in_store_and_prediction(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    path = tmp_path / "a.jpg"
    Image.fromarray(pixels).save(path, quality=90)
    preprocess = Preprocess(height=64, width=64, draft=True)
    store = decoded_store([path], preprocess, tmp_path / "cache")
    assert np.array_equal(store[0], LoadPixels(preprocess)(path)[0])
    assert not np.array_equal(store[0], preprocess.pixels(load_image(path)))


def test_a_step_that_fails_names_the_image(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / "black.png")
    preprocess = Preprocess(height=16, width=16, steps=(Step("shades_of_gray", {}),))
    with pytest.raises(ImageError, match=r"black.png: shades_of_gray: a colour channel is black"):
        decoded_store([tmp_path / "black.png"], preprocess, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
