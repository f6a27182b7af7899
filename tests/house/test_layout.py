"""Where things lie: sizes of modules and folders, tests beside their rooms, helpers apart from tests."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
PACKAGES = (ROOT / "skinclf", ROOT / "cli" / "skinclf_cli", ROOT / "training" / "skinclf_training")
FOLDERS = sorted(
    folder
    for package in PACKAGES
    for folder in [package, *package.rglob("*")]
    if (folder / "__init__.py").is_file()
)
LINES = 350
#: Modules and packages in one folder, without `__init__.py`.
ENTRIES = {"skinclf": 13, "skinclf_cli": 14, "skinclf_training": 14}
#: Folders that may hold more, each with its reason.
LARGER = {
    "skinclf": (18, "the rooms themselves, with the errors, the labels and the version below them"),
    "skinclf/models": (
        20,
        "the parts of a model's contract; their own order is a contract of the import linter",
    ),
    "skinclf/models/formats/keras": (14, "one module for each step from a file to a graph"),
    "skinclf/inference": (20, "the scorers, the engine under them and the predictor over them"),
    "skinclf/decisions": (15, "one module or package for each thing that is fitted"),
    "skinclf/evaluation": (14, "one module or package for each thing that is measured"),
    "cli/skinclf_cli/commands": (24, "one module for each command"),
}
#: Folders of tests that belong to no room of `skinclf`.
OTHER_TESTS = {"cli", "docs", "training", "house", "support", "utils"}


def entries(folder: Path) -> list[str]:
    """Modules and packages of a folder."""
    return [
        path.name
        for path in folder.iterdir()
        if (path.suffix == ".py" and path.name != "__init__.py") or (path / "__init__.py").is_file()
    ]


def test_modules_stay_readable():
    long = {
        path.relative_to(ROOT).as_posix(): lines
        for package in PACKAGES
        for path in package.rglob("*.py")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > LINES
    }
    assert long == {}


def test_folders_stay_readable():
    crowded = {}
    for folder in FOLDERS:
        package = next(p.name for p in PACKAGES if folder.is_relative_to(p))
        name, found = folder.relative_to(ROOT).as_posix(), entries(folder)
        allowed, _ = LARGER.get(name, (ENTRIES[package], ""))
        if len(found) > allowed:
            crowded[name] = found
    assert crowded == {}


def test_benchmarks_are_grouped_by_subject():
    folders = [path for path in (ROOT / "benchmarks").iterdir() if (path / "__init__.py").is_file()]
    assert {path.stem for path in (ROOT / "benchmarks").glob("*.py")} == {"__init__", "common", "results"}
    assert all(len(entries(folder)) <= 12 for folder in folders)


def test_exceptions_are_needed():
    for name in LARGER:
        package = next(p.name for p in PACKAGES if (ROOT / name).is_relative_to(p))
        assert len(entries(ROOT / name)) > ENTRIES[package], name


def test_every_folder_of_code_is_a_package():
    for package in PACKAGES:
        for path in package.rglob("*.py"):
            assert (path.parent / "__init__.py").is_file(), path


def test_tests_lie_beside_their_room():
    rooms = {name for name in entries(ROOT / "skinclf") if not name.endswith(".py")} - {"_utils"}
    folders = {
        path.name for path in TESTS.iterdir() if path.is_dir() and not path.name.startswith(("_", "."))
    }
    assert folders - OTHER_TESTS <= rooms
    assert rooms <= folders


def imports(path: Path) -> set[str]:
    """Full names of all modules that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def test_no_test_imports_a_test_or_conftest():
    tests = {path.stem for path in TESTS.rglob("test_*.py")} | {"conftest"}
    wrong = {
        path.relative_to(TESTS).as_posix(): found
        for path in TESTS.rglob("*.py")
        if (found := {name for name in imports(path) if tests & set(name.split("."))})
    }
    assert wrong == {}


def test_only_tests_and_helpers_lie_in_tests():
    for path in TESTS.rglob("*.py"):
        if path.parent.name != "support" and path.name != "conftest.py":
            assert path.name.startswith("test_"), path
