"""`skinclf doctor`: what is in order passes, what is not is named with what to do."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.hub_server import HubServer, use_hub

from skinclf.models import registry
from skinclf_cli import doctor
from skinclf_cli.doctor import Finding, examine, failed
from skinclf_cli.main import run


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with HubServer() as running:
        running.add_token("hf_write")
        use_hub(monkeypatch, running, tmp_path / "home")
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        yield running


@pytest.fixture
def builtin(tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A whole installation: a built-in model and caches that can be written."""
    folder = tmp_path / "builtin" / registry.DEFAULT
    shutil.copytree(tiny_bundle, folder)
    monkeypatch.setattr(registry, "BUILTIN", folder.parent)
    monkeypatch.setenv("SKINCLF_CACHE", str(tmp_path / "cache"))
    return folder


def find(name: str, **options: bool) -> Finding:
    return next(finding for finding in examine(**options) if finding.name == name)


def test_everything_in_order(server, builtin):
    findings = examine()
    assert not failed(findings), [f for f in findings if f.status == "FAIL"]
    assert find("Hub").status == "PASS"
    assert "torch" in find("packages").found
    assert find("built-in model").found.startswith(registry.DEFAULT)


def test_a_damaged_built_in_model(builtin):
    weights = builtin / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    found = find("built-in model", offline=True)
    assert (found.status, "damaged" in found.found) == ("FAIL", True)
    assert "pip install" in found.advice
    weights.unlink()
    assert "is missing" in find("built-in model", offline=True).found
    (builtin / "config.json").write_text("{}")
    assert find("built-in model", offline=True).status == "FAIL"
    shutil.rmtree(builtin)
    assert "there is none" in find("built-in model", offline=True).found


def test_a_missing_and_an_old_package(builtin, monkeypatch):
    needed = ["numpy>=9999", "no-such-package-at-all>=1", "click>=8", "pytest<1; extra == 'dev'"]
    monkeypatch.setattr(doctor, "requires", lambda name: needed)
    found = find("packages", offline=True)
    assert found.status == "FAIL"
    assert "no-such-package-at-all is missing" in found.found
    assert ">=9999" in found.found
    assert "click" not in found.found
    optional = find("optional pytest", offline=True)
    assert (optional.status, optional.advice) == ("WARN", "pip install 'pytest<1'")


def test_an_accelerator_that_torch_does_not_see(builtin, monkeypatch):
    import torch

    monkeypatch.setattr("skinclf.runtimes.create.accelerator_possible", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert find("device", offline=True).status == "WARN"


def test_a_cache_that_cannot_be_written(builtin, monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    monkeypatch.setenv("SKINCLF_CACHE", str(blocked / "cache"))
    found = find("compile cache", offline=True)
    assert (found.status, "SKINCLF_CACHE" in found.advice) == ("WARN", True)


def test_a_full_disk(builtin, monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=1 << 20)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage)
    assert find("compile cache", offline=True).status == "WARN"


def test_the_hub(server, builtin, monkeypatch):
    assert "no token" in find("Hub").found
    monkeypatch.setenv("HF_TOKEN", "hf_write")
    assert "logged in as user" in find("Hub").found
    monkeypatch.setenv("HF_TOKEN", "hf_unknown")
    assert (find("Hub").status, "hf auth login" in find("Hub").advice) == ("WARN", True)
    monkeypatch.delenv("HF_TOKEN")
    seen = len(server.log)
    assert "offline" in find("Hub", offline=True).found
    assert len(server.log) == seen
    server.stop()
    assert (find("Hub").status, "does not answer" in find("Hub").found) == ("WARN", True)


def test_the_command(server, builtin, capsys):
    assert run(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is True
    assert {finding["status"] for finding in told["findings"]} <= {"PASS", "WARN"}
    shutil.rmtree(builtin)
    assert run(["doctor", "--offline"]) == 1
    told = capsys.readouterr()
    assert "FAIL  built-in model" in told.out
    assert "FAIL built-in model: Install skinclf again" in told.err


def test_torch_stays_out_where_there_is_no_accelerator():
    code = (
        "import sys\nimport skinclf.runtimes.create\nskinclf.runtimes.create.accelerator_possible = lambda: False\n"
        "from skinclf_cli.doctor import examine\nexamine(offline=True)\n"
        "print(sorted({'torch', 'timm', 'tensorflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
