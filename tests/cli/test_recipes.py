"""Recipes on the command line: combine, predict, tune, calibrate, label sets, each in one command."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from skinclf.labels import HAM10000
from skinclf.models.bundle import read_spec
from skinclf_cli.main import run

CODES = HAM10000.codes
GOAL = ("tune-threshold", "--target-sensitivity", "0.5", "--no-plot")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def here(tmp_path, tiny_bundle, bundle_factory, image_dir, monkeypatch):
    """A folder with two bundles, images and labels of all but one of them, as the current one."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_bundle, "a")
    bundle_factory(Path("b"), HAM10000, read_spec(Path("a")).preprocess, seed=5)
    names = sorted(path.stem for path in image_dir.iterdir())[1:]
    text = "".join(f"{name},L{i // 2},{CODES[i % 7]}\n" for i, name in enumerate(names))
    Path("labels.csv").write_text(f"image,lesion_id,dx\n{text}")
    return tmp_path


def test_one_command_tunes_a_threshold_that_fits_this_combination_only(here, capsys):
    both = ("--model", "a", "--model", "b", "--tta", "flips")
    given = ("--image-dir", "images", "--labels", "labels.csv", "--output", "t.json")
    assert run([*GOAL, *both, *given]) == 0
    table = rows(Path("t_predictions.csv"))
    assert len(table) == 7, "only labelled images are predicted"
    tuned = json.loads(Path("t.json").read_text())
    assert np.float32(tuned["threshold"]) in [np.float32(row["probability_malignant"]) for row in table]
    assert tuned["model"]["name"] == "tiny + b (flips)"
    predict = ("predict", "images/img-1.jpg", "--threshold", "t.json", "--output")
    assert run([*predict, "p.csv", *both]) == 0
    assert json.loads(Path("p.csv.run.json").read_text())["threshold_from"] == "threshold file"
    assert run(["models", "combine", "a", "b", "--tta", "flips", "--output", "best"]) == 0
    assert run([*predict, "q.csv", "--model", "best"]) == 0
    assert rows(Path("q.csv")) == rows(Path("p.csv"))
    others = (
        both[:4],
        both[:2],
        (*both[:2], *both[4:]),
        (*both[:4], "--tta", "d4"),
        (*both, "--weights", "2,1"),
    )
    for other in others:
        capsys.readouterr()
        assert run([*predict, "r.csv", *other]) == 1
        assert "other combination of models and views" in capsys.readouterr().err
    # The same command again computes nothing, and another model may not go on in the table.
    assert run([*GOAL, *both, *given]) == 0
    assert json.loads(Path("t_predictions.csv.run.json").read_text())["counts"]["computed"] == 0
    assert run([*GOAL, *both[:4], *given]) == 1
    assert "Remove t_predictions.csv" in capsys.readouterr().err
    # A table of predictions is checked against the combination too.
    read = ("--predictions", "t_predictions.csv", "--labels", "labels.csv", "--output", "u.json")
    assert run([*GOAL, *both, *read]) == 0
    assert run([*GOAL, *both[:4], *read]) == 1


def test_a_recipe_with_predictions_is_tuned_calibrated_and_given_label_sets(here, capsys):
    images = ("--image-dir", "images", "--labels", "labels.csv")
    combine = ("models", "combine", "a", "b", "--weights", "3,1", "--output", "best", *images)
    assert run(combine) == 0
    assert run(combine) == 0, "a repeated command goes on"
    carried = rows(Path("best/predictions_val.csv"))
    assert [row["lesion_id"] for row in carried] == [f"L{i // 2}" for i in range(7)]
    assert [row["label"] for row in carried] == list(CODES)
    made = rows(Path("best_predictions.csv"))
    assert all(a[f"p_{code}"] == b[f"p_{code}"] for a, b in zip(carried, made, strict=True) for code in CODES)
    assert run([*GOAL, "--model", "best", "--store", "s50", "--output", "t.json"]) == 0
    assert read_spec(Path("best")).default_operating_point == "s50"
    capsys.readouterr()
    assert run(["predict", "images", "--model", "best", "-o", "p.csv"]) == 0
    assert "No threshold" not in capsys.readouterr().err
    manifest = json.loads(Path("p.csv.run.json").read_text())
    assert manifest["threshold_from"] == "operating point s50"
    # Into another folder: members are found from there, and the old threshold does not fit any more.
    Path("deep").mkdir()
    calibrate = ("calibrate", "--model", "best", "--output", "deep/calibrated", "--replicates", "20")
    assert run([*calibrate, "--folds", "2"]) == 0
    assert run(["predict", "images", "--model", "deep/calibrated", "-o", "c.csv"]) == 0
    values = [
        np.float32([[row[f"p_{code}"] for code in CODES] for row in rows(Path(p))])
        for p in ("p.csv", "c.csv")
    ]
    assert np.abs(values[0] - values[1]).max() > 0.01
    again = rows(Path("deep/calibrated/predictions_val.csv"))
    expected = np.float32([[row[f"p_{code}"] for code in CODES] for row in again])
    np.testing.assert_allclose(values[1][1:], expected, atol=1e-5)
    assert (
        run(["predict", "images", "--model", "deep/calibrated", "-o", "d.csv", "--threshold", "t.json"]) == 1
    )
    assert "other calibration" in capsys.readouterr().err
    assert run(["predict", "images", "--model", "best", "-o", "e.csv", "--conformal", "0.5"]) == 0
    assert all(row["label_set"] for row in rows(Path("e.csv")))


def test_several_models_are_refused_where_one_bundle_is_changed(here, capsys):
    for command in (("calibrate", "--output", "c"), ("conformal",)):
        assert run([*command, "--model", "a", "--model", "b"]) == 2
        assert "skinclf models combine" in capsys.readouterr().err
    assert run([*GOAL, "--model", "a", "--model", "b"]) == 2
    assert "No held-out predictions travel with" in capsys.readouterr().err
    assert run([*GOAL, "--model", "a", "--image-dir", "images"]) == 2
    assert run(["models", "combine", "a", "b", "--output", "x", "--labels", "labels.csv"]) == 2


def test_a_recipe_of_folders_is_not_pushed(here, capsys):
    assert run(["models", "combine", "a", "--tta", "flips", "--output", "best"]) == 0
    assert run(["push", "best", "user/repo", "--dry-run"]) == 2
    assert "its member ../a is a path on this machine" in capsys.readouterr().err


def test_show_names_members_weights_views_and_what_decides(here, capsys):
    assert run(["models", "combine", "a", "b", "--weights", "3,1", "--tta", "d4", "--output", "best"]) == 0
    capsys.readouterr()
    assert run(["models", "show", "best"]) == 0
    shown = capsys.readouterr().out
    for words in (
        "../a",
        "weight 0.75",
        "../b",
        "weight 0.25",
        "d4",
        "probability",
        "the more probable side",
    ):
        assert words in shown
    assert run(["models", "show", "best", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["skinclf"]["recipe"]["tta"] == "d4"
