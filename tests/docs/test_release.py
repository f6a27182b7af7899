"""Container, Space and release check: parsed, and their steps followed as far as this machine has them."""

from __future__ import annotations

import fnmatch
import re
import runpy
import shlex
import subprocess
import sys
from email.message import Message
from pathlib import Path

import pytest
from support.command_lines import parse

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "Dockerfile"


def instructions(path: Path) -> list[tuple[str, str]]:
    """Instructions of a Dockerfile with their arguments; lines that go on are joined."""
    text = re.sub(
        r"\\\n\s*", " ", "\n".join(x for x in path.read_text().splitlines() if not x.startswith("#"))
    )
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in text.splitlines() if line.strip()]


def words(arguments: str) -> list[str]:
    """An instruction in its JSON form."""
    import json

    return list(json.loads(arguments))


def test_the_image_has_two_stages_and_the_second_builds_nothing() -> None:
    found = instructions(DOCKERFILE)
    starts = [n for n, (name, _) in enumerate(found) if name == "FROM"]
    assert len(starts) == 2
    assert found[starts[0]][1].endswith(" AS build")
    second = found[starts[1] :]
    assert not any("pip" in arguments for name, arguments in second if name == "RUN")
    assert ("COPY", "--from=build /venv /venv") in second
    assert ("ARG", 'PIP_ARGS=""') in found[: starts[1]]


@pytest.mark.parametrize("path", [DOCKERFILE, ROOT / "space" / "Dockerfile"], ids=["image", "space"])
def test_it_does_not_run_as_root_and_serves_its_port(path: Path) -> None:
    found = dict(instructions(path))
    assert found["USER"] == "1000"
    command = [*words(found.get("ENTRYPOINT", "[]")), *words(found["CMD"])]
    if command[0] == "sh":
        assert command[2].startswith("exec "), "signals reach the server itself"
        command = shlex.split(command[2])[1:]
    name, options = parse(shlex.join(command))
    assert name == "serve"
    assert str(options["port"]) == found["EXPOSE"]
    assert options["host"] == "0.0.0.0"
    assert options.get("token_file") or "--no-token" in command
    assert "HF_HUB_OFFLINE=1" in found["ENV"]


def test_what_is_written_goes_where_it_may() -> None:
    environment = dict(instructions(DOCKERFILE))["ENV"]
    for variable in ("HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR"):
        assert re.search(rf"\b{variable}=/tmp\b", environment), variable


def test_the_health_check_asks_a_route_that_is_there() -> None:
    check = words(dict(instructions(DOCKERFILE))["HEALTHCHECK"].partition("CMD ")[2])
    assert check[:2] == ["python", "-c"]
    route = re.search(r"127\.0\.0\.1:8000(/\w+)", check[2])
    assert route is not None
    assert f'"{route[1]}"' in (ROOT / "skinclf" / "serve" / "app.py").read_text()
    compile(check[2], "HEALTHCHECK", "exec")


def test_the_context_holds_what_is_copied_and_little_else() -> None:
    kept = [x[1:] for x in (ROOT / ".dockerignore").read_text().splitlines() if x.startswith("!")]
    build = [a for n, a in instructions(DOCKERFILE) if n == "COPY" and not a.startswith("--from")]
    copied = {source for arguments in build for source in arguments.split()[:-1]}
    assert copied == set(kept)
    assert all((ROOT / name).exists() for name in kept)
    # What the build backend needs beside the packages.
    project = (ROOT / "pyproject.toml").read_text()
    for name in ("README.md", "LICENSE", "model_cards", "training"):
        assert name in project
        assert any(fnmatch.fnmatch(name, pattern) for pattern in kept)


def test_the_space_says_what_it_is() -> None:
    yaml = pytest.importorskip("yaml", reason="YAML needs the extra `train`")
    text = (ROOT / "space" / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["sdk"] == "docker"
    assert str(front["app_port"]) == dict(instructions(ROOT / "space" / "Dockerfile"))["EXPOSE"]
    assert front["license"] == "cc-by-nc-4.0"
    # Words and lengths that the Hub checks: https://huggingface.co/docs/hub/spaces-config-reference
    colours = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
    assert {front["colorFrom"], front["colorTo"]} <= colours
    assert front.keys() <= {
        "title", "emoji", "colorFrom", "colorTo", "sdk", "app_port", "pinned", "license", "short_description"
    }  # fmt: skip
    assert len(front["emoji"].encode("utf-16-le")) <= 4
    assert len(front["short_description"]) <= 60
    assert "never a\ndiagnosis" in text


def test_extras_of_the_images_exist() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    for path in (DOCKERFILE, ROOT / "space" / "Dockerfile"):
        for extras in re.findall(r'(?:EXTRAS="|skinclf\[)([\w,]+)', path.read_text()):
            for extra in extras.split(","):
                assert re.search(rf"^{extra} = \[", project, re.MULTILINE), extra


# --- release ----------------------------------------------------------------------------------


def test_the_citation_is_valid() -> None:
    """Keys, types and required fields of the Citation File Format 1.2.0, as far as this file uses them."""
    yaml = pytest.importorskip("yaml", reason="YAML needs the extra `train`")
    import skinclf

    found = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= found.keys()
    known = {"abstract", "authors", "cff-version", "date-released", "doi", "keywords", "license", "message"}
    assert found.keys() <= known | {"references", "repository-code", "title", "type", "url", "version"}
    assert (found["cff-version"], found["type"], found["license"]) == ("1.2.0", "software", "Apache-2.0")
    assert found["version"] == skinclf.__version__
    for reference in found["references"]:
        assert {"authors", "title", "type"} <= reference.keys()
        assert all("family-names" in author or "name" in author for author in reference["authors"])
        assert re.fullmatch(r"10\.\d{4,9}/\S+", reference["doi"])


@pytest.mark.slow
def test_a_wheel_is_built_checked_and_tried(tmp_path: Path) -> None:
    pytest.importorskip("build", reason="distributions are built by build (extra `dev`)")
    pytest.importorskip("hatchling", reason="distributions are built by hatchling (extra `dev`)")
    command = [sys.executable, str(ROOT / "tools" / "release_check.py"), "--only", "wheel", "--dist"]
    done = subprocess.run([*command, str(tmp_path / "dist")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the three promised lines work" in done.stdout


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("Version", "9.9", "The wheel says 9.9"),
        ("Name", "skin", "The name is skin"),
        ("Summary", "", "lack Summary"),
        ("Requires-Dist", "torch @ https://example.org/torch.whl", "cannot require an address"),
    ],
)
def test_wrong_metadata_are_refused(key: str, value: str, sentence: str) -> None:
    script = runpy.run_path(str(ROOT / "tools" / "release_check.py"))
    import skinclf

    right = {
        "Name": "skinclf",
        "Version": skinclf.__version__,
        "Summary": "x",
        "License-Expression": "Apache-2.0",
        "Requires-Python": ">=3.11",
        "Author": "x",
        "Description-Content-Type": "text/markdown",
        "Project-URL": "x",
    }
    message = Message()
    for name, text in right.items():
        message[name] = text
    message.set_payload("x" * 2000)
    script["check_metadata"](message)
    del message[key]
    message[key] = value
    with pytest.raises(SystemExit, match=sentence):
        script["check_metadata"](message)
