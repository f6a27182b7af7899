"""`skinclf train` as it is typed: folder, test part, repetition, and failures as one line with an exit code."""

from __future__ import annotations

import csv
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lightning", reason="training needs the extra `train`")

from support.train_fixtures import synthetic_data, tiny

from skinclf_cli.main import run as cli
from skinclf_training.data.prepare import Prepared
from skinclf_training.recipes.run_folder import default_run
from skinclf_training.torch.lightning_module import Classifier


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return synthetic_data(tmp_path_factory.mktemp("command"))


@pytest.fixture
def words(prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(tiny(optim={"epochs": 1}, log={"report": True}).to_yaml())
    return ["train", "--config", "tiny.yaml", "--data", str(prepared.folder)]


def state(folder: Path) -> dict[str, int]:
    return {str(p): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file() and p.name != "train.log"}


def test_a_run_has_a_folder_by_date_and_name_and_its_repetition_changes_nothing(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli(words) == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name == f"{datetime.now().astimezone():%Y-%m-%d}-tiny"
    assert {"bundle", "train.log", "predictions_val.csv", "evaluation_val"} <= {
        p.name for p in folder.iterdir()
    }
    before = state(folder)
    capsys.readouterr()
    assert cli(words) == 0
    assert "Finished before" in capsys.readouterr().err
    assert state(folder) == before


def test_nothing_looks_at_the_test_part_unless_told(
    words: list[str], tmp_path: Path, prepared: Prepared
) -> None:
    run = tmp_path / "run"
    assert cli([*words, "-q", "--output", "run"]) == 0
    tested = {prepared.images[i] for i in prepared.rows("test")}
    tables = [p for p in run.rglob("*.csv") if p.name.startswith("predictions")]
    assert tables
    for table in tables:
        with table.open() as file:
            assert not tested & {row["image"] for row in csv.DictReader(file)}
    assert not (run / "evaluation").exists()
    assert cli([*words, "-q", "--output", "run", "--test-part"]) == 0
    with (run / "predictions_test.csv").open() as file:
        assert {row["image"] for row in csv.DictReader(file)} == tested
    assert (run / "evaluation" / "metrics.json").is_file()


def test_default_folders_are_found_again_and_never_shared(prepared: Prepared, tmp_path: Path) -> None:
    from skinclf_training.recipes.run_folder import claim_run

    one, two = tiny(), tiny(seed=8)
    first = default_run(one, prepared.hash, root=tmp_path)
    claim_run(first, one, prepared, resume="auto")
    assert default_run(one, prepared.hash, root=tmp_path) == first
    assert default_run(one, prepared.hash, root=tmp_path, fresh=True).name == f"{first.name}-2"
    assert default_run(two, prepared.hash, root=tmp_path).name == f"{first.name}-2"
    assert default_run(one, "0" * 64, root=tmp_path).name == f"{first.name}-2"
    yesterday = tmp_path / "2001-02-03-tiny"
    first.rename(yesterday)
    assert default_run(one, prepared.hash, root=tmp_path) == yesterday
    assert default_run(tiny(name="a/b c"), prepared.hash, root=tmp_path).name.endswith("-a-b-c")


@pytest.mark.parametrize(
    ("error", "code", "words_of_it"),
    [
        (KeyboardInterrupt(), 130, "Interrupted. No checkpoint was written yet"),
        (
            OSError(28, "No space left on device", "history.csv"),
            1,
            "history.csv: cannot be written: No space",
        ),
        (MemoryError(), 1, "Memory is exhausted"),
    ],
)
def test_a_failure_is_one_line_with_an_exit_code(
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    words_of_it: str,
) -> None:
    def step(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(Classifier, "training_step", step)
    assert cli([*words, "-q", "--output", "run"]) == code
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert words_of_it in lines[0]


def test_a_start_without_its_file_of_weights_names_the_option(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli([*words, "-q", "--set", "model.init=no.safetensors", "--output", "run"]) == 2
    assert "model.init=null with model.pretrained=true" in (text := capsys.readouterr().err)
    assert "See --set." in text
    assert not Path("run").exists()
    assert cli([*words, "-q", "--output", "run"]) == 0
