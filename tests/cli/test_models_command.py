"""`skinclf models` and `skinclf download`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.hub_server import HubServer, hub_environment, use_hub

from skinclf.conversion import convert, verify
from skinclf.conversion.verify import Check, VerifyReport
from skinclf.models.hub import fetch as hub
from skinclf.models.options import HubOptions, ModelOptions
from skinclf_cli.main import run

KERAS = "devatreya/skin-lesion-resnet50"
FILE = "resnet50_best.h5"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with HubServer() as running:
        use_hub(monkeypatch, running, tmp_path / "home")
        yield running


def test_list_is_a_table_and_json(capsys):
    assert run(["models", "list"]) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[0].split()[:3] == ["name", "labels", "license"]
    assert "third party, unverified" in next(line for line in text.splitlines() if "Miguel764" in line)
    assert run(["models", "list", "--json"]) == 0
    known = json.loads(capsys.readouterr().out)
    assert {"skin-lesion-resnet50", "efficientnetv2s-skin-cancer-classifier"} <= {m["name"] for m in known}
    assert all(m["disclaimer"] for m in known)


def test_show(capsys):
    assert run(["models", "show", "skin-lesion-resnet50"]) == 0
    text = capsys.readouterr().out
    for part in (KERAS, FILE, "malignant", "opencv", "pillow-bicubic", "not a medical device"):
        assert part in text
    assert run(["models", "show", KERAS, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["filename"], shown["source"]) == (FILE, KERAS)
    assert [x["code"] for x in shown["labels"]] == ["benign", "malignant"]


def test_show_of_an_unknown_name_suggests(capsys):
    assert run(["models", "show", "skin-lesion-resnet"]) == 1
    said = capsys.readouterr()
    assert "Did you mean skin-lesion-resnet50" in said.err
    assert said.out == ""


@pytest.mark.parametrize(
    "command", [["models", "list"], ["models", "show", "skin-lesion-resnet50"], ["models", "-h"]]
)
def test_asking_imports_neither_torch_nor_numpy(command):
    code = (
        "import sys; from skinclf_cli.main import run; code = run(sys.argv[1:]);"
        "heavy = [m for m in ('torch', 'numpy', 'huggingface_hub', 'timm') if m in sys.modules];"
        "sys.exit(f'{code} {heavy}' if code or heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_download_fills_a_folder(server, tmp_path, capsys):
    first = server.add_repo(KERAS, {FILE: b"first"})
    server.commit(KERAS, {FILE: b"second"})
    folder = tmp_path / "model"
    assert run(["download", "skin-lesion-resnet50", "--to", str(folder)]) == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(folder)
    assert server.repos[KERAS].refs["main"] in said.err
    assert f"--model {folder}" in said.err
    assert (folder / FILE).read_bytes() == b"second"
    assert run(["download", KERAS, "--to", str(folder), "--revision", first, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["revision"] == first
    assert [f["name"] for f in told["files"]] == [FILE]
    assert (folder / FILE).read_bytes() == b"first"
    assert hub.read_source(folder).revision == first


def test_download_offline_takes_the_cache_and_nothing_else(server, tmp_path, capsys):
    server.add_repo(KERAS, {FILE: b"data"})
    cache = tmp_path / "cache"
    fetched = hub.resolve(KERAS, hub=HubOptions(cache_dir=cache))
    assert fetched.folder.is_relative_to(cache)
    server.stop()
    line = ["download", KERAS, "--to", str(tmp_path / "model"), "--offline", "--cache-dir"]
    assert run([*line, str(tmp_path / "none")]) == 1
    assert "offline" in capsys.readouterr().err


def test_there_is_one_command_to_download(capsys):
    assert run(["models", "download", KERAS]) == 2
    assert "No such command" in capsys.readouterr().err


def test_a_failed_download_is_one_line_and_exit_code_1(server, tmp_path):
    environment = {**os.environ, **hub_environment(server, tmp_path)}
    command = [sys.executable, "-m", "skinclf", "download", "user/nothing", "--to", str(tmp_path / "x")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    line = (
        f"Error: user/nothing was not found on {server.url}. Check the spelling; for a private repository, "
        "log in with `hf auth login` or set HF_TOKEN.\n"
    )
    assert done.stderr == line


def test_download_needs_a_folder(capsys):
    assert run(["download", KERAS]) == 2
    assert "--to" in capsys.readouterr().err


@pytest.mark.parametrize(("difference", "code", "word"), [(1e-7, 0, "ok"), (0.2, 1, "DIFFERS")])
def test_verify_reports_and_fails_when_a_sample_differs(monkeypatch, capsys, difference, code, word):
    asked = {}

    def verify_model(model, **options):
        asked.update(model=model, **options)
        return VerifyReport("tiny", "torch", (Check("golden/x.png", "keras 3", difference, 1e-5),))

    monkeypatch.setattr(verify, "verify_model", verify_model)
    assert run(["models", "verify", "user/repo", "--revision", "v1", "--offline"]) == code
    assert word in capsys.readouterr().out
    assert (asked["model"], asked["hub"]) == ("user/repo", HubOptions(revision="v1", offline=True))
    assert run(["models", "verify", "user/repo", "--json"]) == code
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is (code == 0)
    assert told["checks"][0]["file"] == "golden/x.png"


def test_convert_writes_a_bundle_and_verify_replays_it(tiny_bundle, tmp_path, capsys):
    folder = tmp_path / "again"
    assert run(["models", "convert", str(tiny_bundle), str(folder), "--name", "again", "--json"]) == 0
    written = json.loads(capsys.readouterr().out)
    assert written["skinclf"]["name"] == "again"
    assert run(["models", "verify", str(folder)]) == 0
    assert " ok" in capsys.readouterr().out
    assert run(["models", "convert", str(tiny_bundle), str(folder)]) == 1
    assert "not an empty folder" in capsys.readouterr().err


def test_convert_passes_on_what_is_stated(monkeypatch, tmp_path, tiny_bundle):
    from skinclf.models.bundle import read_spec

    asked = {}

    def convert_model(model, folder, **options):
        asked.update(model=model, folder=folder, **options)
        return read_spec(tiny_bundle)

    monkeypatch.setattr(convert, "convert_model", convert_model)
    stated = [
        "--labels",
        "mel,nv",
        "--malignant",
        "mel",
        "--preprocess",
        "caffe",
        "--architecture",
        "resnet50",
    ]
    assert run(["models", "convert", "net.h5", str(tmp_path / "x"), *stated]) == 0
    assert asked == {
        "model": "net.h5",
        "folder": tmp_path / "x",
        "options": ModelOptions(
            labels="mel,nv", malignant=("mel",), preprocess="caffe", architecture="resnet50"
        ),
        "name": None,
        "sample": None,
        "hub": HubOptions(),
    }
