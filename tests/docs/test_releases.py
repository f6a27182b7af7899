"""A folder for each release of the site, and the page that opens the newest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import skinclf

SCRIPT = Path(__file__).parents[2] / "docs" / "releases.py"


def index_of(site: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), str(site)], capture_output=True, text=True, check=False
    )


def test_the_newest_release_opens_and_all_are_listed(tmp_path):
    for name in ("0.9.0", "0.10.0", "0.10.0rc1", "_static", "0.11.0"):
        (tmp_path / name).mkdir()
        if name != "0.11.0":  # was begun and not finished
            (tmp_path / name / "index.html").write_text("x")
    assert index_of(tmp_path).returncode == 0
    text = (tmp_path / "index.html").read_text()
    assert 'content="0; url=0.10.0/index.html"' in text
    places = [text.index(f'href="{name}/index.html"') for name in ("0.10.0", "0.10.0rc1", "0.9.0")]
    assert places == sorted(places)
    assert "_static" not in text
    assert "0.11.0" not in text


def test_a_site_without_a_release_is_named(tmp_path):
    run = index_of(tmp_path)
    assert run.returncode == 1
    assert "no folder of a release" in run.stderr


def test_the_folder_is_that_of_the_version():
    run = subprocess.run(
        [sys.executable, str(SCRIPT), "--version"], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == skinclf.__version__


@pytest.mark.parametrize("part", ["build/site/$$", "docs/releases.py build/site"])
def test_make_docs_builds_into_it(part):
    recipe = (SCRIPT.parents[1] / "Makefile").read_text().partition("\ndocs:")[2].partition("\n\n")[0]
    assert part in recipe
