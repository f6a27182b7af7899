"""The image of the Dockerfile, built and run by its own lines without an engine: another user, read-only, no network."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import container_room

from skinclf._version import __version__

pytest.importorskip("hatchling", reason="distributions are built by hatchling (extra `dev`)")
pytest.importorskip("starlette", reason="the server needs the extra `serve`")

ROOT = Path(__file__).parents[2]
IMAGE = ROOT / "examples" / "images" / "synthetic-01.jpg"
TOKEN = "a-token-of-the-tests-7291"
#: The environment's packages stand for what pip would fetch.
PIP_ARGS = "--no-index --no-deps --no-build-isolation --ignore-installed"
#: Asks as a client with Python alone does.
ASK = f"""
import json, sys, urllib.request
request = urllib.request.Request("http://127.0.0.1:8000/v1/predictions", open("/run/picture.jpg", "rb").read(),
    {{"Content-Type": "image/jpeg", "Authorization": "Bearer {TOKEN}"}})
print(json.load(urllib.request.urlopen(request))["predictions"][0]["status"])
"""
#: Writes where it may and where it may not.
TRY = """
import os, pathlib, socket
print(os.getuid())
for place in ("/", "/venv", "/etc", "/run", "/home/skinclf", "/tmp"):
    try:
        pathlib.Path(place, "written").write_text("x"); print(place)
    except OSError:
        pass
try:
    socket.create_connection(("192.0.2.1", 80), timeout=2); print("network")
except OSError:
    pass
"""


def stages(path: Path) -> list[list[tuple[str, str]]]:
    """Instructions of each stage, without its FROM; lines that go on are joined."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    text = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    found: list[list[tuple[str, str]]] = []
    for line in filter(str.strip, text.splitlines()):
        name, _, words = line.partition(" ")
        if name == "FROM":
            found.append([])
        else:
            found[-1].append((name, words.strip()))
    return found


