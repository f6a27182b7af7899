"""What `tune-threshold` finds is what `predict` and `evaluate` use, or they say why not."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from skinclf.errors import MismatchError
from skinclf.evaluation.evaluate import evaluate
from skinclf.labels import HAM10000
from skinclf.models.class_decision import ClassDecision
from skinclf_cli.main import run

CODES = HAM10000.codes
FAST = ("--device", "cpu", "--runtime", "torch")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def tuned(tiny_bundle, image_dir, tmp_path):
    """A table of the small model with labels for each of its images; a function that tunes on them."""
    table = tmp_path / "val.csv"
    assert run(["predict", str(image_dir), "-o", str(table), "--model", str(tiny_bundle), *FAST]) == 0
    labels = tmp_path / "labels.csv"
    names = [row["image"] for row in rows(table)]
    labels.write_text("image,dx\n" + "".join(f"{n},{CODES[i % 7]}\n" for i, n in enumerate(names)))

    def tune(*options, name="t.json"):
        out = tmp_path / name
        command = ["tune-threshold", "--target-sensitivity", "0.9", "--no-plot", "--output", str(out)]
        assert run([*command, "--predictions", str(table), "--labels", str(labels), *options]) == 0
        return out

    return table, labels, tune


def costs_file(path: Path) -> Path:
    cells = [[0 if i == j else 50 if code == "mel" else 1 for j in range(7)] for i, code in enumerate(CODES)]
    lines = [f"{code},{','.join(map(str, row))}" for code, row in zip(CODES, cells, strict=True)]
    path.write_text("\n".join(["truth," + ",".join(CODES), *lines]) + "\n")
    return path


@pytest.mark.parametrize("kind", ["per_class", "costs", "both"])
def test_predict_and_evaluate_decide_by_the_tuned_rule(kind, tuned, tiny_bundle, image_dir, tmp_path, capsys):
    table, labels, tune = tuned
    options = [] if kind == "costs" else ["--per-class"]
    options += [] if kind == "per_class" else ["--cost-matrix", str(costs_file(tmp_path / "costs.csv"))]
    threshold = tune(*options)
    rule = ClassDecision.from_dict(json.loads(threshold.read_text())["decision"])
    assert rule.rule == ("class_thresholds" if kind == "per_class" else "least_cost")
    out = tmp_path / "p.csv"
    command = ["predict", str(image_dir), "-o", str(out), "--model", str(tiny_bundle), *FAST]
    assert run([*command, "--threshold", str(threshold)]) == 0
    assert "The predicted class is decided by" in capsys.readouterr().err
    found = rows(out)
    values = np.float32([[row[f"p_{code}"] for code in CODES] for row in found])
    decided = rule.decide(values)
    assert [int(row["predicted_label"]) for row in found] == decided.tolist()
    assert [row["predicted_class"] for row in found] == [HAM10000[i].name for i in decided]
    assert (decided != values.argmax(axis=1)).any()
    identity = json.loads((tmp_path / "p.csv.run.json").read_text())["identity"]
    assert ClassDecision.from_dict(identity["decision"]) == rule
    truth = [CODES[i % 7] for i in range(len(found))]
    right = sum(CODES[i] == code for i, code in zip(decided, truth, strict=True))
    few = {"replicates": 20, "subgroups": ()}
    for predictions, given in ((out, None), (table, threshold)):
        result = evaluate(predictions, labels, threshold=given, allow_leakage=True, **few)
        assert result.metrics["multiclass"]["accuracy"]["count"] == right
        assert result.metrics["threshold"]["decision"] == rule.to_dict()
    # A resumed table keeps one rule.
    assert run([*command, "--resume"]) == 1


def test_a_threshold_that_names_no_model_is_refused_by_predict_and_evaluate(
    tuned, tiny_bundle, image_dir, tmp_path, capsys
):
    table, labels, tune = tuned
    manifest = Path(f"{table}.run.json")
    content = manifest.read_text()
    manifest.unlink()
    threshold = tune()
    assert "--force only" in capsys.readouterr().err
    manifest.write_text(content)
    out = tmp_path / "p.csv"
    command = ["predict", str(image_dir), "-o", str(out), "--model", str(tiny_bundle), *FAST]
    assert run([*command, "--threshold", str(threshold)]) == 1
    assert "names no model" in capsys.readouterr().err
    with pytest.raises(MismatchError, match="names no model"):
        evaluate(table, labels, threshold=threshold, allow_leakage=True, replicates=20)
    assert run([*command, "--threshold", str(threshold), "--force"]) == 0
    # Predictions of an unknown model may be judged by a threshold tuned on predictions of an unknown model.
    manifest.unlink()
    evaluate(table, labels, threshold=threshold, allow_leakage=True, replicates=20, subgroups=())


def test_averaged_recipes_do_not_decide_in_silence(tuned, tiny_bundle, image_dir, tmp_path, capsys):
    _, _, tune = tuned
    threshold = tune()
    out = tmp_path / "p.csv"
    capsys.readouterr()
    command = ["predict", str(image_dir), "-o", str(out), "--overwrite", "--model", str(tiny_bundle), *FAST]
    assert run([*command, "--tta", "flips"]) == 0
    told = capsys.readouterr().err
    assert "No threshold was measured for tiny (flips) as a whole" in told
    assert "from 0.5 of P(malignant)" in told
    assert "as the more probable side (no threshold was measured for this combination)" in told
    assert json.loads(Path(f"{out}.run.json").read_text())["threshold_from"] == "more probable side"
    assert run([*command, "--model", str(tiny_bundle)]) == 0
    told = capsys.readouterr().err
    assert "No threshold was measured for tiny + tiny as a whole" in told
    assert "--threshold" in told
    assert run([*command, "--tta", "flips", "--threshold", str(threshold)]) == 1
    assert "other combination of models and views" in capsys.readouterr().err
    assert run([*command, "--tta", "flips", "--threshold", "0.3"]) == 0
    assert "flagged from" not in capsys.readouterr().err
    assert run(command) == 0
    assert "flagged from" not in capsys.readouterr().err
