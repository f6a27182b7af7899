"""What an installation does, without an index: nothing that fits is moved, and the container's steps work."""

from __future__ import annotations

import json
import os
import re
import shutil
import site
import subprocess
import sys
from pathlib import Path

import pytest
from support import container_room

pytest.importorskip("hatchling", reason="distributions are built by hatchling (extra `dev`)")
pytest.importorskip("pip", reason="installs by pip")

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
#: No index and no configuration of this machine.
ALONE = {
    **os.environ,
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_NO_INDEX": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
}


def test_an_installation_moves_no_package_that_fits(tmp_path: Path) -> None:
    """pip's own resolver, asked in an environment that has every dependency: only skinclf would be installed."""
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--no-build-isolation"]
    done = subprocess.run(
        [*command, "--report", str(report), str(ROOT)], env=ALONE, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(report.read_text())["install"]
    assert [item["metadata"]["name"] for item in found] == ["skinclf"]
    needs = found[0]["metadata"]["requires_dist"]
    for name in ("numpy", "torch", "pillow"):
        (line,) = (x for x in needs if re.match(rf"{name}\b", x) and "extra" not in x)
        assert not re.search(r"<|==|~=|!=", line), f"{line}: an upper bound moves what others have installed"


def test_the_first_stage_of_the_image_builds_from_what_is_copied(tmp_path: Path) -> None:
    """The lines of the Dockerfile, in a folder in place of /; dependencies are those of this environment."""
    if container_room.works():
        pytest.skip("tests/docs/test_container.py does more where a root of its own can be made")
    text = re.sub(r"\\\n\s*", " ", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    first = text.split("\nFROM ")[1]
    source, made = tmp_path / "source", tmp_path / "venv"
    source.mkdir()
    for line in re.findall(r"^COPY (.+)$", first, re.MULTILINE):
        *names, target = line.split()
        for name in names:
            if (ROOT / name).is_dir():
                ignore = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / name, source / target, ignore=ignore)
            else:
                shutil.copy(ROOT / name, source / target)
    (step,) = re.findall(r"^RUN (.+)$", first, re.MULTILINE)
    values = dict(re.findall(r'^ARG (\w+)="(.*)"$', first, re.MULTILINE))
    assert values["EXTRAS"] == "serve"
    assert values["PIP_ARGS"] == ""
    values["PIP_ARGS"] = "--no-deps --no-build-isolation --ignore-installed"
    environment = {k: v for k, v in ALONE.items() if k != "PYTHONPATH"}
    # Behind the packages of the new environment; .pth files there are not read, so no skinclf of this one.
    environment["PYTHONPATH"] = os.pathsep.join(site.getsitepackages())
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        ["sh", "-c", step.replace("/venv", str(made))],
        cwd=source,
        env=environment | values,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(made.glob("lib/*/site-packages/skinclf/_version.py"))
