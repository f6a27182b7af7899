"""`skinclf explain`: exit codes, the folder, and messages in the words of the command line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from support.onnx_file import save

from skinclf_cli.main import run


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "maps.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_damaged_image_costs_its_row_and_exit_code_3(image_dir, tiny_bundle, tmp_path, capsys):
    (image_dir / "broken.jpg").write_bytes(b"no image")
    command = [
        "explain",
        "--image-dir",
        str(image_dir),
        "--model",
        str(tiny_bundle),
        "-o",
        str(tmp_path / "maps"),
    ]
    assert run([*command, "--runtime", "torch", "--target", "predicted"]) == 3
    rows = rows_of(tmp_path / "maps")
    assert [row["status"] for row in rows].count("not_an_image") == 1
    good = [row for row in rows if row["status"] == "ok"]
    assert len(good) == len(rows) - 1 > 0
    for row in good:
        assert row["method"] == "gradcam"
        assert np.ptp(np.load(tmp_path / "maps" / row["map"])) > 0
    assert "not why it is right" in capsys.readouterr().err
    assert run([*command, "--runtime", "torch", "--target", "predicted"]) == 2
    assert "--resume" in capsys.readouterr().err
    assert run([*command, "--runtime", "torch", "--target", "predicted", "--resume"]) == 3


def test_metadata_adds_what_each_entry_contributes(image_dir, tmp_path, capsys):
    from skinclf.images.discovery import scan_directory

    image = Path(next(iter(scan_directory(image_dir))))
    table = tmp_path / "patients.csv"
    table.write_text(f"image,age,sex\n{image.name},70,\n", encoding="utf-8")
    command = ["explain", str(image), "-o", str(tmp_path / "maps"), "--metadata", str(table)]
    assert run(command) == 0, capsys.readouterr().err
    (row,) = rows_of(tmp_path / "maps")
    assert float(row["age_log_odds"]) > 0
    assert (row["sex_log_odds"], row["site_log_odds"]) == ("0.0", "0.0")
    assert run(["explain", str(image), "-o", str(tmp_path / "b"), "--metadata-terms", str(table)]) == 2
    assert "--metadata TABLE" in capsys.readouterr().err
    assert run([*command[:-3], str(tmp_path / "c"), "--check", "faithfulness", "--metadata", str(table)]) == 2


def test_layers_are_listed_without_images(tiny_bundle, capsys):
    assert run(["explain", "--list-layers", "--model", str(tiny_bundle), "--runtime", "torch"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 3
    assert all(" channels)" in line for line in lines)


def test_an_unknown_layer_lists_the_layers(image_dir, tiny_bundle, tmp_path, capsys):
    command = [
        "explain",
        "--image-dir",
        str(image_dir),
        "--model",
        str(tiny_bundle),
        "-o",
        str(tmp_path / "maps"),
    ]
    assert run([*command, "--layer", "conv99", "--runtime", "torch"]) == 2
    error = capsys.readouterr().err
    assert "'conv99' is not known" in error
    assert "--layer is one of these" in error


@pytest.mark.parametrize("method", ["gradcam", "saliency", "smoothgrad", "integrated-gradients"])
def test_gradients_of_an_onnx_file_are_refused_with_what_works(method, image_dir, tmp_path, capsys):
    save(tmp_path / "m.onnx", layout="NHWC", size="side")
    command = [
        "explain",
        "--image-dir",
        str(image_dir),
        "--model",
        str(tmp_path / "m.onnx"),
        "--labels",
        "ham10000",
    ]
    command += ["--preprocess", "unit", "--input-size", "64", "-o", str(tmp_path / "maps")]
    assert run([*command, "--method", method]) == 2
    assert "occlusion and rise work" in capsys.readouterr().err
    assert not (tmp_path / "maps" / "maps.csv").exists()
    assert run([*command, "--method", "occlusion"]) == 0
    assert {row["method"] for row in rows_of(tmp_path / "maps")} == {"occlusion"}


@pytest.mark.parametrize("arguments", [["a.jpg"], ["--output", "maps"]])
def test_an_output_and_an_input_are_needed(arguments, capsys):
    assert run(["explain", *arguments]) == 2
    assert "Give " in capsys.readouterr().err


def test_checks_are_printed_and_written(image_dir, tiny_bundle, tmp_path, capsys):
    command = ["explain", "--image-dir", str(image_dir), "--model", str(tiny_bundle), "--runtime", "torch"]
    command += ["--check", "randomisation", "--check-images", "3", "-o", str(tmp_path / "out")]
    assert run(command) == 0
    assert capsys.readouterr().out.startswith("Randomised weights: ")
    found = json.loads((tmp_path / "out" / "explanation.json").read_text())
    assert found["randomisation"]["images"] == 3
    assert run(command) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert run([*command, "--overwrite", "--check", "masks"]) == 2
    assert "--masks" in capsys.readouterr().err
    assert run([*command[:-1], str(tmp_path / "two"), "--method", "gradcam,occlusion"]) == 2
    assert "one --method at a time" in capsys.readouterr().err


def test_unknown_methods_and_checks_name_the_known_ones(image_dir, tiny_bundle, tmp_path, capsys):
    command = [
        "explain",
        "--image-dir",
        str(image_dir),
        "--model",
        str(tiny_bundle),
        "-o",
        str(tmp_path / "o"),
    ]
    assert run([*command, "--method", "lime"]) == 2
    assert "gradcam, saliency" in capsys.readouterr().err
    assert run([*command, "--check", "sanity"]) == 2
    assert "randomisation, faithfulness, masks" in capsys.readouterr().err
