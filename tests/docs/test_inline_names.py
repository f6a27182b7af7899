"""Names of ours in the text of pages are there: options of commands, keys of configurations, columns, status words."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs"))

from generator import tables

from skinclf_cli.main import cli

PAGES = [
    ROOT / "README.md",
    *(p for p in (ROOT / "docs").rglob("*.md") if not {"reference", "project"} & set(p.parts)),
]
#: Pages that speak of configurations.
TRAINING = [
    p for p in PAGES if p.name in {"README.md", "training.md"} or p.parent.name in {"coming-from", "howto"}
]
#: Options of other programs.
THEIRS = {"--build-arg", "--extra-index-url", "--nproc-per-node", "--tmpfs"}


def commands(command: click.Command) -> Iterator[click.Command]:
    yield command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from commands(found)


def options() -> set[str]:
    found = {"--help", "--version"}
    for folder in ("benchmarks", "docs", "tools"):
        for path in (ROOT / folder).rglob("*.py"):
            found |= set(re.findall(r'"(--[a-z][a-z0-9-]*)"', path.read_text(encoding="utf-8")))
    for command in commands(cli):
        for parameter in command.params:
            found |= {*parameter.opts, *parameter.secondary_opts}
    return found


def spans(text: str, *, theirs: bool) -> Iterator[str]:
    """Inline code; of tables that compare, without the first column, which is another system's."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    if theirs:
        text = re.sub(r"^\|[^|]*\|", "", text, flags=re.MULTILINE)
    yield from re.findall(r"`([^`]+)`", text)


def unknown_options(text: str, known: set[str], *, theirs: bool = False) -> set[str]:
    found = {
        option
        for span in spans(text, theirs=theirs)
        for option in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", span)
    }
    return found - known - THEIRS


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_options_in_the_text_are_those_of_commands(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert unknown_options(text, options(), theirs="coming-from" in path.parts) == set()


def test_a_renamed_option_makes_the_text_wrong() -> None:
    text = (ROOT / "docs" / "howto" / "probability.md").read_text(encoding="utf-8")
    assert unknown_options(text, options() - {"--refer-below"}) == {"--refer-below"}


#: Words with an underscore, or in camel case, that other programs have, or that ours put together from parts.
THEIR_WORDS = {
    *("flow_from_dataframe", "shear_range", "image_type", "process_batch", "ImageDataset", "load_img"),
    *("decode_jpeg", "INTEGER_ACCURATE", "dct_method"),
    *(
        "split_train",
        "split_val",
        "split_test",
        "_epoch_N",
        "checkpoint_best",
        "best_model",
        "best_model_gradual",
    ),
}
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def words_of_the_code() -> set[str]:
    """Every word of the sources, configurations and schemas, and every name of a file."""
    found: set[str] = set()
    for folder in ("skinclf", "cli", "training", "benchmarks", "examples", "tools", "docs/schemas"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in {".py", ".yaml", ".json", ".js", ".html"}:
                found.update(_WORD.findall(path.read_text(encoding="utf-8")))
    for folder in ("docs", "tests"):
        found |= {path.stem for path in (ROOT / folder).rglob("*.py")}
    return found


def unknown_words(text: str, known: set[str], *, theirs: bool = False) -> set[str]:
    """Names of columns, keys, parameters, classes and functions in inline code that no source has."""
    found = {word for span in spans(text, theirs=theirs) for word in _WORD.findall(span)}
    ours = {w for w in found if "_" in w.strip("_") or re.fullmatch(r"[A-Z][a-z]+([A-Z][a-z0-9]+)+", w)}
    return ours - known - THEIR_WORDS


@pytest.fixture(scope="module")
def known_words() -> set[str]:
    return words_of_the_code()


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_names_in_the_text_are_those_of_the_code(path: Path, known_words: set[str]) -> None:
    text = path.read_text(encoding="utf-8")
    assert unknown_words(text, known_words, theirs="coming-from" in path.parts) == set()


@pytest.mark.parametrize(
    ("page", "name"),
    [
        ("docs/howto/gpu.md", "near_threshold"),
        ("docs/metrics.md", "operating_point"),
        ("README.md", "not_an_image"),
        ("README.md", "write_predictions"),
        ("docs/serve.md", "gate_refuses"),
    ],
)
def test_a_renamed_column_key_word_or_function_makes_the_text_wrong(
    page: str, name: str, known_words: set[str]
) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert name in unknown_words(text, known_words - {name})


def test_columns_in_the_text_are_those_of_tables() -> None:
    known = {*tables.column_types(), *tables.MAPS, "direction", "age_band"}
    known |= {"sop_instance_uid", "series_instance_uid", "study_instance_uid"}
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        if "coming-from" not in path.parts:
            named = set(re.findall(r"\bcolumns? `([a-z_]+)`", text))
            assert named <= known, (path.name, named - known)


def keys() -> set[str]:
    schema = pytest.importorskip("skinclf_training.config.schema", reason="training needs the extra `train`")
    found = set()
    for section in dataclasses.fields(schema.Config):
        kind = section.default_factory if callable(section.default_factory) else None
        found.add(section.name)
        if dataclasses.is_dataclass(kind):
            found |= {f"{section.name}.{field.name}" for field in dataclasses.fields(kind)}
    return found


@pytest.mark.parametrize("path", TRAINING, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_keys_in_the_text_are_those_of_configurations(path: Path) -> None:
    known = keys()
    sections = {key.partition(".")[0] for key in known if "." in key}
    found = {
        match
        for span in spans(path.read_text(encoding="utf-8"), theirs="coming-from" in path.parts)
        for match in re.findall(r"(?<![\w./])[a-z]+\.[a-z_]+(?=$|[=: ])", span)
        if match.partition(".")[0] in sections
    }
    assert found <= known, found - known


def test_columns_and_words_of_the_readme_are_those_of_tables() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text.partition("| column | meaning |\n|---|---|\n")[2].partition("\n\n")[0]
    names = {n for line in table.splitlines() for n in re.findall(r"`([^`]+)`", line.split("|")[1])}
    assert names <= tables.column_types().keys()
    words = re.findall(r"`(\w+)`", table.splitlines()[-1].split("|")[2])
    assert len(words) >= 4
    assert set(words) <= set(tables.status_words())
