"""`skinclf gate` and `predict --gate`."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.overlays import clean_lesion

from skinclf_cli.main import run


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for seed in range(140, 143):
        Image.fromarray(clean_lesion(seed, width=200, height=150)).save(folder / f"{seed}.png")
    noise = np.random.default_rng(0).integers(0, 256, (150, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "noise.png")
    return folder


def test_check_writes_a_table_and_a_page(gated_bundle, images, tmp_path, capsys):
    (images / "empty.jpg").write_bytes(b"")
    table, page = tmp_path / "gate.csv", tmp_path / "gate.html"
    command = [
        "gate",
        "check",
        "--image-dir",
        str(images),
        "--model",
        str(gated_bundle),
        "--runtime",
        "torch",
    ]
    command += ["-o", str(table), "--page", str(page)]
    assert run([*command, "--json"]) == 3
    counts = json.loads(capsys.readouterr().out)
    assert counts["failed"] == 1
    assert counts["verdicts"]["unfit"] == 1
    with table.open(newline="") as file:
        rows = {Path(row["image"]).name: row for row in csv.DictReader(file)}
    assert set(rows) == {"140.png", "141.png", "142.png", "empty.jpg", "noise.png"}
    assert rows["noise.png"]["gate"] == "unfit"
    assert float(rows["140.png"]["focus"]) > 0.3
    assert rows["empty.jpg"]["status"] == "empty"
    assert {row["duplicate_of"] for row in rows.values()} == {""}
    text = page.read_text()
    assert text.index("noise.png") > 0
    assert "http" not in text
    assert run(command) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert run([*command, "--overwrite"]) == 3


def test_predict_marks_unless_told_otherwise(gated_bundle, images, tmp_path):
    command = ["predict", "--image-dir", str(images), "--model", str(gated_bundle), "--runtime", "torch"]
    for mode, code in (("mark", 0), ("refuse", 3), ("off", 0)):
        path = tmp_path / f"{mode}.csv"
        assert run([*command, "-o", str(path), "--gate", mode]) == code
        with path.open(newline="") as file:
            (noise,) = (row for row in csv.DictReader(file) if "noise" in row["image"])
        assert noise["status"] == ("gated" if mode == "refuse" else "ok")
        assert noise.get("gate") == {"off": None}.get(mode, "unfit")
    assert run([*command, "-o", str(tmp_path / "default.csv")]) == 0
    assert (tmp_path / "default.csv").read_bytes() == (tmp_path / "mark.csv").read_bytes()


def test_fit_stores_a_gate_in_a_bundle(bundle_copy, tmp_path, capsys):
    folders = {"train": range(55), "held": range(55, 110)}
    for name, seeds in folders.items():
        (tmp_path / name).mkdir()
        for seed in seeds:
            Image.fromarray(clean_lesion(seed, width=64, height=48)).save(tmp_path / name / f"{seed}.png")
    command = ["gate", "fit", str(bundle_copy), "--images", str(tmp_path / "train"), "--runtime", "torch"]
    assert run([*command, "--calibration", str(tmp_path / "held"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["calibration_images"] == 55
    shutil.copytree(bundle_copy, tmp_path / "again")
    picture = str(tmp_path / "held" / "60.png")
    assert (
        run(["predict", picture, "--model", str(tmp_path / "again"), "--gate", "mark", "--format", "csv"])
        == 0
    )
    assert "p_familiar" in capsys.readouterr().out
    assert (
        run(
            ["gate", "fit", "ham10000-mobilenetv2", "--images", str(tmp_path), "--calibration", str(tmp_path)]
        )
        == 2
    )
