"""Cross-validation: each image tested once, each fold a run as it would be by itself."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.training.folds import main as benchmark
from skinclf.errors import InvalidArgumentError, MismatchError

pytest.importorskip("lightning", reason="training needs the extra `train`")

from support.train_fixtures import synthetic_data, tiny

from skinclf.labels import parse_labels
from skinclf.models.bundle import read_spec, read_weights
from skinclf_cli.main import run as cli
from skinclf_training.data.prepare import prepare, read_prepared
from skinclf_training.data.split import parse_ratios
from skinclf_training.experiments import cross_validation
from skinclf_training.experiments.backends import Framework, framework
from skinclf_training.experiments.cross_validation import OUT_OF_FOLD, cross_validate, read_folds
from skinclf_training.experiments.fold_report import FoldReport, fold_report
from skinclf_training.torch.trainer import train

CONFIG = tiny(optim={"epochs": 1})
MALIGNANT = ("akiec", "bcc", "mel")


@pytest.fixture(scope="module")
def folds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three folds of 56 pictures of seven classes."""
    folder = tmp_path_factory.mktemp("folds")
    synthetic_data(folder)
    prepare(
        folder / "metadata.csv",
        [folder / "images"],
        folder / "folds",
        labels="ham10000",
        shares=parse_ratios("70/15/15"),
        folds=3,
        seed=1,
        workers=1,
    )
    return folder / "folds"


