"""What the code host reads: workflows call the Makefile on every system, forms are well formed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml", reason="YAML needs the extra `train`")

ROOT = Path(__file__).parents[2]
GITHUB = ROOT / ".github"
FORMS = sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml"))
TARGETS = set(
    re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
)


def made(text: str) -> set[str]:
    """Targets of the `make` commands in a text."""
    calls = re.findall(r"\bmake((?: [a-z-]+)+)", text)
    return {word for call in calls for word in call.split()}


def test_the_workflow_checks_lowest_and_newest_python_on_three_systems():
    workflow = yaml.safe_load((GITHUB / "workflows" / "test.yml").read_text(encoding="utf-8"))
    job = workflow["jobs"]["test"]
    matrix = job["strategy"]["matrix"]
    classifiers = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert matrix["python"] == [classifiers[0], classifiers[-1]]
    assert {system.split("-")[0] for system in matrix["os"]} == {"ubuntu", "macos", "windows"}
    assert made(job["steps"][-1]["run"]) == {"lint", "test"}
    assert workflow["permissions"] == {"contents": "read"}


def test_targets_that_documents_name_exist():
    assert made((GITHUB / "workflows" / "test.yml").read_text(encoding="utf-8")) <= TARGETS
    for page in ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "docs/speed.md"):
        ticked = re.findall(
            r"`(make [^`]+)`|^\$ (make [^#\n]+)", (ROOT / page).read_text("utf-8"), re.MULTILINE
        )
        assert made("\n".join(a or b for a, b in ticked)) <= TARGETS, page


@pytest.mark.parametrize("path", FORMS, ids=lambda p: p.stem)
def test_forms_have_what_the_host_requires(path):
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= set(form)
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    names = [field["id"] for field in fields]
    assert len(set(names)) == len(names) > 0
    assert all(field["attributes"]["label"] for field in fields)


def test_there_is_a_form_for_each_kind():
    assert {path.stem for path in FORMS} == {"bug", "feature", "wrong_number"}
