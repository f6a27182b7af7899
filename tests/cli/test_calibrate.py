"""`skinclf calibrate`: a bundle with a new calibration, and the evidence for it."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image
from scipy.special import softmax
from support.decision_fixtures import simulate, write_small_bundle

from skinclf.decisions.calibration import fit_calibration
from skinclf.decisions.threshold_file import read_threshold
from skinclf.errors import MismatchError
from skinclf.models.bundle import read_spec
from skinclf.models.probabilities import Calibration
from skinclf.tables.predictions import read_predictions
from skinclf_cli.main import run

LOGITS, TRUTH, LESIONS = simulate()


@pytest.fixture
def bundle(tmp_path):
    write_small_bundle(tmp_path / "small", operating_points={"s90": {"threshold": 0.2}})
    return tmp_path / "small"


def calibrate(bundle, output, *options):
    few = ["--replicates", "60"]
    return run(["calibrate", "--model", str(bundle), "--output", str(output), *few, *options])


@pytest.mark.parametrize("method", ["temperature", "vector", "isotonic"])
def test_a_calibrated_copy(bundle, tmp_path, capsys, method):
    out = tmp_path / "out"
    assert calibrate(bundle, out, "--method", method) == 0
    spec = read_spec(out)
    assert spec.calibration is not None
    assert spec.calibration.method == method
    expected = fit_calibration(LOGITS, TRUTH, method=method, group=(0, 1, 4)).apply(LOGITS)
    assert spec.calibration.apply(LOGITS) == pytest.approx(expected, abs=1e-5)
    # Stale operating points are gone, and the user hears of it.
    assert spec.operating_points == {}
    said = capsys.readouterr()
    assert "s90" in said.err
    assert "malignant_ece" in said.out
    # What travels with the model is what it would print now.
    carried = read_predictions(out / "predictions_val.csv")
    assert carried.probabilities == pytest.approx(expected, abs=1e-5)
    with (out / "predictions_val.csv").open() as file:
        assert next(csv.DictReader(file))["lesion_id"] == LESIONS[0]
    assert (out / "model.safetensors").read_bytes() == b"never read"
    with Image.open(out / "calibration.png") as picture:
        assert picture.width > 1000
    # The source is untouched.
    assert read_spec(bundle).calibration is None


@pytest.mark.parametrize(("method", "said"), [("temperature", False), ("vector", True), ("isotonic", True)])
def test_a_gate_that_goes_by_other_classes_is_named(tmp_path, capsys, method, said):
    gate = {"sha256": "0" * 64, "alpha": 0.01, "made_from": {"weights_sha256": "ab" * 32}}
    write_small_bundle(tmp_path / "gated", gate=gate)
    assert calibrate(tmp_path / "gated", tmp_path / "out", "--method", method) == 0
    assert ("Fit it again: skinclf gate fit." in capsys.readouterr().err) is said
    assert read_spec(tmp_path / "out").gate == gate


def test_evidence_before_and_after(bundle, tmp_path, capsys):
    assert calibrate(bundle, tmp_path / "out", "--json") == 0
    data = json.loads(capsys.readouterr().out)
    assert data == json.loads((tmp_path / "out" / "calibration.json").read_text())
    names = {
        "nll",
        "brier",
        "ece_top_label",
        "ece_classwise",
        "malignant_nll",
        "malignant_brier",
        "malignant_ece",
        "malignant_slope",
        "malignant_intercept",
    }
    for when in ("before", "after"):
        assert set(data[when]) == names
        assert all(low <= value <= high for value, low, high in data[when].values())
    assert (data["ece_bins"], data["folds"], data["images"]) == (15, 5, 600)
    # The simulated logits are twice too large: slope and errors say so, and say when it is gone.
    assert data["before"]["malignant_slope"][2] < 1 < data["after"]["malignant_slope"][2]
    assert data["after"]["malignant_slope"][0] == pytest.approx(1, abs=0.15)
    assert data["after"]["nll"][0] < data["before"]["nll"][0]
    assert data["after"]["ece_top_label"][0] < data["before"]["ece_top_label"][0]


def test_a_threshold_tuned_before_is_refused_after(bundle, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tune = ["tune-threshold", "--target-sensitivity", "0.9", "--no-plot", "--model"]
    assert run([*tune, str(bundle), "--output", "before.json"]) == 0
    assert calibrate(bundle, bundle) == 0  # in place
    assert run([*tune, str(bundle), "--output", "after.json"]) == 0
    capsys.readouterr()
    spec = read_spec(bundle)
    with pytest.raises(MismatchError, match="other calibration"):
        read_threshold("before.json").check(spec)
    after = read_threshold("after.json")
    assert after.check(spec) == ()
    assert after.value != read_threshold("before.json").value


def test_a_second_calibration_replaces_the_first(tmp_path):
    """Predictions carry the first; its effect is undone before the second is fitted."""
    write_small_bundle(tmp_path / "a", calibration=Calibration("temperature", (0.9,)))
    assert calibrate(tmp_path / "a", tmp_path / "b") == 0
    expected = fit_calibration(LOGITS, TRUTH).scale[0]
    assert read_spec(tmp_path / "b").calibration.scale[0] == pytest.approx(expected, rel=1e-4)
    assert calibrate(tmp_path / "b", tmp_path / "c", "--method", "none") == 0
    assert read_spec(tmp_path / "c").calibration is None
    raw = read_predictions(tmp_path / "c" / "predictions_val.csv").probabilities
    assert raw == pytest.approx(softmax(LOGITS, axis=1), abs=1e-5)


def test_labels_of_malignancy_alone_serve_isotonic_only(bundle, tmp_path, capsys):
    labels = tmp_path / "l.csv"
    labels.write_text(
        "image,label\n" + "".join(f"IMG_{i:05d},{int(y in (0, 1, 4))}\n" for i, y in enumerate(TRUTH))
    )
    assert calibrate(bundle, tmp_path / "x", "--labels", str(labels)) == 2
    assert "name the model's classes" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
    assert calibrate(bundle, tmp_path / "y", "--labels", str(labels), "--method", "isotonic") == 0
    assert "nll" not in json.loads((tmp_path / "y" / "calibration.json").read_text())["after"]


def test_refuses_a_folder_in_use_and_what_cannot_be_undone(bundle, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    assert calibrate(bundle, tmp_path / "full") == 1
    assert "not empty" in capsys.readouterr().err
    assert calibrate(bundle, tmp_path / "vector", "--method", "vector") == 0
    assert calibrate(tmp_path / "vector", tmp_path / "again") == 2
    assert "cannot be undone" in capsys.readouterr().err
    # The way that the message names goes on.
    plain = tmp_path / "plain"
    assert calibrate(tmp_path / "vector", plain, "--method", "none") == 0
    assert "without held-out predictions" in capsys.readouterr().err
    assert read_spec(plain).calibration is None
    assert not (plain / "predictions_val.csv").exists()
    assert (plain / "model.safetensors").read_bytes() == b"never read"
    assert calibrate(tmp_path / "vector", plain, "--method", "none") == 1
    assert "not empty" in capsys.readouterr().err


def test_predictions_of_training_data_are_refused(bundle, tmp_path, capsys):
    sure = np.where(np.eye(7)[TRUTH] > 0, 0.9, 0.1 / 6)
    table = tmp_path / "p.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "label", *(f"p_{c}" for c in read_spec(bundle).labels.codes)])
        codes = read_spec(bundle).labels.codes
        for i, (row, y) in enumerate(zip(sure, TRUTH, strict=True)):
            writer.writerow([f"IMG_{i:05d}", codes[y], *row])
    assert calibrate(bundle, tmp_path / "out", "--predictions", str(table)) == 2
    assert "Use held-out predictions" in capsys.readouterr().err