@pytest.fixture(scope="module")
def done(folds: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("cv") / "out"
    words = ["train", "--data", str(folds), "--output", str(output), "-q"]
    config = output.parent / "tiny.yaml"
    config.write_text(CONFIG.to_yaml())
    assert cli([*words, "--config", str(config)]) == 0
    return output


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_image_is_predicted_once_by_the_model_that_did_not_see_it(folds: Path, done: Path) -> None:
    found = rows(done / OUT_OF_FOLD)
    assert len(found) == len({row["image"] for row in found}) == 56
    for i in range(3):
        parts = {row["image_id"]: row["split"] for row in rows(folds / f"fold{i}" / "split.csv")}
        own = [row for row in found if row["fold"] == str(i)]
        assert own
        assert {parts[row["image"]] for row in own} == {"test"}
        assert [{k: v for k, v in row.items() if k != "fold"} for row in own] == rows(
            done / f"fold{i}" / "predictions_test.csv"
        )
        assert read_spec(done / f"fold{i}" / "bundle").name == f"tiny-fold{i}"


def test_the_report_has_the_figures_of_all_images_and_of_each_fold(done: Path) -> None:
    metrics = json.loads((done / "evaluation" / "metrics.json").read_text())
    line = next(
        line
        for line in (done / "report.md").read_text().splitlines()
        if line.startswith("| balanced accuracy")
    )
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    value = metrics["multiclass"]["balanced_accuracy"]["value"]
    assert cells[1].startswith(f"{value:.3f} (")
    by_fold = []
    for i in range(3):
        own = rows(done / f"fold{i}" / "predictions_test.csv")
        codes = [name for name in own[0] if name.startswith("p_")]
        right: dict[str, list[bool]] = {}
        for row in own:
            best = max(codes, key=lambda code: float(row[code]))
            right.setdefault(row["label"], []).append(best == f"p_{row['label']}")
        by_fold.append(np.mean([np.mean(hits) for hits in right.values()]))
    assert cells[2:] == [f"{x:.3f}" for x in (np.mean(by_fold), np.std(by_fold, ddof=1), *by_fold)]


def test_a_fold_has_the_weights_of_the_same_run_by_itself(folds: Path, done: Path, tmp_path: Path) -> None:
    prepared = read_prepared(folds / "fold2")
    train(CONFIG, prepared, tmp_path / "alone")
    framework("torch").export(tmp_path / "alone", prepared, tmp_path / "bundle")
    one, two = (
        read_weights(bundle, read_spec(bundle)) for bundle in (tmp_path / "bundle", done / "fold2" / "bundle")
    )
    assert all(np.array_equal(one[key], two[key]) for key in one)


def test_what_is_done_is_not_done_again_and_what_was_killed_is(
    folds: Path, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    shutil.copytree(done, output)
    expected = (output / OUT_OF_FOLD).read_bytes()
    (output / "fold1" / "predictions_test.csv").unlink()  # killed while it was exported
    shutil.rmtree(output / "fold2")  # killed before it
    (output / OUT_OF_FOLD).unlink()
    exported = []
    chosen = framework("torch")

    def export(run: Path, *args: object, **options: object) -> object:
        exported.append(run.name)
        return chosen.export(run, *args, **options)

    monkeypatch.setattr(cross_validation, "framework", lambda name: Framework(chosen.train, export))
    cross_validate(CONFIG, folds, output)
    assert exported == ["fold1", "fold2"]
    assert (output / OUT_OF_FOLD).read_bytes() == expected


def test_what_does_not_fit_is_refused(folds: Path, done: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="holds folds"):
        read_prepared(folds)
    with pytest.raises(InvalidArgumentError, match="one process"):
        cross_validate(tiny(optim={"devices": 2}), folds, tmp_path)
    with pytest.raises(MismatchError, match="another configuration"):
        cross_validate(tiny(seed=9), folds, done)
    words = [
        "train",
        "--config",
        "ham10000-mobilenetv2-plain",
        "--data",
        str(folds),
        "--output",
        str(tmp_path / "x"),
    ]
    assert cli([*words, "--push-to", "user/repo"]) == 2
    assert not (tmp_path / "x").exists()
    changed = folds.parent / "changed"  # the images are named from there
    shutil.copytree(folds, changed)
    shutil.rmtree(changed / "fold1")
    shutil.copytree(changed / "fold0", changed / "fold1")
    with pytest.raises(MismatchError, match="prepare the folds again"):
        read_folds(changed)


def test_folds_beside_a_test_part_predict_the_others_and_leave_it_unseen(folds: Path, tmp_path: Path) -> None:
    data = tmp_path / "beside"
    prepare(
        folds.parent / "metadata.csv",
        [folds.parent / "images"],
        data,
        shares=parse_ratios("70/15/15"),
        folds=2,
        test_share=15,
        seed=1,
        workers=1,
    )
    config = tiny(optim={"epochs": 1}, select="last")
    cross_validate(config, data, tmp_path / "out")
    parts = {row["image_id"]: row["split"] for row in rows(data / "fold0" / "split.csv")}
    expected = {image for image, part in parts.items() if part != "test"}
    found = [row["image"] for row in rows(tmp_path / "out" / OUT_OF_FOLD)]
    assert sorted(found) == sorted(expected)
    assert not list((tmp_path / "out").rglob("predictions_test.csv"))
    text = (tmp_path / "out" / "report.md").read_text()
    assert "it chose the temperature of that model, and the common test part is untouched" in text
    card = (tmp_path / "out" / "fold0" / "bundle" / "README.md").read_text()
    assert "it chose the temperature: no fair test" in card
    assert "sensitivity, test part" not in text
    assert all(row["test"] is None for row in thresholds(tmp_path / "out"))

    cross_validate(config, data, tmp_path / "out", test_part=True)
    check_thresholds(tmp_path / "out")
    check_benchmark(tmp_path / "out")


def check_benchmark(output: Path) -> None:
    """What the documents take of the run."""
    assert benchmark.callback is not None
    benchmark.callback(run=output, output=output / "folds.json")
    found = json.loads((output / "folds.json").read_text())
    metrics = json.loads((output / "evaluation" / "metrics.json").read_text())
    assert found["thresholds"][0]["threshold"] == round(thresholds(output)[0]["threshold"], 3)
    assert found["metrics"]["binary"]["roc_auc"]["value"] == round(metrics["binary"]["roc_auc"]["value"], 3)
    assert found["epochs"] == 1
    assert str(output) not in json.dumps(found)


def thresholds(output: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((output / "report.json").read_text())["thresholds"]
    return found


def check_thresholds(output: Path) -> None:
    """Those of the report, found again from the tables."""
    left_out = rows(output / OUT_OF_FOLD)
    tests = [rows(output / f"fold{i}" / "predictions_test.csv") for i in range(2)]
    assert [row["fold"] for row in thresholds(output)] == [None, 0, 1]
    for row in thresholds(output):
        own = [one for one in left_out if row["fold"] in (None, int(one["fold"]))]
        positive = sorted(score(one) for one in own if one["label"] in MALIGNANT)
        # At most a tenth of the malignant images may lie below the threshold.
        assert row["malignant"] == len(positive)
        assert row["threshold"] == pytest.approx(positive[int(len(positive) * 0.1 + 1e-9)], abs=1e-6)
        used = tests if row["fold"] is None else [tests[row["fold"]]]
        scores = np.mean([[score(one) for one in table] for table in used], axis=0)
        truth = np.array([one["label"] in MALIGNANT for one in tests[0]])
        flagged = scores.astype(np.float32) >= np.float32(row["threshold"])
        assert row["test"]["sensitivity"]["value"] == pytest.approx(flagged[truth].mean())
        assert row["test"]["specificity"]["value"] == pytest.approx(1 - flagged[~truth].mean())
    text = (output / "report.md").read_text()
    point = thresholds(output)[1]
    assert f"| fold 0 | {point['malignant']} | {point['threshold']:.3f} | " in text
    assert "| sensitivity, test part |" in text


def score(row: dict[str, str]) -> float:
    return sum(float(row[f"p_{code}"]) for code in MALIGNANT)


def report_of(left_out: list[dict[str, str]], tests: list[list[dict[str, str]]]) -> FoldReport:
    return fold_report(left_out, tests, parse_labels("benign,malignant", malignant=["malignant"]), METRICS)


def row_of(image: str, label: str, malignant: float, fold: int = 0) -> dict[str, str]:
    p = {"p_benign": f"{1 - malignant}", "p_malignant": f"{malignant}"}
    return {"image": image, "lesion_id": image, "label": label, "fold": str(fold), **p}


METRICS: dict[str, Any] = {"multiclass": None, "binary": None}
LEFT_OUT = [row_of(f"{i}", "malignant" if i % 2 else "benign", 0.1 * i, fold=i // 4) for i in range(8)]


def test_a_fold_with_images_of_one_kind_has_no_thresholds() -> None:
    assert len(report_of(LEFT_OUT, []).thresholds) == 3
    of_one_kind = [*LEFT_OUT[:4], *(row for row in LEFT_OUT[4:] if row["label"] == "benign")]
    assert report_of(of_one_kind, []).thresholds == ()
    assert "No thresholds: " in report_of(of_one_kind, []).markdown("training")
    assert "No thresholds: " not in report_of(LEFT_OUT, []).markdown("training")


def test_the_test_part_is_joined_by_image_and_another_one_is_refused() -> None:
    test = [row_of("a", "benign", 0.2), row_of("b", "malignant", 0.9)]
    found = report_of(LEFT_OUT, [test, test]).thresholds
    assert all(one.test is not None and one.test.tp == 1 for one in found)
    assert report_of(LEFT_OUT, [test, test[::-1]]).thresholds[0] == found[0]
    with pytest.raises(MismatchError, match="different test parts"):
        report_of(LEFT_OUT, [test, [*test, row_of("c", "benign", 0.1)]])
