"""The README says what is so: its commands parse, its figures are the evaluation's; tests/docs runs its blocks."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from skinclf_cli.main import cli

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [line[2:].split(" #")[0].strip() for line in TEXT.splitlines() if line.startswith("$ ")]
SKINCLF = sorted({c[c.index("skinclf ") :] for c in COMMANDS if re.search(r"(^|\| )skinclf ", c)})


@pytest.mark.parametrize("command", SKINCLF)
def test_every_option_of_a_command_exists(command: str) -> None:
    words = shlex.split(command)[1:]
    group: click.Command = cli
    while isinstance(group, click.Group):
        found = group.get_command(click.Context(group), words[0])
        assert found is not None, f"no command {words[0]}"
        group, words = found, words[1:]
    known = {option for param in group.params for option in (*param.opts, *param.secondary_opts)}
    assert {w for w in words if w.startswith("-") and w != "-"} <= known


def test_the_first_commands_work(tmp_path: Path) -> None:
    (tmp_path / "imgs").symlink_to(ROOT / "examples" / "images")
    for command in (
        "predict --image-dir imgs/ --output preds.csv",
        "tune-threshold --target-sensitivity 0.9",
    ):
        assert f"$ skinclf {command}" in TEXT
        done = subprocess.run(
            [sys.executable, "-m", "skinclf", *shlex.split(command)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    images = list((ROOT / "examples" / "images").glob("*.jpg"))
    assert len((tmp_path / "preds.csv").read_text().splitlines()) == 1 + len(images)
    assert json.loads((tmp_path / "threshold.json").read_text())["sensitivity"] >= 0.9
    assert (tmp_path / "threshold_analysis.png").stat().st_size > 10_000


def test_no_page_writes_one_table_twice() -> None:
    """The second of two examples would fail: the table is already there."""
    for page in ("README.md", "docs/weights.md", "docs/speed.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        lines = [line for line in text.splitlines() if line.startswith("$ ") and "skinclf predict" in line]
        outputs = [
            found[1]
            for line in lines
            if "--resume" not in line
            and (found := re.search(r"--output ([\w./-]+)", line))
            and found[1] != "-"
        ]
        assert sorted(outputs) == sorted(set(outputs)), page


def test_lines_of_text_are_short() -> None:
    text = re.sub(r"^```.*?^```|<!-- .*?made by .*?<!-- end -->", "", TEXT, flags=re.MULTILINE | re.DOTALL)
    lines = [line for line in text.splitlines() if not line.startswith("|") and "](" not in line]
    assert [line for line in lines if len(line) > 120] == []


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^\$ make (\w+)", TEXT, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


@pytest.mark.parametrize(
    ("row", "place"),
    [
        ("ROC-AUC, malignant", ("binary", "roc_auc")),
        ("specificity at the default threshold", ("operating_point", "image", "specificity")),
        ("balanced accuracy, all classes", ("multiclass", "balanced_accuracy")),
    ],
)
def test_figures_are_those_of_the_evaluations(row: str, place: tuple[str, ...]) -> None:
    """All rows are made from the files; tests/docs asks whether they are of now."""
    line = next(x for x in TEXT.splitlines() if x.startswith(f"| {row} |"))
    expected: list[str] = []
    for name in ("ham10000-efficientnet-lite0", "ham10000-best", "ham10000-mobilenetv2"):
        value = json.loads((ROOT / "model_cards" / name / "metrics.json").read_text())
        for key in place:
            value = value[key]
        expected += [f"{value[part]:.3f}" for part in ("value", "low", "high")]
    assert re.findall(r"\d\.\d{3}", line) == expected
