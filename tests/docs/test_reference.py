"""docs/reference is of now: every command, option, column, word, code, figure and public name."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs"))

import generate
from generator import api, commands, tables, words

from skinclf.inference import schema
from skinclf_cli import main
from skinclf_cli.errors import EXIT_CODES


def test_the_reference_is_of_now() -> None:
    assert generate.stale() == [], "run: python docs/generate.py"


def test_every_command_and_public_name_has_its_place() -> None:
    made = generate.pages()
    assert {f"cli/{name}.md" for name in main.COMMANDS} <= made.keys()
    for room in api.rooms():
        for name in api.public_names(room):
            assert f":: {name}\n" in made[f"api/{room}.md"]
    for command, option in (("predict", "--refer-below"), ("models", "--store"), ("data", "--image-dir")):
        assert f"`{option}" in made[f"cli/{command}.md"]


def test_a_new_option_makes_its_page_stale() -> None:
    predict = main.cli.get_command(click.Context(main.cli), "predict")
    option = click.Option(["--new-option"], help="A new option.")
    predict.params.append(option)
    try:
        assert generate.stale() == ["cli/predict.md"]
    finally:
        predict.params.remove(option)


def test_a_changed_default_makes_its_page_stale() -> None:
    command = main.cli.get_command(click.Context(main.cli), "tune-threshold")
    confidence = next(p for p in command.params if p.name == "confidence")
    confidence.default, before = 0.9, confidence.default
    try:
        assert generate.stale() == ["cli/tune-threshold.md"]
    finally:
        confidence.default = before


def test_a_new_column_needs_a_meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "_HEAD", {**schema._HEAD, "mood": float})
    with pytest.raises(SystemExit, match="no meaning for mood"):
        generate.pages()


def test_a_changed_type_of_a_column_makes_its_page_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "_HEAD", {**schema._HEAD, "predicted_label": str})
    assert generate.stale() == ["../schemas/row.json", "columns.md"]


def test_columns_and_words_are_read_from_the_code(tmp_path: Path) -> None:
    (tmp_path / "room.py").write_text(
        'MIND = "mind"\ncolumns = {"mood": float, MIND: str}\nnone = {float: "float32"}\n'
        'raise ImageError("melted" if hot else "frozen", f"{name}: no.")\n'
    )
    assert tables.column_types(tmp_path)["mood"] == "float"
    assert tables.column_types(tmp_path)["mind"] == "str"
    assert {"melted", "frozen", "empty"} <= set(tables.status_words(tmp_path))
    assert "float32" not in tables.column_types(tmp_path).values()


def test_a_new_word_needs_a_meaning_and_an_old_one_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "status_words", lambda: ["ok", "melted"])
    with pytest.raises(SystemExit, match="no meaning for melted"):
        tables.pages()
    monkeypatch.setattr(words, "STATUS", {**words.STATUS, "melted": ("It melted.", "Cool it.")})
    page = tables.pages()["status.md"]
    assert "| `melted` | It melted. | Cool it. |" in page
    assert "`truncated`" not in page


def test_a_changed_exit_code_makes_its_page_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = next(iter(EXIT_CODES))
    monkeypatch.setattr(tables, "exit_code", lambda _: EXIT_CODES[kind] + 2)
    assert generate.stale() == ["exit-codes.md"]


def test_a_changed_figure_makes_its_page_stale(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "model_cards", tmp_path / "model_cards")
    path = tmp_path / "model_cards" / "ham10000-mobilenetv2" / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics["binary"]["roc_auc"]["value"] += 0.01
    path.write_text(json.dumps(metrics))
    shutil.copy(ROOT / "README.md", tmp_path)
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    assert generate.stale() == ["../../README.md", "models.md"]


def test_left_over_pages_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "docs" / "reference"
    generate.write(folder)
    (folder / "cli" / "gone.md").write_text(f"# gone\n\n{generate.MARK}")
    (folder / "own.md").write_text("# own\n")
    (folder / "status.md").unlink()
    assert generate.stale(folder) == ["cli/gone.md", "status.md"]
    generate.write(folder)
    assert generate.stale(folder) == []
    assert not (folder / "cli" / "gone.md").exists()
    assert (folder / "own.md").exists()


def test_text_of_help_is_text_in_markdown() -> None:
    assert (
        commands._escaped("at most [default: x>=0] of `a|b` *")
        == "at most \\[default: x\\>=0\\] of `a\\|b` \\*"
    )
