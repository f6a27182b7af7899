"""ARCHITECTURE.md and CONTRIBUTING.md say what is so: names resolve, paths exist, layers are the enforced ones."""

from __future__ import annotations

import re
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ("ARCHITECTURE.md", "CONTRIBUTING.md")
TEXT = {page: (ROOT / page).read_text(encoding="utf-8") for page in PAGES}
#: Folders that imports start in.
SOURCES = ("", "cli/", "training/")
NAME = re.compile(r"(skinclf|skinclf_cli|skinclf_training)(\.\w+)+")
FILE = re.compile(r"[\w.-]+(/[\w.-]+)*/|([\w.-]+/)*[\w.-]+\.(py|md|toml|yaml|yml|txt|cff)")
PLACED = re.compile(r"`([A-Za-z_][\w.]*)` in `([\w/]+\.py)`")
#: Written by a run, not kept here; or an example of a name to be chosen.
NOT_HERE = {"metrics.json", "threshold.json"}


def ticked(page: str) -> set[str]:
    """What stands in backticks outside code blocks."""
    return set(
        re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", TEXT[page], flags=re.MULTILINE | re.DOTALL))
    )


def resolve(name: str) -> object:
    """The module, class, function or attribute of a dotted name."""
    parts = name.split(".")
    for size in range(len(parts), 0, -1):
        try:
            found: object = import_module(".".join(parts[:size]))
        except ModuleNotFoundError as error:
            if error.name is None or not name.startswith(error.name):
                pytest.skip(f"{error.name} is not installed")
            continue
        for part in parts[size:]:
            found = getattr(found, part)
        return found
    raise AssertionError(name)


def module_of(path: str) -> str:
    """The module that a file of the three packages is."""
    for source in SOURCES[1:]:
        path = path.removeprefix(source)
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@pytest.mark.parametrize("page", PAGES)
def test_every_name_exists(page):
    names = {text for text in ticked(page) if NAME.fullmatch(text)}
    for name in names:
        resolve(name)
    if page == "ARCHITECTURE.md":
        assert len(names) > 30


@pytest.mark.parametrize("page", PAGES)
def test_every_path_exists(page):
    paths = {text for text in ticked(page) if FILE.fullmatch(text)} - NOT_HERE
    assert {path for path in paths if not (ROOT / path).exists()} == set()
    assert len(paths) > 5


@pytest.mark.parametrize("page", PAGES)
def test_what_is_said_to_lie_in_a_module_does(page):
    for name, path in PLACED.findall(TEXT[page]):
        resolve(f"{module_of(path)}.{name}")


def test_a_wrong_name_is_found():
    with pytest.raises(AttributeError):
        resolve("skinclf.errors.NoSuchError")
    with pytest.raises(AttributeError):
        resolve("skinclf.no_such_room.thing")


def test_links_lead_somewhere():
    for page, text in TEXT.items():
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
            assert (ROOT / target).exists(), f"{page}: {target}"


def test_layers_are_the_enforced_ones():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    drawn = re.findall(r"^```text\n(.*?)^```", TEXT["ARCHITECTURE.md"], re.MULTILINE | re.DOTALL)
    enforced = {
        contract["containers"][0]: contract["layers"]
        for contract in contracts["contracts"]
        if "containers" in contract
    }
    assert drawn[0].split("\n")[:-1] == enforced["skinclf"]
    assert drawn[1].split("\n")[:-1] == enforced["skinclf_training"]


def test_every_room_is_described():
    rooms = [path for path in (ROOT / "skinclf").iterdir() if (path / "__init__.py").is_file()]
    for room in rooms:
        assert f"| `skinclf/{room.name}/` |" in TEXT["ARCHITECTURE.md"]
