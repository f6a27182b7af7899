"""Options about a labels table: the same on every command that reads one."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from support.evaluation_tables import write_labels, write_predictions

from skinclf_cli.main import cli, run

COMMANDS = (
    ["evaluate"],
    ["tune-threshold"],
    ["calibrate"],
    ["conformal"],
    ["ensemble"],
    ["data", "prepare"],
    ["data", "check"],
)
OPTIONS = ("--id-column", "--label-column", "--map-label", "--drop-class")


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_has_the_options(path: list[str]) -> None:
    command: click.Command = cli
    for name in path:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), name)
        assert found is not None
        command = found
    assert set(OPTIONS) <= {option for param in command.params for option in param.opts}


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = write_labels(tmp_path / "plain.csv", lesions=80)
    write_predictions(tmp_path / "p.csv", rows)
    names = {"nv": "mole", "df": "unknown"}
    lines = ["photo;image;dx;target"]
    lines += [
        f"{row['image_id']};{k};{names.get(row['dx'], row['dx'])};{int(row['dx'] == 'mel')}"
        for k, row in enumerate(rows)
    ]
    (tmp_path / "labels.csv").write_text("\n".join(lines))


TABLES = ["--predictions", "p.csv", "--labels", "labels.csv", "--id-column", "photo"]


def test_columns_that_disagree_name_the_option(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("evaluate", "tune-threshold", "conformal"):
        extra = ["--youden"] if command == "tune-threshold" else []
        assert run([command, *TABLES, "--output", "out", *extra]) == 2
        said = capsys.readouterr().err
        assert "the columns dx and target disagree in" in said
        assert "choose one of them with --label-column" in said


def test_evaluation_and_threshold_count_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    stated = [
        "--label-column",
        "dx",
        "--map-label",
        "mole=nv",
        "--drop-class",
        "bkl,vasc",
        "--drop-class",
        "bcc",
    ]
    assert run(["evaluate", *TABLES, *stated, "--replicates", "20", "--output", "out"]) == 0
    said = capsys.readouterr().err
    metrics = json.loads(Path("out/metrics.json").read_text())
    left_out = metrics["data"]["labels_left_out"]
    assert set(left_out) == {"bcc", "bkl", "unk", "vasc"}
    for reason, count in left_out.items():
        assert f"Left out {count} images labelled {reason}." in said
    assert run(["tune-threshold", *TABLES, *stated, "--youden", "--no-plot", "--output", "t.json"]) == 0
    said = capsys.readouterr()
    assert f"Left out {left_out['unk']} images labelled unk." in said.err
    binary = metrics["binary"]
    assert f"of {binary['n_positive']} positives" in said.out


def test_a_mapping_has_two_sides(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", *TABLES, "--map-label", "mole"]) == 2
    assert "Expected OLD=NEW" in capsys.readouterr().err


def test_an_ensemble_and_a_check_read_the_same_table(capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    stated = ["--label-column", "dx", "--map-label", "mole=nv", "--id-column", "photo"]
    both = ["ensemble", "--predictions", "p.csv", "--predictions", "p.csv", "--labels", "labels.csv"]
    assert run([*both, "--replicates", "20", *stated]) == 0
    assert run([*both, "--replicates", "20", "--id-column", "photo"]) == 2
    assert "--label-column" in capsys.readouterr().err
    Path("images").mkdir()
    rows = [line.split(";") for line in Path("labels.csv").read_text().splitlines()[1:]]
    for name in {row[0] for row in rows}:
        Image.new("RGB", (16, 12), (200, len(name), 90)).save(f"images/{name}.jpg")
    check = ["data", "check", "--metadata", "labels.csv", "--image-dir", "images", "--output", "c", *stated]
    assert run([*check, "--drop-class", "vasc", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    counts = {name: sum(row[2] == name for row in rows) for name in ("mole", "vasc", "unknown")}
    assert report["labels"]["nv"] == counts["mole"]
    assert "vasc" not in report["labels"]
    assert report["dropped"] == {"unk": counts["unknown"], "vasc": counts["vasc"]}
