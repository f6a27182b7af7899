"""Declared dependencies: lower bounds that one file of constraints holds, and nothing imported by luck."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.lower_bounds import constraints, lower_bounds

ROOT = Path(__file__).parents[2]
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_the_oldest_versions_are_those_of_pyproject():
    written = (ROOT / "tests" / "oldest.txt").read_text(encoding="utf-8")
    assert written == constraints(PYPROJECT), "run: python tests/support/lower_bounds.py > tests/oldest.txt"


def test_every_package_has_one_lower_bound():
    bounds = lower_bounds(PYPROJECT)
    assert {"numpy", "scipy", "torch", "requests", "ray"} <= set(bounds)
    with pytest.raises(ValueError, match="numpy: two lower bounds"):
        lower_bounds(PYPROJECT.replace('pandas = ["pandas', 'pandas = ["numpy>=2.0", "pandas'))
    with pytest.raises(ValueError, match="no lower bound"):
        lower_bounds(PYPROJECT.replace('"numpy>=1.26"', '"numpy"'))


def test_what_is_imported_is_declared():
    pytest.importorskip("deptry", reason="deptry comes with the extra `dev`")
    done = subprocess.run(
        [sys.executable, "-m", "deptry", "."], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
