"""Kill and resume with everything at once, early stopping, accumulation, trials, and several processes."""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("lightning", reason="training needs the extra `train`")

import torch
from support.train_fixtures import assert_same, final_state, synthetic_data, tiny

from skinclf.errors import InvalidArgumentError
from skinclf_training.config.read import Config
from skinclf_training.data.prepare import Prepared
from skinclf_training.torch.lightning_module import Classifier
from skinclf_training.torch.trainer import train

HEADED = {"architecture": "test_efficientnet", "head": ["dropout=0.5", "dense=16", "batchnorm", "relu"]}
PHASES = [
    {"epoch": 0, "trainable": "head"},
    {"epoch": 1, "trainable": "stages=2", "lr": 0.5},
    {"epoch": 2, "body_lr": 0.3},
]
RUNS: dict[str, dict[str, Any]] = {
    "phases, accumulation, weighted sampler, preset, cutmix, focal, plateau": {
        "model": HEADED,
        "data": {"sampler": "weighted", "batch_size": 4, "drop_last": False},
        "augment": {"preset": "skinconditionassistant-torch", "cutmix": 1.0, "cutmix_prob": 0.7},
        "loss": {"kind": "focal", "class_weights": "none"},
        "optim": {
            "epochs": 4,
            "accumulate": 3,
            "schedule": "plateau",
            "patience": 0,
            "phases": PHASES,
            "batchnorm": "frozen_affine",
            "checkpoint_steps": 1,
        },
        "stop": {"patience": 1},
        "select": "loss",
    },
    "stochastic depth, sgd, warm restarts, bf16, no averages": {
        "model": {"architecture": "test_efficientnet", "drop_path_rate": 0.3},
        "optim": {
            "epochs": 3,
            "optimizer": "sgd",
            "lr": 0.01,
            "schedule": "warm_restarts",
            "restart_epochs": 1,
            "precision": "bf16-mixed",
            "ema": 0.0,
            "checkpoint_steps": 2,
            "clip": 0.1,
        },
        "select": "macro_auc",
    },
}


class KillError(Exception):
    pass


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return synthetic_data(tmp_path_factory.mktemp("resume"))


def train_and_die(config: Config, prepared: Prepared, run: Path, batches: int) -> None:
    calls = 0
    original = Classifier.training_step

    def dies(self: Classifier, batch: Any, batch_idx: int) -> Any:
        nonlocal calls
        calls += 1
        if calls > batches:
            raise KillError
        return original(self, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Classifier, "training_step", dies)
        with pytest.raises(KillError):
            train(config, prepared, run)


@pytest.mark.parametrize("name", RUNS)
def test_a_run_killed_anywhere_goes_on_to_the_same_weights(
    prepared: Prepared, tmp_path: Path, name: str
) -> None:
    config = tiny(**RUNS[name])
    rows = train(config, prepared, tmp_path / "whole")
    batches = sum(1 for _ in rows) * (len(prepared.rows("train")) // config.data.batch_size)
    for seed in (1, 2):
        run = tmp_path / f"run{seed}"
        at = random.Random(seed).randrange(2, batches - 2)
        train_and_die(config, prepared, run, at)
        moved = tmp_path / f"moved{seed}"
        shutil.move(run, moved)
        train(config, prepared, moved)
        assert_same(tmp_path / "whole", moved)
        best, other = (
            torch.load(r / "checkpoints" / "best.ckpt", weights_only=True)
            for r in (tmp_path / "whole", moved)
        )
        assert best["global_step"] == other["global_step"]
    assert len({row["lr"] for row in rows}) > 1 or config.optim.schedule != "plateau"


def test_phases_move_only_what_learns(prepared: Prepared, tmp_path: Path) -> None:
    config = tiny(
        model=HEADED,
        optim={"epochs": 2, "ema": 0.0, "batchnorm": "frozen", "phases": PHASES[:2], "lr": 0.01},
        log={"keep_epochs": 2},
    )
    rows = train(config, prepared, tmp_path / "run")
    one, two = (
        torch.load(tmp_path / "run" / "checkpoints" / f"epoch-{e:03}.ckpt", weights_only=True)["state_dict"]
        for e in (1, 2)
    )
    moved = {k.removeprefix("network.") for k in one if not torch.equal(one[k], two[k])}
    assert any(k.startswith("head") for k in moved)
    body = {k.split(".")[1] + "." + k.split(".")[2] for k in moved if k.startswith("backbone")}
    assert body
    assert all(part.startswith(("blocks.", "conv_head", "bn2")) for part in body)
    assert not any("bn" in part for part in body)
    assert "backbone.conv_stem.weight" not in moved
    assert rows[1]["head_lr"] < rows[0]["head_lr"] / 2


def test_an_early_stop_stays_one(prepared: Prepared, tmp_path: Path) -> None:
    config = tiny(select="accuracy", stop={"patience": 2, "min_delta": 2.0}, optim={"epochs": 6})
    rows = train(config, prepared, tmp_path / "run")
    assert len(rows) == 3
    before = final_state(tmp_path / "run")["global_step"]
    assert train(config, prepared, tmp_path / "run") == rows
    assert final_state(tmp_path / "run")["global_step"] == before


def test_a_rest_of_batches_makes_a_step_of_its_own_size(prepared: Prepared, tmp_path: Path) -> None:
    # Five batches are a step of three and one of two, each with the mean of its batches' gradients.
    config = tiny(
        optim={"epochs": 1, "accumulate": 3, "clip": 0.0, "ema": 0.0},
        augment={"preset": "none", "mixup": 0.0},
        model={"drop_rate": 0.0},
    )
    batches: list[Any] = []
    sizes = []
    step, optimise = Classifier.training_step, Classifier.optimizer_step

    def remember(self: Classifier, batch: Any, batch_idx: int) -> Any:
        batches.append(batch)
        return step(self, batch, batch_idx)

    def compare(self: Classifier, epoch: int, batch_idx: int, optimizer: Any, closure: Any = None) -> None:
        twin = copy.deepcopy(self.network)
        optimise(self, epoch, batch_idx, optimizer, closure)
        for batch in batches:
            soft = torch.nn.functional.one_hot(batch.targets, 7).float()
            (self.loss(twin(self._scaled(batch.images)), soft) / len(batches)).backward()
        for ours, theirs in zip(self.network.parameters(), twin.parameters(), strict=True):
            assert torch.allclose(ours.grad, theirs.grad, rtol=1e-3, atol=1e-6)
        sizes.append(len(batches))
        batches.clear()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Classifier, "training_step", remember)
        patch.setattr(Classifier, "optimizer_step", compare)
        train(config, prepared, tmp_path / "run")
    assert sizes == [3, 2]


