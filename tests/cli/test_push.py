"""`skinclf push`, `skinclf completion` and what they say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from skinclf_cli.main import run

REPO = "user/lesions"


pytestmark = pytest.mark.usefixtures("signed_in")


@pytest.fixture
def arguments(evaluated: Path) -> list[str]:
    return ["push", str(evaluated / "bundle"), REPO, "--metrics", str(evaluated / "metrics.json")]


def test_a_dry_run_lists_the_files_and_prints_the_card(server, arguments, evaluated, capsys):
    assert run([*arguments, "--dry-run"]) == 0
    told = capsys.readouterr()
    size = (evaluated / "bundle" / "model.safetensors").stat().st_size
    assert f"model.safetensors  {size:,}" in told.out
    assert "license: cc-by-nc-4.0" in told.out
    assert "## Limitations and known failure modes" in told.out
    assert "Nothing was sent" in told.err
    assert server.log == []


def test_it_says_where_the_model_is(server, arguments, capsys):
    assert run(arguments) == 0
    told = capsys.readouterr()
    sha = server.repos[REPO].refs["main"]
    assert told.out.strip() == f"{server.url}/{REPO}/commit/{sha}"
    assert f"--model {REPO}@{sha}" in told.err


def test_json(server, arguments, capsys):
    assert run([*arguments, "--json", "--revision", "trial"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["revision"] == server.repos[REPO].refs["trial"]
    assert "README.md" in told["files"]


def test_a_failure_is_one_sentence(server, arguments, capsys, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_unknown")
    assert run(arguments) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Error:")]
    assert "hf auth login" in line
    assert REPO not in server.repos


def test_usage(server, arguments, evaluated, tiny_bundle):
    assert run([*arguments, "--create-pr", "--revision", "x"]) == 2
    assert run(["push", str(evaluated / "bundle"), "lesions"]) == 2
    assert run(["push", str(evaluated / "nowhere"), REPO]) == 2
    assert run(["push", str(tiny_bundle), REPO]) == 2
    assert server.log == []


def test_training_refuses_a_misspelt_repository_before_it_starts(tmp_path):
    pytest.importorskip("lightning", reason="training needs the extra `train`")
    (tmp_path / "data").mkdir()
    options = [
        "--config",
        "ham10000-mobilenetv2",
        "--data",
        str(tmp_path / "data"),
        "--output",
        str(tmp_path / "run"),
    ]
    assert run(["train", *options, "--test-part", "--push-to", "nobody"]) == 2
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_the_script_of_the_shell(shell, capsys):
    assert run(["completion", shell]) == 0
    assert f"_SKINCLF_COMPLETE={shell}_complete" in capsys.readouterr().out


def test_completion_of_an_unknown_shell():
    assert run(["completion", "cmd"]) == 2


def test_the_script_completes_commands_and_options():
    words = {"skinclf pu": "push", "skinclf push --dry": "--dry-run", "skinclf models ver": "verify"}
    for line, expected in words.items():
        environment = {
            **os.environ,
            "_SKINCLF_COMPLETE": "bash_complete",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(line.split()) - 1),
        }
        done = subprocess.run(
            [sys.executable, "-m", "skinclf"], env=environment, capture_output=True, text=True, check=True
        )
        assert f"plain,{expected}" in done.stdout.splitlines()
