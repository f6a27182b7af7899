"""Cross-validation: each image tested once, each fold a run as it would be by itself."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from skinclf.errors import InvalidArgumentError, MismatchError

pytest.importorskip("lightning", reason="training needs the extra `train`")

from support.train_fixtures import synthetic_data, tiny

from skinclf.models.bundle import read_spec, read_weights
from skinclf_cli.main import run as cli
from skinclf_training.data.prepare import prepare, read_prepared
from skinclf_training.data.split import parse_ratios
from skinclf_training.experiments import cross_validation
from skinclf_training.experiments.backends import Framework, framework
from skinclf_training.experiments.cross_validation import OUT_OF_FOLD, cross_validate, read_folds
from skinclf_training.torch.trainer import train

CONFIG = tiny(optim={"epochs": 1})


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
    cross_validate(tiny(optim={"epochs": 1}, select="last"), data, tmp_path / "out")
    parts = {row["image_id"]: row["split"] for row in rows(data / "fold0" / "split.csv")}
    expected = {image for image, part in parts.items() if part != "test"}
    found = [row["image"] for row in rows(tmp_path / "out" / OUT_OF_FOLD)]
    assert sorted(found) == sorted(expected)
    assert not list((tmp_path / "out").rglob("predictions_test.csv"))
    text = (tmp_path / "out" / "report.md").read_text()
    assert "it chose the temperature of that model, and the common test part is untouched" in text
    card = (tmp_path / "out" / "fold0" / "bundle" / "README.md").read_text()
    assert "it chose the temperature: no fair test" in card
