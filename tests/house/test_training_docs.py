"""docs/training.md says what is so: commands parse, configurations and spaces fit the schema, the table is of now."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import click
import pytest
import yaml

pytest.importorskip("optuna", reason="search needs the extra `train`")

from support.command_lines import command_lines, parse

from skinclf_training.config.read import load_config, read_config
from skinclf_training.experiments.search_space import read_space

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
LINES = command_lines(TEXT)


@pytest.mark.parametrize("line", LINES)
def test_every_command_parses(line: str) -> None:
    name, options = parse(line)
    config = options.get("config")
    if config is not None and "/" not in str(config):
        read = load_config(str(config), options.get("overrides") or ())
        assert name in {"train", "search"}
        assert read.name == config


def test_commands_are_found_and_wrong_ones_fail() -> None:
    assert {line.split()[1] for line in LINES} >= {
        "data",
        "train",
        "search",
        "ensemble",
        "export",
        "predict",
        "push",
    }
    for line in (
        "skinclf trian --config x",
        "skinclf search --config x",
        "skinclf predict a.jpg --tta d5",
        "skinclf train --config x --steps 3",
        "skinclf doctor x",
    ):
        with pytest.raises((AssertionError, click.UsageError)):
            parse(line)


def blocks(kind: str) -> list[dict]:
    found = re.findall(rf"^```yaml {kind}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    assert found
    return [yaml.safe_load(text) for text in found]


def test_configurations_fit_the_schema() -> None:
    for data in blocks("config"):
        config = read_config(data)
        for key in data:
            assert getattr(config, key) != getattr(read_config({}), key)


def test_the_space_is_the_example_and_fits_the_schema() -> None:
    (data,) = blocks("space")
    assert data == yaml.safe_load((ROOT / "examples" / "search-space.yaml").read_text())
    assert len(read_space(data, load_config("ham10000-mobilenetv2-plain")).distributions) == len(data)


def test_the_table_is_that_of_the_configurations() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "config_table.py"))
    assert made["with_table"](TEXT) == TEXT, "run: python docs/config_table.py"
    for path in (ROOT / "training" / "configs").glob("*.yaml"):
        assert f"| `{path.stem}` |" in TEXT
