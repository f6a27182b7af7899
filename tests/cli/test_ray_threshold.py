"""`skinclf predict --engine ray --threshold`: what a run on this machine takes; Ray itself is not needed."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from skinclf.decisions.threshold_file import read_threshold
from skinclf.jobs import ray
from skinclf.models.load import load_spec
from skinclf_cli.main import run


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What reaches Ray."""
    found: dict[str, Any] = {}

    def predict(*_paths: object, **options: Any) -> SimpleNamespace:
        found.update(options)
        return SimpleNamespace(failed=0)

    monkeypatch.setattr(ray, "predict_with_ray", predict)
    return found


def command(bundle: Path, folder: Path, threshold: str) -> list[str]:
    (folder / "a.jpg").touch()
    start = ["predict", str(folder / "a.jpg"), "-o", str(folder / "out"), "--model", str(bundle)]
    return [*start, "--engine", "ray", "--threshold", threshold]


def threshold_file(path: Path, bundle: Path, **more: object) -> str:
    spec = load_spec(bundle)
    model = {"name": spec.name, "revision": spec.revision, **spec.fingerprint}
    path.write_text(
        json.dumps({"threshold": 0.25, "model": model, "positive": ["akiec", "bcc", "mel"], **more})
    )
    assert read_threshold(path).value == 0.25
    return str(path)


def test_numbers_names_and_files_are_taken(tiny_bundle: Path, tmp_path: Path, given: dict[str, Any]) -> None:
    file = threshold_file(tmp_path / "t.json", tiny_bundle)
    for text, value in (("0.4", 0.4), ("sensitivity_90", 0.35), (file, 0.25)):
        assert run(command(tiny_bundle, tmp_path, text)) == 0
        assert given["threshold"] == value


def test_a_file_of_another_model_is_refused(
    tiny_bundle: Path, two_label_bundle: Path, tmp_path: Path, given: dict[str, Any], capsys: Any
) -> None:
    other = threshold_file(tmp_path / "t.json", two_label_bundle)
    assert run(command(tiny_bundle, tmp_path, other)) == 1
    assert "another" in capsys.readouterr().err
    assert run([*command(tiny_bundle, tmp_path, other), "--force"]) == 0
    assert given["threshold"] == 0.25
