"""Messages and docstrings: the SDK speaks of parameters, arguments begin with a noun, `Raises` has a subject."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SDK = (ROOT / "skinclf", ROOT / "training" / "skinclf_training")
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
#: Options of other programs, which have no other name.
FOREIGN = {"--nproc-per-node"}
#: Lines of an `Args` or `Raises` section that a newcomer cannot imitate.
BAD_LINES = {
    "an argument that begins with a bare genitive": re.compile(r"^ +\w+: Of (the|a|an) ", re.MULTILINE),
    "a condition without a subject": re.compile(
        r"^ +\w+Error: It (has|is|was|could|does|did) not\.", re.MULTILINE
    ),
}
#: Where option names are still to be replaced by parameters. Take a folder out when it is done; add none.
UNFINISHED: frozenset[str] = frozenset()


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Path and syntax tree of every module that knows no command line."""
    for package in SDK:
        for path in sorted(package.rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def texts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and value of every text: messages and docstrings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def test_the_sdk_names_no_option_of_the_command_line():
    found = [
        f"{path}:{line}: {flags}"
        for path, tree in modules()
        if not any(path.startswith(folder) for folder in UNFINISHED)
        for line, text in texts(tree)
        if (flags := set(FLAG.findall(text)) - FOREIGN)
    ]
    assert found == []


def test_the_sdk_knows_no_exit_code():
    found = [
        f"{path}:{node.lineno}"
        for path, tree in modules()
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute) and node.attr in {"exit_code", "exit", "_exit"})
        or (isinstance(node, ast.Name) and node.id == "SystemExit")
    ]
    assert found == []


@pytest.mark.parametrize("rule", BAD_LINES)
def test_docstrings_can_be_imitated(rule):
    found = [
        f"{path}:{line}: {match.group().strip()}"
        for path, tree in modules()
        for line, text in texts(tree)
        for match in BAD_LINES[rule].finditer(text)
    ]
    assert found == []
