"""The language of the SDK and of training: parameters, no options of the command line; plain words."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SDK = ROOT / "skinclf"
TRAINING = ROOT / "training" / "skinclf_training"
#: Folders that are not checked yet: take one out when it is done, add none.
UNFINISHED = (SDK / "models",)

#: Options of the command line; `--nproc-per-node` is one of torchrun.
OPTION = re.compile(r"(?<![\w-])--(?!nproc-per-node)[a-z][a-z-]+")
#: Exit codes of the command line; those of worker processes are no concern of it.
EXIT_CODE = re.compile(r"\bexit_code\b|\bSystemExit\b|\bsys\.exit\b|\bexit code \d", re.IGNORECASE)
PERSON = re.compile(r"\b(?:nobody|somebody|whoever|anybody)\b", re.IGNORECASE)
GENITIVE = re.compile(r"^\s+\**\w+: Of\b.*", re.MULTILINE)
PRONOUN = re.compile(r"^\s+\w*(?:Error|Exception|Interrupt): (?:It|They) (?!is unknown).*", re.MULTILINE)


def _files() -> list[Path]:
    files = sorted(file for package in (SDK, TRAINING) for file in package.rglob("*.py"))
    return [file for file in files if not any(file.is_relative_to(folder) for folder in UNFINISHED)]


def _found(pattern: re.Pattern[str], strings: Iterator[tuple[str, int, str]]) -> list[str]:
    return [f"{file}:{line}: {m[0].strip()}" for file, line, text in strings for m in pattern.finditer(text)]


def _strings() -> Iterator[tuple[str, int, str]]:
    """File, line and text of every string, docstrings and parts of f-strings included."""
    for file in _files():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield str(file.relative_to(ROOT)), node.lineno, node.value


def _docstrings() -> Iterator[tuple[str, int, str]]:
    for file in _files():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                text = ast.get_docstring(node, clean=False)
                if text:
                    yield str(file.relative_to(ROOT)), node.body[0].lineno, text


def test_files_are_found():
    assert len(_files()) > 50
    assert all(path.exists() for path in UNFINISHED)


def test_no_option_of_the_command_line_is_named():
    assert _found(OPTION, _strings()) == []


def test_no_exit_code_is_named():
    sources = ((str(f.relative_to(ROOT)), 1, f.read_text(encoding="utf-8")) for f in _files())
    assert _found(EXIT_CODE, sources) == []


def test_no_person_without_a_name_acts():
    assert _found(PERSON, _strings()) == []


def test_arguments_are_described_by_nouns():
    assert _found(GENITIVE, _docstrings()) == []


def test_raises_sections_have_a_subject():
    assert _found(PRONOUN, _docstrings()) == []


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (OPTION, "run it again with --resume."),
        (EXIT_CODE, "error.exit_code"),
        (PERSON, "Nobody knows."),
        (GENITIVE, "    confidence: Of the intervals."),
        (PRONOUN, "    OutputError: It could not."),
    ],
)
def test_the_patterns_match_what_they_are_for(pattern, text):
    assert pattern.search(text)