@pytest.mark.parametrize("steps", [2, 5])
def test_a_trial_is_validated_and_goes_on(prepared: Prepared, tmp_path: Path, steps: int) -> None:
    config = tiny()
    rows = train(config, prepared, tmp_path / "run", max_steps=steps)
    assert [row["step"] for row in rows] == [steps]
    assert (tmp_path / "run" / "checkpoints" / "best.ckpt").is_file()
    assert train(config, prepared, tmp_path / "run", max_steps=steps) == rows
    train(config, prepared, tmp_path / "run")
    train(config, prepared, tmp_path / "whole")
    assert_same(tmp_path / "whole", tmp_path / "run")


def test_determinism_and_tensorboard(prepared: Prepared, tmp_path: Path) -> None:
    config = tiny(optim={"epochs": 1, "deterministic": True}, log={"tensorboard": True})
    try:
        train(config, prepared, tmp_path / "run")
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
    (events,) = (tmp_path / "run" / "tensorboard").glob("events*")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = EventAccumulator(str(events))
    log.Reload()
    row = json.loads((tmp_path / "run" / "history.json").read_text())[0]
    assert log.Scalars("val_loss")[0].value == pytest.approx(row["val_loss"], rel=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": "isic2019"}, "is for the labels isic2019"),
        ({"select": "f1"}, "select: f1`; expected one of loss, accuracy"),
        ({"optim": {"phases": [{"epoch": 1}]}}, "expected 0 first"),
        ({"optim": {"phases": [{"epoch": 0, "trainable": "last=999"}]}}, "this network has all"),
        ({"loss": {"kind": "bce"}}, "two classes"),
        ({"optim": {"devices": 2}}, "Start 2 with torchrun"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    prepared: Prepared, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        train(tiny(**changes), prepared, tmp_path / "run")


def test_compiling_keeps_the_names(prepared: Prepared) -> None:
    from skinclf_training.torch.networks.build import build_network

    made = []
    for compiled in (False, True):
        config = tiny(optim={"compile": compiled})
        network, _ = build_network(config.model, 7)
        made.append(Classifier(config, network, prepared.labels, np.ones(7, np.float32), batches_per_epoch=1))
        assert (network._compiled_call_impl is not None) == compiled
    assert made[0].state_dict().keys() == made[1].state_dict().keys()


@pytest.mark.slow
def test_two_processes_train_one_network(prepared: Prepared, tmp_path: Path) -> None:
    config = tiny(
        optim={"devices": 2, "epochs": 2, "accumulate": 2, "phases": PHASES[:2], "checkpoint_steps": 1},
        model=HEADED,
    )
    (tmp_path / "c.yaml").write_text(config.to_yaml())
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "import torch\n"
        "from skinclf_training.torch import trainer as t\n"
        "from skinclf_training.config.read import load_config\n"
        "from skinclf_training.data.prepare import read_prepared\n"
        "from skinclf_training.torch.lightning_module import Classifier\n"
        "seen = []\n"
        "step = Classifier.training_step\n"
        "def spy(self, batch, batch_idx):\n"
        "    seen.extend(batch.images.flatten(1).double().sum(1).tolist())\n"
        "    return step(self, batch, batch_idx)\n"
        "def last(self):\n"
        "    folder, rank = Path(sys.argv[3]).parent, os.environ['RANK']\n"
        "    names = [n for n, _ in self.network.named_parameters()]\n"
        "    state = {k: v for k, v in self.state_dict().items() if k.removeprefix('network.') in names}\n"
        "    torch.save({'seen': seen, 'state': state, 'figures': self.figures}, folder / f'rank{rank}.pt')\n"
        "Classifier.training_step, Classifier.on_train_end = spy, last\n"
        "t.train(load_config(sys.argv[1]), read_prepared(Path(sys.argv[2])), Path(sys.argv[3]))\n"
    )
    (tmp_path / "child.py").write_text(code)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-port",
        "0",
        "--rdzv-backend",
        "c10d",
        "--rdzv-endpoint",
        "localhost:0",
        str(tmp_path / "child.py"),
        str(tmp_path / "c.yaml"),
        str(prepared.folder),
        str(tmp_path / "run"),
    ]
    done = subprocess.run(
        command, capture_output=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    one, two = (torch.load(tmp_path / f"rank{r}.pt", weights_only=True) for r in (0, 1))
    assert one["figures"] == two["figures"]
    assert one["state"]
    assert all(torch.equal(v, two["state"][k]) for k, v in one["state"].items())
    # In two epochs every process has four images of each of five batches.
    assert len(one["seen"]) == len(two["seen"]) == 2 * 5 * 4
    rows = json.loads((tmp_path / "run" / "history.json").read_text())
    assert [row["step"] for row in rows] == [3, 6]
