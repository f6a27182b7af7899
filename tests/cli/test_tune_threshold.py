"""`skinclf tune-threshold`, from its inputs to the file, the picture and the exit code."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.special import softmax
from sklearn.metrics import confusion_matrix
from support.decision_fixtures import simulate, spec_of, write_predictions, write_small_bundle

from skinclf.decisions.threshold_file import read_threshold
from skinclf.errors import MismatchError
from skinclf.jobs.manifest import manifest_path
from skinclf.labels import HAM10000
from skinclf.models import registry
from skinclf.models.bundle import read_spec
from skinclf.models.probabilities import Calibration
from skinclf_cli.main import run

GOAL = ["tune-threshold", "--target-sensitivity", "0.9"]


@pytest.fixture
def bundle(tmp_path):
    write_small_bundle(tmp_path / "small", calibration=Calibration("temperature", (0.5,)))
    return tmp_path / "small"


@pytest.fixture
def here(tmp_path, monkeypatch):
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_predictions_that_travel_with_a_model(bundle, here, capsys):
    assert run([*GOAL, "--model", str(bundle)]) == 0
    said = capsys.readouterr()
    data = json.loads((here / "threshold.json").read_text())
    assert data["sensitivity"] >= 0.9
    assert data["n"] == 600
    assert data["lesions"] < 450
    assert data["positive"] == ["akiec", "bcc", "mel"]
    assert data["model"]["weights_sha256"] == "ab" * 32
    assert [row["target"] for row in data["table"]] == [0.8, 0.85, 0.9, 0.95, 0.97, 0.98, 0.99]
    assert (
        read_threshold(here / "threshold.json").check(
            spec_of("small", calibration=Calibration("temperature", (0.5,)))
        )
        == ()
    )
    with Image.open(here / "threshold_analysis.png") as picture:
        assert picture.width > 1000
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 50
    assert "sensitivity" in said.out
    assert data["claim"] in said.out
    assert "threshold_analysis.png" in said.err
    assert "threshold_analysis.png" not in said.out
    # The table on disk is read back as it was decided: counts by an independent route.
    with (bundle / "predictions_val.csv").open() as file:
        rows = list(csv.DictReader(file))
    score = [
        np.sum([np.float32(r[f"p_{c}"]) for c in ("akiec", "bcc", "mel")], dtype=np.float32) for r in rows
    ]
    truth = [r["label"] in {"akiec", "bcc", "mel"} for r in rows]
    counts = confusion_matrix(truth, np.asarray(score) >= np.float32(data["threshold"])).ravel().tolist()
    assert counts == [data[k] for k in ("tn", "fp", "fn", "tp")]


def test_bare_command_without_torch_in_a_fresh_process(here):
    """The line of the README, with the built-in model."""
    built_in = registry.BUILTIN / registry.DEFAULT / "predictions_val.csv"
    if not built_in.is_file():
        pytest.skip("the built-in model's held-out predictions are not in this checkout")
    code = (
        "import sys; from skinclf_cli.main import run; code = run(sys.argv[1:]); "
        "heavy = {'torch', 'tensorflow', 'pandas', 'cv2'} & set(sys.modules); "
        "sys.exit(code or (f'imported {heavy}' if heavy else 0))"
    )
    done = subprocess.run([sys.executable, "-c", code, *GOAL], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads((here / "threshold.json").read_text())["sensitivity"] >= 0.9
    assert (here / "threshold_analysis.png").stat().st_size > 10_000


def test_a_second_threshold_has_a_picture_of_its_own(bundle, here):
    for name in ("threshold", "own"):
        assert run([*GOAL, "--model", str(bundle), "--output", f"{name}.json"]) == 0
    assert {path.name for path in here.glob("*.png")} == {"threshold_analysis.png", "own_analysis.png"}


def test_no_torch_for_a_bundle(bundle, here):
    code = (
        "import sys; from skinclf_cli.main import run; code = run(sys.argv[1:]); "
        "heavy = {'torch', 'tensorflow', 'pandas', 'cv2'} & set(sys.modules); "
        "sys.exit(code or (f'imported {heavy}' if heavy else 0))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *GOAL, "--model", str(bundle)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "findfont" not in done.stderr


def test_run_of_the_binary_seed(tmp_path, here, capsys):
    rng = np.random.default_rng(0)
    y = (rng.random(300) < 0.3).astype(int)
    (tmp_path / "outputs").mkdir()
    np.savez(
        tmp_path / "outputs" / "val_probs.npz",
        y_true=y,
        y_prob=1 / (1 + np.exp(-rng.normal(size=300) - 3 * y + 2)),
    )
    assert (
        run(
            [
                *GOAL,
                "--run-dir",
                str(tmp_path / "outputs"),
                "--output",
                str(tmp_path / "outputs" / "threshold.json"),
            ]
        )
        == 0
    )
    data = json.loads((tmp_path / "outputs" / "threshold.json").read_text())
    assert data["sensitivity"] >= 0.9
    assert data["model"] is None
    assert data["positive"] is None
    assert (tmp_path / "outputs" / "threshold_analysis.png").is_file()
    assert "--model" in capsys.readouterr().err
    assert list(here.iterdir()) == []


def test_a_training_run_and_a_table_with_labels(bundle, here, tmp_path, capsys):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / "predictions_val.csv").write_bytes((bundle / "predictions_val.csv").read_bytes())
    assert run([*GOAL, "--run-dir", str(run_dir), "--model", str(bundle), "--json", "--no-plot"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["model"]["name"] == "small"
    labels = tmp_path / "HAM10000_metadata.csv"
    with (bundle / "predictions_val.csv").open() as file:
        rows = list(csv.DictReader(file))
    labels.write_text(
        "lesion_id,image_id,dx,sex\n"
        + "".join(f"{r['lesion_id']},{r['image']},{r['label']},f\n" for r in reversed(rows))
    )
    table = tmp_path / "preds.csv"
    names = [name for name in rows[0] if name.startswith("p_")]
    table.write_text(
        f"image,{','.join(names)}\n"
        + "".join(f"imgs/{r['image']}.jpg,{','.join(r[n] for n in names)}\n" for r in rows)
    )
    assert run([*GOAL, "--predictions", str(table), "--labels", str(labels), "--json", "--no-plot"]) == 0
    other = json.loads(capsys.readouterr().out)
    assert other["model"] is None
    assert {k: other[k] for k in list(data)[:11]} == {k: data[k] for k in list(data)[:11]}
    assert other["intervals"] == data["intervals"]


def with_manifest(bundle, path, **changes):
    path.write_bytes((bundle / "predictions_val.csv").read_bytes())
    spec = spec_of("small", calibration=Calibration("temperature", (0.5,)))
    identity = {"model": {**spec.fingerprint, "runtime": "torch", **changes}}
    manifest_path(path).write_text(
        json.dumps(
            {"schema": 1, "identity": identity, "model": {"name": "small", "weights_sha256": "ab" * 32}}
        )
    )
    return path


def test_the_run_manifest_names_the_model(bundle, here, tmp_path, capsys):
    table = with_manifest(bundle, tmp_path / "p.csv")
    assert run([*GOAL, "--predictions", str(table)]) == 0
    spec = spec_of("small", calibration=Calibration("temperature", (0.5,)))
    threshold = read_threshold(here / "threshold.json")
    assert threshold.check(spec) == ()
    with pytest.raises(MismatchError):
        threshold.check(spec.replace(calibration=None))
    capsys.readouterr()
    other = with_manifest(bundle, tmp_path / "q.csv", weights_sha256="cd" * 32)
    assert run([*GOAL, "--predictions", str(other), "--model", str(bundle)]) == 1
    assert "other weights. Give the --model" in capsys.readouterr().err


def test_lesions_guarantee_and_prevalence(bundle, here, capsys):
    options = [
        "--group-by",
        "lesion_id",
        "--grade",
        "guaranteed",
        "--confidence",
        "0.9",
        "--prevalence",
        "0.02",
    ]
    assert run([*GOAL, "--model", str(bundle), *options]) == 0
    data = json.loads((here / "threshold.json").read_text())
    assert (data["unit"], data["combine"], data["grade"], data["claimed"]) == (
        "lesion",
        "max",
        "guaranteed",
        True,
    )
    assert data["name"] == "sensitivity-0.9-guaranteed"
    assert data["lower_bound"] >= 0.9
    assert "One may claim with 90% confidence" in capsys.readouterr().out
    assert data["at_prevalence"]["ppv"]["value"] < data["ppv"]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--grade", "guaranteed"], 2, "--group-by lesion_id"),
        (["--group-by", "patient"], 2, "no column 'patient'"),
        (["--positive", "scc"], 2, "scc"),
        (["--youden"], 2, "State one criterion"),
        (["--confidence", "1.5"], 2, "--confidence"),
        (["--output", "no/such/threshold.json"], 2, "does not exist"),
        (["--labels", "LABELS"], 2, "None of the 600 predictions has a label"),
        (["--cost-matrix", "LABELS"], 2, "missing"),
    ],
)
def test_refuses(bundle, here, tmp_path, capsys, options, code, message):
    other = tmp_path / "other.csv"
    other.write_text("image,label\nx,1\n")
    options = [str(other) if x == "LABELS" else x for x in options]
    assert run([*GOAL, "--model", str(bundle), *options]) == code
    assert message in capsys.readouterr().err
    assert list(here.iterdir()) == []


def test_too_few_positives_is_exit_code_1(tmp_path, here, capsys):
    logits, truth, lesions = simulate(40)
    write_predictions(tmp_path / "p.csv", softmax(logits, axis=1), truth, lesions)
    line = [
        "tune-threshold",
        "--target-sensitivity",
        "0.99",
        "--grade",
        "guaranteed",
        "--group-by",
        "lesion_id",
    ]
    assert run([*line, "--predictions", str(tmp_path / "p.csv")]) == 1
    assert "It takes at least 299" in capsys.readouterr().err
    assert list(here.iterdir()) == []


def test_positive_class_classes_and_costs(bundle, here, tmp_path, capsys):
    codes = HAM10000.codes
    costs = tmp_path / "costs.csv"
    cost = [[0 if i == j else 20 if codes[i] == "mel" else 1 for j in range(7)] for i in range(7)]
    costs.write_text(
        "truth,"
        + ",".join(codes)
        + "\n"
        + "".join(f"{c},{','.join(map(str, r))}\n" for c, r in zip(codes, cost, strict=True))
    )
    options = [
        "--positive",
        "mel",
        "--per-class",
        "--cost-matrix",
        str(costs),
        "--json",
        "--name",
        "melanoma",
    ]
    assert run([*GOAL, "--model", str(bundle), *options]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data == json.loads((here / "threshold.json").read_text())
    assert (data["name"], data["positive"]) == ("melanoma", ["mel"])
    assert list(data["classes"]) == list(codes)
    assert data["classes"]["mel"]["threshold"] == data["threshold"]
    assert all(c["sensitivity"]["value"] >= 0.9 for c in data["classes"].values())
    paid = data["cost_matrix"]
    assert paid["mean_cost"]["value"] < paid["mean_cost_most_probable"]["value"]
    assert paid["mean_cost"]["low"] < paid["mean_cost"]["value"] < paid["mean_cost"]["high"]


def test_to_stdout(bundle, here, capsys):
    assert run([*GOAL, "--model", str(bundle), "--output", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["sensitivity"] >= 0.9
    assert list(here.iterdir()) == []


def test_a_point_is_stored_in_the_bundle(bundle, here, tmp_path, capsys):
    assert run([*GOAL, "--model", str(bundle), "--no-plot", "--store", "s90"]) == 0
    assert "operating point 's90'" in capsys.readouterr().err
    data = json.loads((here / "threshold.json").read_text())
    assert run([*GOAL[:-1], "0.95", "--model", str(bundle), "--no-plot", "--store", "s95"]) == 0
    spec = read_spec(bundle)
    assert list(spec.operating_points) == ["s90", "s95"]
    assert spec.default_operating_point == "s90"
    stored = spec.operating_points["s90"]
    assert {key: data[key] for key in stored if key != "data"} == {
        k: v for k, v in stored.items() if k != "data"
    }
    # Names and counts of what it was chosen on; hashes stay in the file.
    kept = ("predictions", "labels", "images", "lesions")
    assert stored["data"] == {key: data["data"][key] for key in kept}
    assert {"threshold", "sensitivity", "grade", "n"} <= set(stored)
    table = with_manifest(bundle, tmp_path / "p.csv")
    assert run([*GOAL, "--predictions", str(table), "--no-plot", "--store", "s90"]) == 2
    assert "--store needs a bundle" in capsys.readouterr().err


def test_a_model_without_predictions(bundle, here, capsys):
    (bundle / "predictions_val.csv").unlink()
    assert run([*GOAL, "--model", str(bundle)]) == 2
    assert "--predictions" in capsys.readouterr().err


def test_documented_options_are_there(capsys):
    assert run(["tune-threshold", "--help"]) == 0
    text = capsys.readouterr().out
    for option in (
        "--target-sensitivity",
        "--grade",
        "--group-by",
        "--positive",
        "--cost-matrix",
        "--run-dir",
    ):
        assert option in text
    assert Path("threshold.json").name in text
