"""Search: spaces, samplers, pruning, kill and resume, what it leaves behind."""

from __future__ import annotations

import csv
import json
import math
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from skinclf.errors import InvalidArgumentError, MismatchError
from skinclf.images.synthetic import synthetic_lesion
from skinclf.labels import HAM10000

pytest.importorskip("lightning", reason="training needs the extra `train`")
pytest.importorskip("optuna", reason="search needs the extra `train`")

from filelock import FileLock

from skinclf_cli.main import run as cli
from skinclf_training.config.read import Config, load_config, read_config
from skinclf_training.data.prepare import Prepared, prepare, read_prepared
from skinclf_training.data.split import parse_ratios
from skinclf_training.experiments import search as module
from skinclf_training.experiments.backends import Framework
from skinclf_training.experiments.search import search
from skinclf_training.experiments.search_report import Outcome, TrialRow, write_page
from skinclf_training.experiments.search_space import load_space, read_space

TINY = {
    "name": "tiny",
    "seed": 7,
    "threads": 1,
    "model": {"architecture": "test_efficientnet"},
    "preprocess": {"height": 32, "width": 32},
    "data": {"store_height": 36, "store_width": 48, "batch_size": 16, "workers": 1},
    "augment": {"size": 32},
    "optim": {"epochs": 2, "accelerator": "cpu", "precision": "32-true"},
}
SPACE = {
    "optim.lr": {"low": "1e-4", "high": 0.1, "log": True},
    "augment.scale": {"choices": [[0.9, 1.1], [0.5, 2]]},
}
BASE = read_config(TINY)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Seven classes, 56 small pictures."""
    folder = tmp_path_factory.mktemp("search-data")
    (folder / "images").mkdir()
    lines = ["lesion_id,image_id,dx"]
    for i in range(56):
        Image.fromarray(synthetic_lesion(i % 8, width=48, height=36)).save(folder / "images" / f"i{i:02}.jpg")
        lines.append(f"L{i:02},i{i:02},{HAM10000.codes[i % 7]}")
    (folder / "metadata.csv").write_text("\n".join(lines))
    prepare(
        folder / "metadata.csv",
        [folder / "images"],
        folder / "prepared",
        shares=parse_ratios("70/15/15"),
        seed=1,
        workers=1,
    )
    return read_prepared(folder / "prepared")


def run(
    prepared: Prepared, folder: Path, *, config: Config = BASE, space: dict = SPACE, **options
) -> Outcome:
    return search(config, prepared, folder, read_space(space, config), **{"trials": 3, **options})


@pytest.fixture(scope="module")
def whole(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    folder = tmp_path_factory.mktemp("searches") / "whole"
    return folder, run(prepared, folder)


def seen(outcome: Outcome) -> list[tuple]:
    return [(t.number, t.state, t.value, t.best_epoch, t.params, t.figures) for t in outcome.trials]


# --- the space ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (
            {"optim.learning_rate": {"low": 1, "high": 2}},
            "optim.learning_rate: Unknown configuration keys in 'optim'",
        ),
        ({"optim.lr.peak": {"low": 1, "high": 2}}, "Unknown configuration key 'optim.lr.peak'"),
        ({"optim.lr": {"choices": [0.1, "fast"]}}, "'optim.lr': expected float, received 'fast'"),
        ({"loss.kind": {"choices": ["focal", "hinge"]}}, "loss.kind: .*received 'hinge'"),
        ({"loss.kind": {"low": "a", "high": "b"}}, "loss.kind: "),
        ({"optim.epochs": {"low": 1.5, "high": 2}}, "optim.epochs: .*expected int, received 1.5"),
        ({"augment.flip": {"low": False, "high": True}}, "low and high are for numbers"),
        ({"optim.lr": {"low": 0.0, "high": 1.0, "log": True}}, "above 0 where log"),
        ({"optim.lr": {"low": 0.2, "high": 0.1}}, "low is below high"),
        ({"optim.lr": {"low": 0.1, "high": 0.35, "step": 0.1}}, "a step divides high - low"),
        ({"optim.epochs": {"low": 1, "high": 4, "step": 0.5}}, "a step divides high - low"),
        ({"optim.lr": {"low": 0.1}}, "expected {low, high}"),
        ({"optim.lr": {"low": 0.1, "high": 1, "steps": 3}}, "expected {low, high}"),
        ({"optim.lr": {}}, "expected {low, high}"),
        ({"optim.lr": [0.1, 0.2]}, "expected {low, high}"),
        ({"optim.lr": {"choices": []}}, "at least one value"),
        ({"optim.lr": {"choices": [0.1, 0.1]}}, "listed twice"),
        ({"select": {"choices": ["loss", "accuracy"]}}, "state it in the configuration"),
    ],
)
def test_what_does_not_fit_is_named(space: dict, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        read_space(space, BASE)


def test_a_space_file_holds_keys(tmp_path: Path) -> None:
    for text in ("[1]", "", "a: ["):
        (tmp_path / "space.yaml").write_text(text)
        with pytest.raises(InvalidArgumentError, match=r"space.yaml"):
            load_space(tmp_path / "space.yaml", BASE)


def test_grid_lists_every_combination() -> None:
    space = read_space(
        {
            "optim.lr": {"low": 0.1, "high": 0.3, "step": 0.1},
            "optim.epochs": {"low": 1, "high": 3, "step": 2},
            "augment.scale": {"choices": [[0.9, 1.1], [1, 1]]},
        },
        BASE,
    )
    points = [space.config(BASE, point) for point in space.grid()]
    assert [(p.optim.lr, p.optim.epochs, p.augment.scale) for p in points] == [
        (lr, epochs, scale)
        for lr in (0.1, 0.2, 0.3)
        for epochs in (1, 3)
        for scale in ((0.9, 1.1), (1.0, 1.0))
    ]
    with pytest.raises(InvalidArgumentError, match=r"optim.lr: a grid needs `step` or `choices`"):
        read_space(SPACE, BASE).grid()


# --- the search -----------------------------------------------------------------------------------


def test_trials_are_runs_and_the_best_is_told(prepared: Prepared, whole: tuple[Path, Outcome]) -> None:
    folder, outcome = whole
    assert [t.number for t in outcome.trials] == [0, 1, 2]
    best = outcome.best
    assert best is not None
    for t in outcome.trials:
        place = folder / "trials" / f"{t.number:03d}"
        history = json.loads((place / "history.json").read_text())
        figures = [row["val_macro_auc"] for row in history]
        assert t.figures == dict(enumerate(figures, 1))
        assert t.value == max(figures)
        assert figures[t.best_epoch - 1] == t.value
        config = load_config(str(place / "config.yaml"))
        assert config.optim.lr == t.params["optim.lr"]
        assert list(config.augment.scale) == json.loads(t.params["augment.scale"])
        assert (place / "checkpoints").is_dir() == (t == best)
    assert best.value == max(t.value for t in outcome.trials)
    assert len({t.params["optim.lr"] for t in outcome.trials}) == 3
    assert load_config(str(folder / "best.yaml")) == load_config(
        str(folder / "trials" / f"{best.number:03d}/config.yaml")
    )
    study = json.loads((folder / "study.json").read_text())
    assert (study["objective"], study["direction"], study["best"]["number"]) == (
        "macro_auc",
        "maximize",
        best.number,
    )
    assert study["split_sha256"] == prepared.hash
    with (folder / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["macro_auc"]) for row in rows] == [t.value for t in outcome.trials]
    page = (folder / "report.html").read_text()
    assert "optim.lr" in page
    assert page.count("data:image/png;base64,") == 4
    assert "<script" not in page


def test_a_killed_search_goes_on_as_if_nothing_had_happened(
    prepared: Prepared, whole: tuple[Path, Outcome], tmp_path: Path
) -> None:
    """SIGKILL after the first epoch of the second trial, in a process of its own."""
    (tmp_path / "config.yaml").write_text(BASE.to_yaml())
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(SPACE, sort_keys=False))
    code = (
        "import os, signal, sys\n"
        "import skinclf_training.torch.trainer as t\n"
        "from skinclf_cli.main import main\n"
        "original = t.train\n"
        "def dies(config, prepared, run, *, on_epoch, **options):\n"
        "    def hook(row):\n"
        "        stop = on_epoch(row)\n"
        "        if run.name == '001' and row['epoch'] == 1:\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return stop\n"
        "    return original(config, prepared, run, on_epoch=hook, **options)\n"
        "t.train = dies\n"
        "main(sys.argv[1:])\n"
    )
    words = ["search", "--config", tmp_path / "config.yaml", "--space", tmp_path / "space.yaml"]
    words += ["--data", prepared.folder, "--output", tmp_path / "search", "--trials", "3"]
    command = [str(word) for word in words]
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert sorted(p.name for p in (tmp_path / "search" / "trials").iterdir()) == ["000", "001"]
    assert cli([*command, "--json"]) == 0
    outcome = run(prepared, tmp_path / "search")
    assert seen(outcome) == seen(whole[1])


def test_more_trials_go_on_and_another_search_is_refused(
    prepared: Prepared, whole: tuple[Path, Outcome], tmp_path: Path
) -> None:
    folder = shutil.copytree(whole[0], tmp_path / "search")
    assert seen(run(prepared, folder, trials=2)) == seen(whole[1])
    more = run(prepared, folder, trials=4)
    assert seen(more)[:3] == seen(whole[1])
    assert [t.number for t in more.trials] == [0, 1, 2, 3]
    for change in (
        {"seed": 1},
        {"space": {"optim.lr": SPACE["optim.lr"]}},
        {"config": read_config({**TINY, "seed": 8})},
    ):
        with pytest.raises(MismatchError, match=r"another (seed|space|config)"):
            run(prepared, folder, **change)
    with (
        FileLock(folder / "search.lock"),
        pytest.raises(InvalidArgumentError, match="another search is running"),
    ):
        run(prepared, folder, trials=5)
    (folder / "study.db").unlink()
    with pytest.raises(InvalidArgumentError, match=r"trials without their study\.db"):
        run(prepared, folder)


def test_grid_by_loss_smaller_is_better(prepared: Prepared, tmp_path: Path) -> None:
    config = read_config({**TINY, "select": "loss", "optim": {**TINY["optim"], "epochs": 1}})
    space = {"optim.lr": {"choices": [1e-3, 0.3]}, "loss.class_weights": {"choices": ["none", "balanced"]}}
    outcome = run(
        prepared, tmp_path / "grid", config=config, space=space, sampler="grid", trials=None, keep="all"
    )
    tried = [(t.params["optim.lr"], t.params["loss.class_weights"]) for t in outcome.trials]
    assert tried == [(1e-3, "none"), (1e-3, "balanced"), (0.3, "none"), (0.3, "balanced")]
    assert outcome.best.value == min(t.value for t in outcome.trials)
    assert len(list((tmp_path / "grid" / "trials").glob("*/checkpoints/best.ckpt"))) == 4
    with pytest.raises(InvalidArgumentError, match="the grid has 4 points"):
        run(prepared, tmp_path / "grid", config=config, space=space, sampler="grid", trials=5)
    with pytest.raises(InvalidArgumentError, match="needs `trials`"):
        run(prepared, tmp_path / "none", trials=None)
    with pytest.raises(InvalidArgumentError, match=r"optim\.devices 2"):
        run(prepared, tmp_path / "none", config=read_config({**TINY, "optim": {"devices": 2}}))


@pytest.mark.tensorflow
def test_tensorflow_runs_are_trials_too(prepared: Prepared, tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    config = read_config(
        {
            **TINY,
            "framework": "tensorflow",
            "select": "loss",
            "model": {"architecture": "simple_cnn"},
            "preprocess": {
                "height": 32,
                "width": 32,
                "scaling": "unit",
                "fit": "squash",
                "interpolation": "bilinear",
            },
            "augment": {"preset": "none", "size": 32},
            "optim": {**TINY["optim"], "ema": 0.0},
        }
    )
    outcome = run(
        prepared, tmp_path / "search", config=config, space={"optim.lr": {"choices": [1e-4, 1e-3]}}, trials=2
    )
    for t in outcome.trials:
        history = json.loads(
            (tmp_path / "search" / "trials" / f"{t.number:03d}" / "history.json").read_text()
        )
        assert list(t.figures.values()) == [row["val_loss"] for row in history]
        assert t.value == min(t.figures.values())
    assert load_config(str(tmp_path / "search" / "best.yaml")).framework == "tensorflow"


# --- pruning and failures: real studies, with a function in place of the training --------------------


def stand_in(monkeypatch: pytest.MonkeyPatch, figure) -> list[int]:
    """Replace the training by `figure(config, epoch)`; returns the epochs that each trial came to."""
    epochs = []

    def train(config, _prepared, _run, *, on_epoch, **_options):
        rows = []
        for epoch in range(1, config.optim.epochs + 1):
            rows.append({"epoch": float(epoch), "val_macro_auc": figure(config, epoch), "seconds": 1.0})
            if on_epoch(rows[-1]):
                break
        epochs.append(len(rows))
        return rows

    monkeypatch.setattr(module, "framework", lambda _name: Framework(train, None))
    return epochs


def test_the_median_pruner_stops_the_bad(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = read_config({**TINY, "optim": {**TINY["optim"], "epochs": 8}})
    space = {"optim.lr": {"choices": [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.95]}}
    epochs = stand_in(monkeypatch, lambda c, epoch: c.optim.lr + epoch / 1000)
    outcome = run(prepared, tmp_path / "a", config=config, space=space, sampler="grid", trials=7)
    # Five trials run to their end; the sixth is below their median when the first quarter is over.
    assert epochs == [8, 8, 8, 8, 8, 2, 8]
    assert [t.state for t in outcome.trials] == ["complete"] * 5 + ["pruned", "complete"]
    assert outcome.trials[5].value is None
    assert outcome.best.params == {"optim.lr": 0.95}
    run(prepared, tmp_path / "b", config=config, space=space, sampler="grid", trials=7, pruner="none")
    assert epochs[7:] == [8] * 7


def test_failures_are_recorded_and_counted(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def figure(config: Config, _epoch: int) -> float:
        if config.optim.lr == 0.1:
            raise InvalidArgumentError("bce needs two classes")
        if config.optim.lr == 0.3:
            raise MemoryError("out of memory")
        return math.nan if config.optim.lr == 0.2 else 0.5

    stand_in(monkeypatch, figure)
    options = {"space": {"optim.lr": {"choices": [0.1, 0.2, 0.3, 0.4]}}, "sampler": "grid", "trials": None}
    with pytest.raises(MemoryError):
        run(prepared, tmp_path / "a", **options)
    outcome = run(prepared, tmp_path / "a", **options)
    assert [t.state for t in outcome.trials] == ["failed"] * 3 + ["complete"]
    assert [t.error for t in outcome.trials] == [
        "InvalidArgumentError: bce needs two classes",
        "val_macro_auc was a number in none of 2 epochs",
        "MemoryError: out of memory",
        "",
    ]
    options["space"] = {"optim.lr": {"choices": [0.1, 0.2]}}
    with pytest.raises(
        InvalidArgumentError, match=r"None of 2 trials has a figure; .* bce needs two classes"
    ):
        run(prepared, tmp_path / "b", **options)


def test_importance_finds_the_key_that_matters(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, lambda c, epoch: c.optim.lr + epoch / 1000)
    space = {"optim.lr": {"low": 0.1, "high": 0.9}, "optim.weight_decay": {"low": 0.0, "high": 1.0}}
    outcome = run(prepared, tmp_path, space=space, trials=10, sampler="random")
    assert outcome.importance["optim.lr"] > 0.8
    found = run(prepared, tmp_path / "tpe", space=space, trials=18, sampler="tpe", pruner="none")
    later = [t.params["optim.lr"] for t in found.trials[10:]]
    assert sum(later) / len(later) > 0.6, "the estimator learns from the trials before"


def test_a_page_of_failures_alone_can_be_read(tmp_path: Path) -> None:
    row = TrialRow(
        number=0,
        state="failed",
        value=None,
        best_epoch=None,
        seconds=None,
        params={"optim.lr": 0.1},
        figures={},
        error="<bad>",
    )
    asked = {"config": {"name": "x"}, "sampler": "tpe", "pruner": "none", "seed": 0, "split_sha256": "0" * 64}
    outcome = Outcome(figure="loss", direction="minimize", asked=asked, trials=(row,))
    files = write_page(outcome, tmp_path, read_space({"optim.lr": {"low": 0.1, "high": 1}}, BASE))
    assert [file.name for file in files] == ["report.html"]
    assert "&lt;bad&gt;" in files[0].read_text()
