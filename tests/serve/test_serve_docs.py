"""The commands and the client of docs/serve.md, as they are written there."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.command_lines import command_lines, parse
from support.metadata import fake_terms
from support.pictures import encode
from support.server import Running, running

from skinclf.images.synthetic import synthetic_lesion
from skinclf.models.bundle import read_spec, write_spec

TEXT = (Path(__file__).parents[2] / "docs" / "serve.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8000/"


@pytest.fixture(scope="module")
def server(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = Path(shutil.copytree(tiny_bundle, tmp_path_factory.mktemp("docs") / "tiny"))
    spec = read_spec(folder)
    write_spec(folder, spec.replace(metadata=fake_terms(spec)))
    with running(folder, processes=False) as started:
        yield started


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "a.jpg").write_bytes(encode(synthetic_lesion(1, width=120, height=90)))
    (tmp_path / "b.png").write_bytes(encode(synthetic_lesion(2, width=120, height=90), "PNG"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_commands_are_understood():
    lines = command_lines(TEXT)
    assert len(lines) >= 4
    for line in lines:
        assert parse(line)[0] == "serve"


def test_the_client_of_few_lines_gets_a_row(server: Running, folder: Path):
    code = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)[0]
    assert len([line for line in code.splitlines() if line]) <= 6
    names: dict[str, Any] = {}
    exec(code.replace(ADDRESS, server.url), names)  # code of our own page
    row = names["predict"]("a.jpg")
    assert row["status"] == "ok"
    assert row == server.predict([("image-0", (folder / "a.jpg").read_bytes())]).json()["predictions"][0]


def test_curl_gets_what_the_page_says(server: Running, folder: Path):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    lines = [line[2:] for line in TEXT.splitlines() if line.startswith("$ curl ")]
    assert len(lines) == 6
    said = [
        subprocess.run(
            ["sh", "-c", line.replace(ADDRESS, server.url)], capture_output=True, check=True, timeout=120
        ).stdout
        for line in lines
    ]
    assert b'"image": "b.png"' in said[0]
    assert said[1].startswith(b"image,probability_malignant,")
    assert b'"threshold": 0.3' in said[2]
    assert b'"contributions": {"image": ' in said[4]
    assert b'"metadata_shift": 1.2' in said[5]
    assert (folder / "map.png").read_bytes().startswith(b"\x89PNG")
