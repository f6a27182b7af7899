"""`skinclf evaluate` on the command line."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from support.evaluation_tables import write_labels, write_predictions

from skinclf_cli.main import run


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = write_labels(tmp_path / "labels.csv", lesions=80)
    write_predictions(tmp_path / "all.csv", rows)


BASE = [
    "evaluate",
    "--predictions",
    "all.csv",
    "--labels",
    "labels.csv",
    "--split",
    "test",
    "--replicates",
    "20",
]


def test_writes_metrics_report_and_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*BASE, "--threshold", "0.3", "--subgroup", "sex,dx_type=histo", "--output", "out"]) == 0
    out, err = capsys.readouterr()
    metrics = json.loads(Path("out/metrics.json").read_text())
    assert f"{metrics['multiclass']['balanced_accuracy']['value']:.3f}" in out
    assert "sensitivity by lesion" in out
    assert "Written: out/metrics.json, out/report.html and 10 figures" in err
    assert {row["column"] for row in metrics["subgroups"]} == {"sex", "dx_type"}
    assert metrics["threshold"]["given"] is True
    assert Path("out/figures/roc.png").stat().st_size > 1000


def test_json_on_stdout(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skinclf.evaluation.result.Evaluation.write", lambda *_, **__: [Path("metrics.json")])
    assert run([*BASE, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["kind"] == "skinclf-metrics"
    assert "0.5 was used, which was not chosen" in err


def test_leak_fails_and_names_the_way_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*BASE, "--tuned-on", "all.csv"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "all.csv shares" in err
    assert "--allow-leakage" in err
    assert not Path("evaluation").exists()


@pytest.mark.parametrize(
    ("option", "code", "message"),
    [
        (["--threshold", "nowhere.json"], 2, "nowhere.json"),
        (["--threshold", "1.5"], 2, "between 0 and 1"),
        (["--subgroup", "race"], 2, "'race'"),
        (["--positive", "scc"], 2, "scc"),
        (["--group-by", "patient_id"], 2, "patient_id"),
        (["--confidence", "1"], 2, "confidence"),
        (["--split", "train"], 2, "train"),
    ],
)
def test_usage_errors(option: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*BASE, *option]) == code
    assert message in capsys.readouterr().err
    assert not Path("evaluation").exists()


def test_maps_of_confident_errors(
    tiny_bundle: Path, image_dir: Path, two_label_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every answer is called wrong; the report holds a map of each of the most confident ones."""
    model, images = str(tiny_bundle), str(image_dir)
    command = ["predict", "--image-dir", images, "--model", model, "--output", "own.csv"]
    assert run([*command, "--runtime", "torch"]) == 0
    with Path("own.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    others = {row["image"]: "nv" if row["predicted_label"] != "5" else "mel" for row in rows}
    lines = [f"{Path(image).name},{code}" for image, code in others.items()]
    Path("wrong.csv").write_text("\n".join(["image,dx", *lines]) + "\n", encoding="utf-8")
    base = ["evaluate", "--predictions", "own.csv", "--labels", "wrong.csv", "--replicates", "20"]
    base += ["--images", images, "--output", "out", "--explain", "3"]
    capsys.readouterr()
    assert run([*base, "--model", model]) == 0
    page = Path("out/report.html").read_text(encoding="utf-8")
    assert len(set(re.findall(r'alt="(Map of [^"]*)"', page))) == 3
    assert "not why it is right" in page
    capsys.readouterr()
    assert run([*base, "--model", str(two_label_bundle)]) == 1
    assert "name as --model the one that made the predictions" in capsys.readouterr().err
    assert run([*base[:-6], "--explain", "3"]) == 2
