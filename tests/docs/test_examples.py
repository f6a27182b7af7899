"""Examples that people run: three scripts and a notebook do what they say."""

from __future__ import annotations

import importlib.metadata
import json
import os
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
NOTEBOOK = EXAMPLES / "quickstart.ipynb"


@pytest.mark.slow
def test_a_folder_becomes_a_report(tmp_path: Path) -> None:
    script = runpy.run_path(str(EXAMPLES / "folder_to_report.py"))
    labels = script["example_labels"](EXAMPLES / "images", tmp_path / "labels.csv")
    report = script["report"](EXAMPLES / "images", labels, tmp_path / "out")
    assert report.stat().st_size > 50_000
    assert len((tmp_path / "out" / "predictions.csv").read_text().splitlines()) == 13


@pytest.mark.slow
def test_a_model_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = runpy.run_path(str(EXAMPLES / "custom_model.py"))
    script["main"](tmp_path / "out", [EXAMPLES / "images" / "synthetic-01.jpg"])
    name, *_, before, after = capsys.readouterr().out.split()
    assert name == "synthetic-01.jpg"
    assert before == after


@pytest.mark.slow
def test_a_training_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("lightning", reason="training needs the extra `train`")
    script = runpy.run_path(str(EXAMPLES / "training_run.py"))
    script["main"](tmp_path)
    assert 0 <= float(capsys.readouterr().out.split()[-1]) <= 1
    assert (tmp_path / "run" / "bundle" / "config.json").is_file()


def test_the_notebook_holds_no_output() -> None:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None


@pytest.mark.slow
def test_the_notebook_runs_and_moves_no_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat", reason="notebooks are executed by nbclient (extra `dev`)")
    nbclient = pytest.importorskip("nbclient", reason="notebooks are executed by nbclient (extra `dev`)")
    pytest.importorskip("ipykernel", reason="notebooks are executed in a kernel (extra `dev`)")
    names = ("numpy", "torch", "pillow")
    before = {name: importlib.metadata.version(name) for name in names}
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (install,) = (c for c in notebook.cells if "install" in c.metadata.get("tags", ()))
    assert install.source == "%pip install -q skinclf"
    # What is installed here is under test: pip is asked what it would do, and has no index to go to.
    install.source = "!python -m pip install -q --no-index --no-deps --dry-run skinclf || true"
    paths = [str(ROOT), str(ROOT / "cli"), str(ROOT / "training")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    for cell in notebook.cells:
        if "shell" in cell.metadata.get("tags", ()):
            cell.source = cell.source.replace("!skinclf", "!{__import__('sys').executable} -m skinclf")
    nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    printed = "".join(
        output.get("text", "") for c in notebook.cells if c.cell_type == "code" for output in c.outputs
    )
    assert "One may claim with 95% confidence that the sensitivity" in printed
    assert (tmp_path / "threshold.json").is_file()
    assert {name: importlib.metadata.version(name) for name in names} == before