def room(folder: Path, **plan: Any) -> dict[str, Any]:
    """Do a plan in namespaces of its own."""
    file = folder / "plan.json"
    file.write_text(json.dumps({"pip_args": PIP_ARGS, "read_only": False, **plan}))
    command = [
        "unshare",
        "--mount",
        "--net",
        "--propagation",
        "private",
        sys.executable,
        container_room.__file__,
    ]
    done = subprocess.run([*command, str(file)], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of the second stage, made by all lines of both."""
    if not container_room.works():
        pytest.skip("needs Linux, root and unshare, to be another user in a root of its own")
    folder = tmp_path_factory.mktemp("image")
    container_room.context(ROOT, folder / "context")
    first, second = stages(ROOT / "Dockerfile")
    plan = {"context": str(folder / "context"), "stages": {"build": str(folder / "build")}}
    room(folder, root=str(folder / "build"), steps=first, **plan)
    room(folder, root=str(folder / "root"), steps=second, **plan)
    return folder / "root"


def test_the_context_is_what_git_has_of_the_copied_folders(tmp_path: Path) -> None:
    sent = container_room.context(ROOT, tmp_path / "context")
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("needs a clone")
    names = [w for n, a in stages(ROOT / "Dockerfile")[0] if n == "COPY" for w in a.split()[:-1]]
    listed = subprocess.run(["git", "ls-files", *names], cwd=ROOT, capture_output=True, text=True, check=True)
    missing = set(listed.stdout.split()) - set(sent)
    assert missing == set()
    assert all(name.split("/")[0] in names for name in sent)
    assert not any(name.endswith(".pyc") for name in sent)


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("skinclf/models/x.py", True),
        ("README.md", True),
        ("docs/index.md", False),
        ("skinclf/__pycache__/a.py", False),
        ("cli/skinclf_cli/b.pyc", False),
        ("data/secret.jpg", False),
    ],
)
def test_patterns_of_dockerignore(path: str, kept: bool) -> None:
    patterns = [x for x in (ROOT / ".dockerignore").read_text().splitlines() if x and not x.startswith("#")]
    assert container_room.sent(path, patterns) is kept


@pytest.mark.slow
def test_the_image_holds_the_package_and_its_user(image: Path) -> None:
    assert (image / "venv" / "bin" / "skinclf").is_file()
    assert list(
        image.glob(
            "venv/lib/*/site-packages/skinclf/models/builtin/ham10000-efficientnet-lite0/*.safetensors"
        )
    )
    assert "skinclf:x:1000:" in (image / "etc" / "passwd").read_text()
    assert not (image / "source").exists()


@pytest.mark.slow
def test_it_serves_as_another_user_read_only_and_without_network(image: Path, tmp_path: Path) -> None:
    second = stages(ROOT / "Dockerfile")[1]
    found = dict(second)
    (image / "run" / "token.txt").write_text(TOKEN)
    shutil.copy(IMAGE, image / "run" / "picture.jpg")
    answer = room(
        tmp_path,
        root=str(image),
        read_only=True,
        context=str(tmp_path),
        steps=second,
        command=[*json.loads(found["ENTRYPOINT"]), *json.loads(found["CMD"])],
        health=json.loads(found["HEALTHCHECK"].partition("CMD ")[2]),
        wait=120,
        then={
            "ask": ["python", "-c", ASK],
            "try": ["python", "-c", TRY],
            "version": ["skinclf", "--version"],
            "predict": ["skinclf", "predict", "/run/picture.jpg", "--output", "/tmp/one.csv"],
        },
    )
    assert answer["health"] == 0, answer
    assert answer["ask"].split() == ["ok"], answer
    assert answer["try"].split() == ["1000", "/tmp"], answer
    assert answer["version"].startswith(f"skinclf {__version__} ")
    assert answer["predict code"] == 0, answer
    assert "Read-only file system" not in answer["log"] + answer["predict"]
    assert answer["code"] == 0, answer["log"]


#: Asks the Space under its own name, and under another.
ASK_SPACE = """
import json, urllib.error, urllib.request
for name in ("user-skinclf.hf.space", "other.example.org"):
    request = urllib.request.Request("http://127.0.0.1:7860/v1/models", headers={"Host": name})
    try:
        with urllib.request.urlopen(request) as answer:
            limits = json.load(answer)["limits"]
            print(answer.status, limits["max_files"], limits["max_upload"], answer.headers["X-Frame-Options"])
            print(answer.headers["Content-Security-Policy"])
    except urllib.error.HTTPError as error:
        print(error.code)
"""
_HEALTH = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/healthz', timeout=4)"


@pytest.mark.slow
def test_the_space_answers_under_its_name_within_the_page_of_the_hub(image: Path, tmp_path: Path) -> None:
    """The command of `space/Dockerfile`, in the image that this repository makes in place of the published package."""
    (own,) = stages(ROOT / "space" / "Dockerfile")
    steps = [(name, words) for name, words in own if name in {"ENV", "USER"}]
    (image / "home" / "user").mkdir(exist_ok=True)
    answer = room(
        tmp_path,
        root=str(image),
        read_only=True,
        context=str(tmp_path),
        steps=[*stages(ROOT / "Dockerfile")[1], *steps, ("ENV", "SPACE_HOST=user-skinclf.hf.space")],
        command=json.loads(dict(own)["CMD"]),
        health=["python", "-c", _HEALTH],
        wait=120,
        then={"ask": ["python", "-c", ASK_SPACE]},
    )
    assert answer["health"] == 0, answer
    first, policy, second = answer["ask"].splitlines()
    assert first == f"200 8 {10 * 1024**2} None"
    assert "frame-ancestors https://huggingface.co;" in policy
    assert second == "421"
    assert answer["code"] == 0, answer["log"]


@pytest.mark.slow
def test_without_a_token_the_image_does_not_serve(image: Path, tmp_path: Path) -> None:
    (image / "run" / "token.txt").unlink(missing_ok=True)
    with pytest.raises(AssertionError, match=r"token"):
        room(
            tmp_path,
            root=str(image),
            read_only=True,
            context=str(tmp_path),
            steps=stages(ROOT / "Dockerfile")[1],
            command=["skinclf", "serve", "--host", "0.0.0.0", "--token-file", "/run/token.txt"],
            health=["false"],
            wait=60,
            then={},
        )
