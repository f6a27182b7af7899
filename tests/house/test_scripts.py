"""Scripts and examples outside the packages: what they import from skinclf is there, and takes their arguments."""

from __future__ import annotations

import ast
import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"skinclf", "skinclf_cli", "skinclf_training"}
SCRIPTS = sorted(
    path for folder in ("benchmarks", "examples", "docs") for path in (ROOT / folder).rglob("*.py")
)
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*.md")])


def code_of(path: Path) -> list[str]:
    """The Python code of a script, with code that it holds as text, or of the blocks of a page."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    strings = (node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant))
    return [
        text,
        *(s for s in strings if isinstance(s, str) and re.search(r"^from skinclf", s, re.MULTILINE)),
    ]


def imported(tree: ast.AST) -> dict[str, object]:
    """Local name to object of everything that is imported from skinclf."""
    found: dict[str, object] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in PACKAGES:
            try:
                module = import_module(node.module)
            except ModuleNotFoundError as error:
                if error.name is not None and error.name.split(".")[0] in PACKAGES:
                    raise
                pytest.skip(f"{error.name} is not installed")
            for alias in node.names:
                if not hasattr(module, alias.name):
                    import_module(f"{node.module}.{alias.name}")
                found[alias.asname or alias.name] = getattr(module, alias.name)
    return found


@pytest.mark.parametrize("path", [*SCRIPTS, *PAGES], ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports_and_keywords(path):
    for code in code_of(path):
        tree = ast.parse(code)
        names = imported(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
                keywords = {word.arg for word in node.keywords if word.arg is not None}
                parameters = inspect.signature(names[node.func.id]).parameters
                open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
                assert open_ended or keywords <= set(parameters), f"{path.name}:{node.lineno}"


def test_a_wrong_keyword_is_found(tmp_path):
    (tmp_path / "page.md").write_text("```python\nfrom skinclf import Preprocess\nPreprocess(hight=3)\n```\n")
    with pytest.raises(AssertionError):
        test_imports_and_keywords(tmp_path / "page.md")
