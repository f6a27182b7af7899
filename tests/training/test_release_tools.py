"""The tools that release built-in models: every command that they run is one that skinclf has."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from support.command_lines import parse

from skinclf.models.registry import BUILTIN

ROOT = Path(__file__).parents[2]
DEFAULT = "ham10000-efficientnet-lite0"


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ModuleType, ModuleType]]:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import builtin_model
    import steps

    yield builtin_model, steps
    for name in ("builtin_model", "steps"):
        sys.modules.pop(name, None)


@pytest.fixture
def said(tools, monkeypatch) -> list[list[str]]:
    """The commands that were run; each leaves the files that the next step reads."""
    lines: list[list[str]] = []

    def command(module, *arguments, codes=(0,)):
        words = [module, *map(str, arguments)]
        lines.append(words)
        if "--output" in words:
            out = Path(words[words.index("--output") + 1])
            named = {"evaluate": "metrics.json", "explain": "explanation.json"}.get(words[1])
            target = out / named if named else out
            if words[1] not in {"calibrate", "card"}:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text("{}")
        if "--out" in words:
            Path(words[words.index("--out") + 1]).write_text("{}")

    for module in tools:
        monkeypatch.setattr(module, "command", command)
    return lines


@pytest.fixture
def given(tmp_path, monkeypatch) -> Path:
    """Folders and tables as a user has them; the trained bundle is the built-in one."""
    for name in ("images", "other", "masks", "photographs"):
        (tmp_path / name).mkdir()
    (tmp_path / "masks" / "a_segmentation.png").touch()
    (tmp_path / "split.csv").write_text("image_id,dx,split\na,nv,test\nb,mel,train\n")
    shutil.copytree(BUILTIN / DEFAULT, tmp_path / "bundle")
    options = (
        *("--images", "images", "--labels", "split.csv", "--masks", "masks", "--photographs", "photographs"),
        *("--other-images", "other", "--other-labels", "split.csv"),
        *("--work", "work", "--builtin", "builtin", "--cards", "cards"),
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["builtin_model.py", "bundle", *options])
    return tmp_path


def test_every_command_is_one_of_skinclf(tools, said, given):
    tools[0].main()
    known = [parse(shlex.join(words))[0] for words in said if words[0] == "skinclf"]
    assert known.count("tune-threshold") == 3
    for name in (
        "calibrate",
        "metadata fit",
        "metadata compare",
        "robustness",
        "explain",
        "models precision",
    ):
        assert name in known
    assert known.index("calibrate") < known.index("tune-threshold") < known.index("predict")
    assert known[-2:] == ["models verify", "card"]


def test_calibration_comes_before_what_depends_on_it_and_the_model_last(tools, said, given):
    tools[0].main()
    modules = [words[0] for words in said]
    gate = said[modules.index("benchmarks.gate.fit")]
    assert "--bundle" in gate
    assert gate[1] == "work/" + DEFAULT
    assert modules.index("benchmarks.gate.fit") > modules.index("benchmarks.answers.scaled_decoding")
    assert (given / "builtin" / DEFAULT / "model.safetensors").is_file()
    assert (given / "bundle" / "config.json").read_bytes() == (BUILTIN / DEFAULT / "config.json").read_bytes()


def test_the_card_has_every_measurement_beside_it(tools, said, given):
    tools[0].main()
    card = given / "cards" / DEFAULT
    assert sorted(path.name for path in card.iterdir()) == [
        "explanation.json",
        "metrics.json",
        "other-isic-2017.json",
        "robustness.json",
    ]


def test_only_the_images_of_the_test_part_are_predicted(tools, said, given):
    tools[0].main()
    assert Path("work/test.txt").read_text() == "images/a.jpg\n"
    assert Path("work/masks.txt").read_text() == "images/a.jpg\n"


def test_an_interrupted_run_keeps_what_was_measured(tools, said, given):
    tools[0].main()
    first = len(said)
    Path("work/robustness.json").write_text(json.dumps({"kept": True}))
    tools[0].main()
    again = [words[1] for words in said[first:] if words[0] == "skinclf"]
    assert "robustness" not in again
    assert "explain" not in again
    assert json.loads((given / "cards" / DEFAULT / "robustness.json").read_text()) == {"kept": True}


def test_it_ends_where_a_command_fails(tools, monkeypatch):
    monkeypatch.setenv("SKINCLF_MODEL", "")
    with pytest.raises(SystemExit) as ended:
        tools[1].skinclf("models", "show", "no-such-model")
    assert ended.value.code not in {0, None}
