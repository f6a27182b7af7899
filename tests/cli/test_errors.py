"""Library errors in the words of the command line, and their exit codes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import click
import pytest
from support.decision_fixtures import write_small_bundle

from skinclf import errors
from skinclf.errors import InvalidArgumentError, ModelError, SkinclfError
from skinclf.models.precision import describe_effect
from skinclf_cli.errors import exit_code, option_names, render
from skinclf_cli.main import run


@click.command()
@click.argument("source")
@click.argument("repo_id", metavar="USER/REPO")
@click.option("-o", "--output")
@click.option("--group-by")
@click.option("--taxonomy", "label_set")
@click.option("--format", "format_")
@click.option("--resume", is_flag=True)
@click.option("--processes/--threads", default=None)
def command() -> None:
    """A command."""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("State `group_by`.", "State --group-by."),
        ("`output`: is there. Use `resume=True`.", "--output: is there. Use --resume."),
        ('Use `group_by="lesion_id"`.', "Use --group-by lesion_id."),
        ("Use `group_by=...`.", "Use --group-by."),
        ("`label_set` and `taxonomy` and `format`", "--taxonomy and --taxonomy and --format"),
        ("`source` and `repo_id`", "SOURCE and USER/REPO"),
        ("`processes=True`", "--processes"),
        ("`unknown`, `hf auth login` and `lesion id`", "`unknown`, `hf auth login` and `lesion id`"),
        ("group_by without marks", "group_by without marks"),
    ],
)
def test_parameters_become_options(text: str, shown: str) -> None:
    assert render(SkinclfError(text), command) == shown
    assert render(SkinclfError(text)) == text


@pytest.mark.parametrize(
    ("text", "parameter", "shown"),
    [
        ("No labels.", "group_by", "No labels. See --group-by."),
        ("No `group_by`.", "group_by", "No --group-by."),
        ("Never --group-by-me.", "group_by", "Never --group-by-me. See --group-by."),
        ("No labels.", "elsewhere", "No labels."),
        ("Bad name.", "repo_id", "Bad name. See USER/REPO."),
    ],
)
def test_a_parameter_that_the_message_does_not_name_follows(text: str, parameter: str, shown: str) -> None:
    assert render(ModelError(text, parameter=parameter), command) == shown


def test_the_longest_option_string_is_shown() -> None:
    assert option_names(command)["output"] == "--output"


def test_every_error_has_an_exit_code() -> None:
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, SkinclfError)
    ]
    made = {kind: kind.__new__(kind) for kind in kinds}
    assert {kind for kind, error in made.items() if exit_code(error) == 2} == {InvalidArgumentError}
    assert {exit_code(error) for error in made.values()} == {1, 2}


def test_the_effect_of_a_precision_in_words() -> None:
    known = describe_effect({"precision": "bf16", "band": 0.0123})
    assert "bf16" in known
    assert "at most 0.012" in known
    claim = {"band_log_odds": 0.31, "band_share": 0.01, "band_confidence": 0.95}
    assert "at most 1.0% of rows" in describe_effect({"precision": "bf16", "band": 0.2, **claim})
    assert "not measured" in describe_effect({"precision": "int8"})


# Five typical mistakes: whatever the library calls the parameter, the command line prints its option.


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_small_bundle(tmp_path / "small")
    return tmp_path / "small"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A file of bare weights, which says nothing of labels or preprocessing."""
    import timm
    import torch

    path = tmp_path / "weights.pt"
    torch.save(timm.create_model("test_efficientnet.r160_in1k", num_classes=2).state_dict(), path)
    return path


def test_missing_labels_name_the_option(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = [
        "models",
        "convert",
        str(weights),
        str(tmp_path / "x"),
        "--architecture",
        "test_efficientnet.r160_in1k",
    ]
    assert run(line) == 1
    told = capsys.readouterr().err
    assert "--labels" in told
    assert "`labels`" not in told


def test_missing_preprocessing_names_the_option(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = [
        "models",
        "convert",
        str(weights),
        str(tmp_path / "x"),
        "--architecture",
        "test_efficientnet.r160_in1k",
    ]
    assert run([*line, "--labels", "malignant"]) == 1
    told = capsys.readouterr().err
    assert "--preprocess" in told
    assert "`preprocess`" not in told


def test_a_table_of_another_run_names_the_option(
    tiny_bundle: Path, image_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = [
        "predict",
        str(image_dir),
        "-o",
        str(tmp_path / "p.csv"),
        "--model",
        str(tiny_bundle),
        "--runtime",
        "torch",
    ]
    assert run(line) == 0
    capsys.readouterr()
    assert run(line) == 2
    told = capsys.readouterr().err
    assert "--resume" in told
    assert "--overwrite" in told
    (tmp_path / "p.csv.run.json").unlink()
    assert run([*line, "--resume"]) == 1
    told = capsys.readouterr().err
    assert "--overwrite" in told
    assert "`" not in told


def test_a_threshold_of_another_model_names_the_option(
    tiny_bundle: Path, image_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = {"threshold": 0.5, "model": {"name": "other", "labels": "0", "preprocess": "0"}}
    (tmp_path / "t.json").write_text(json.dumps(made))
    line = ["predict", str(image_dir), "--model", str(tiny_bundle), "--runtime", "torch"]
    assert run([*line, "--threshold", str(tmp_path / "t.json")]) == 1
    told = capsys.readouterr().err
    assert "made for other" in told
    assert "--force" in told
    assert "`force" not in told


def test_a_guarantee_by_image_names_the_option(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (bundle / "predictions_val.csv").open() as file:
        assert "lesion_id" in next(csv.reader(file))
    line = ["tune-threshold", "--target-sensitivity", "0.9", "--grade", "guaranteed", "--model", str(bundle)]
    assert run([*line, "--output", str(tmp_path / "t.json")]) == 2
    told = capsys.readouterr().err
    assert "--group-by" in told
    assert "`group_by" not in told
