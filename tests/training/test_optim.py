"""Schedules against torch's own, optimiser groups, and freezing against published numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from skinclf.errors import InvalidArgumentError
from skinclf_training.config.read import Config, ModelConfig, OptimConfig, Phase, StopConfig
from skinclf_training.recipes.schedule import (
    Watch,
    check_phases,
    learning_rate_factor,
    learning_rates,
    phase_at,
    schedule_factor,
)
from skinclf_training.torch.networks.build import build_network
from skinclf_training.torch.networks.freezing import Freezer, layers, stages
from skinclf_training.torch.optim import build_optimizer, set_rates

ASSISTANT = {"design": "skin-condition-assistant", "variant": "efficientnet_b0"}
#: SkinConditionAssistant: first epoch, trainable stages of 9, factor, backbone convolution parameters.
UNFREEZING = (
    (0, 2, 1.0, 1.12),
    (20, 4, 0.5, 3.67),
    (40, 6, 0.2, 3.95),
    (60, 8, 0.1, 3.96),
    (80, 9, 0.05, 3.97),
)


def theirs(make, steps: int, lr: float = 0.5) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"] / lr)
        optimizer.step()
        scheduler.step()
    return rates


def test_cosine_warms_up_and_follows_its_formula() -> None:
    values = [learning_rate_factor(s, warmup=10, total=110, floor=0.1) for s in range(110)]
    assert values[0] == pytest.approx(0.1)
    assert values[9] == pytest.approx(1.0)
    assert values[60] == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi / 2)) / 2)
    assert values[-1] == pytest.approx(0.1, abs=1e-3)
    assert max(values) == pytest.approx(1.0)
    o = OptimConfig(epochs=11, warmup_epochs=1, min_lr=0.1)
    assert [schedule_factor(o, step=s, steps_per_epoch=10) for s in range(110)] == values


def test_warm_restarts_are_torchs() -> None:
    # Dermalyze: T_0 10, T_mult 2, eta_min 1e-6 at a rate of 5e-5, by epoch.
    o = OptimConfig(schedule="warm_restarts", epochs=50, min_lr=0.02, restart_epochs=10, restart_factor=2)
    ours = [schedule_factor(o, step=7 * epoch + 3, steps_per_epoch=7) for epoch in range(50)]
    wanted = theirs(
        lambda x: lr_scheduler.CosineAnnealingWarmRestarts(x, T_0=10, T_mult=2, eta_min=1e-6), 50, lr=5e-5
    )
    assert ours == pytest.approx(wanted)
    assert ours[10] == ours[30] == 1.0


def test_onecycle_is_torchs() -> None:
    # Dermalyze: pct_start 0.1.
    o = OptimConfig(schedule="onecycle", epochs=10, warmup_epochs=1.0)
    ours = [schedule_factor(o, step=s, steps_per_epoch=13) for s in range(130)]
    wanted = theirs(
        lambda x: lr_scheduler.OneCycleLR(
            x, max_lr=0.5, total_steps=130, pct_start=0.1, cycle_momentum=False
        ),
        130,
    )
    assert ours == pytest.approx(wanted, abs=1e-9)


def test_constant_is_constant() -> None:
    o = OptimConfig(schedule="constant", warmup_epochs=3)
    assert {schedule_factor(o, step=s, steps_per_epoch=5) for s in range(50)} == {1.0}


@pytest.mark.parametrize("select", ["accuracy", "loss"])
def test_plateau_is_torchs(select: str) -> None:
    o = OptimConfig(schedule="plateau", epochs=99, factor=0.1, patience=2, min_lr=1e-4, lr=0.5, head_lr=0.5)
    config = Config(select=select, optim=o)
    mode = "min" if select == "loss" else "max"
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, mode, factor=0.1, patience=2, min_lr=0.5e-4)
    watch = Watch()
    seen = set()
    for epoch, value in enumerate(np.random.default_rng(0).uniform(0.5, 0.9, 40).tolist()):
        watch.update(config, {select: value}, epoch)
        scheduler.step(value)
        watch = Watch.from_dict(watch.to_dict())
        rate = learning_rates(o, phase_at(o, epoch), watch.factor)["body"]
        assert rate == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-6)
        seen.add(round(rate, 9))
    assert len(seen) > 3


def test_early_stopping_waits_counts_and_needs_enough() -> None:
    config = Config(select="loss", stop=StopConfig(patience=3, min_delta=0.01))
    watch = Watch()
    stopped = []
    for epoch, value in enumerate([0.5, 0.495, 0.48, 0.479, float("nan"), 0.475]):
        watch.update(config, {"loss": value}, epoch)
        stopped.append(watch.stopped)
    # 0.495 is no better by 0.01, 0.48 is; then three epochs are not.
    assert stopped == [False, False, False, False, False, True]
    never = Watch()
    for epoch in range(50):
        never.update(Config(select="loss"), {"loss": 1.0}, epoch)
    assert not never.stopped


def test_a_phase_to_come_is_not_left_out() -> None:
    o = OptimConfig(epochs=10, phases=(Phase(epoch=0, trainable="head"), Phase(epoch=4)))
    config = Config(select="loss", stop=StopConfig(patience=2), optim=o)
    watch = Watch()
    stopped = []
    for epoch in range(8):
        watch.update(config, {"loss": 1.0}, epoch)
        stopped.append(watch.stopped)
    assert stopped.index(True) == 6


@pytest.mark.parametrize("starts", [(1, 2), (0, 0), (0, 5, 3), (0, 12)])
def test_phases_that_are_none(starts: tuple[int, ...]) -> None:
    with pytest.raises(InvalidArgumentError, match="expected 0 first"):
        check_phases(OptimConfig(epochs=12, phases=tuple(Phase(epoch=e) for e in starts)))


@pytest.mark.parametrize(
    ("name", "kind"), [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)]
)
def test_groups_have_their_rates_and_decay(name: str, kind: type) -> None:
    network, _ = build_network(ModelConfig(architecture="test_efficientnet"), 7)
    optimizer = build_optimizer(network, OptimConfig(optimizer=name, lr=1.0, head_lr=2.0, weight_decay=0.3))
    assert type(optimizer) is kind
    set_rates(optimizer, {"body": 0.25, "head": 0.5})
    groups = {g["name"]: g for g in optimizer.param_groups}
    assert set(groups) == {f"{part}/{what}" for part in ("body", "head") for what in ("matrices", "vectors")}
    for group_name, group in groups.items():
        assert group["lr"] == (0.5 if group_name.startswith("head") else 0.25)
        assert group["weight_decay"] == (0.3 if name == "adamw" and group_name.endswith("matrices") else 0)
        assert {p.ndim > 1 for p in group["params"]} == {group_name.endswith("matrices")}
    assert sum(len(g["params"]) for g in groups.values()) == len(list(network.parameters()))


# --- freezing ---------------------------------------------------------------------------------


def assistant(**optim: object) -> tuple[torch.nn.Module, Freezer]:
    with torch.device("meta"):
        network, _ = build_network(
            ModelConfig(architecture="skinclf/published-efficientnet", args=ASSISTANT), 8
        )
    return network, Freezer(network, OptimConfig(**optim))


@pytest.mark.parametrize(("epoch", "count", "factor", "millions"), UNFREEZING)
def test_gradual_unfreezing_as_published(epoch: int, count: int, factor: float, millions: float) -> None:
    phases = tuple(Phase(epoch=e, trainable=f"stages={n}", lr=f, body_lr=0.3) for e, n, f, _ in UNFREEZING)
    o = OptimConfig(epochs=100, batchnorm="frozen", phases=phases, lr=5e-5, head_lr=5e-5)
    network, freezer = assistant(epochs=100, batchnorm="frozen", phases=phases)
    for at in (epoch, epoch + 19):
        learning = freezer.enter(phase_at(o, at))
        assert (learning.stages, learning.of_stages) == (count, 9)
        body = [p for n, p in network.named_parameters() if p.requires_grad and ".features." in n]
        assert sum(p.numel() for p in body) / 1e6 == pytest.approx(millions, abs=0.006)
        rates = learning_rates(o, phase_at(o, at), 1.0)
        assert rates == pytest.approx({"head": 5e-5 * factor, "body": 5e-5 * factor * 0.3})


def test_what_learns_is_counted() -> None:
    network, freezer = assistant()
    assert freezer.enter(Phase()).parameters == freezer.enter(Phase()).of_parameters == 4_338_052
    head = freezer.enter(Phase(trainable="head"))
    assert (head.stages, head.parameters) == (0, 1280 * 256 + 256 + 512 + 256 * 8 + 8)
    assert (
        next(n for n, p in network.named_parameters() if p.requires_grad) == "base_model.classifier.1.weight"
    )
    assert freezer.learning_names("last=1") - freezer.learning_names("head") == {
        "base_model.features.8.1.weight",
        "base_model.features.8.1.bias",
    }


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("mobilenetv2_100", 8),
        ("resnet50", 5),
        ("convnext_tiny", 5),
        ("densenet121", 5),
        ("vit_small_patch16_224", 13),
    ],
)
def test_stages_of_timms_networks(name: str, count: int) -> None:
    with torch.device("meta"):
        plain, _ = build_network(ModelConfig(architecture=name), 7)
        headed, _ = build_network(ModelConfig(architecture=name, head=("relu",)), 7)
    for network, prefix in ((plain, ""), (headed, "backbone.")):
        found = stages(network)
        assert len(found) == count
        assert all(x.startswith(prefix) for stage in found for x in stage)
        body = {
            n
            for n, _ in network.named_parameters()
            if n not in Freezer(network, OptimConfig()).learning_names("head")
        }
        assert {x for stage in found for x in stage} == body
        assert {x for layer in layers(network) for x in layer} == body


@pytest.mark.parametrize("text", ["stages=10", "stages=0", "last=1000", "tail", "stages", "last=-1"])
def test_parts_that_a_network_does_not_have(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="stages=1 to stages=9"):
        assistant(phases=(Phase(trainable=text),))


def norms(network: torch.nn.Module) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    first, last = network.features[0][2], network.features[2][2]
    return tuple(t.clone() for n in (first, last) for t in (n.running_mean, n.weight))


@pytest.mark.parametrize(
    ("policy", "trainable", "moves"),
    [
        ("train", "all", (True, True, True, True)),
        ("train", "stages=1", (False, False, True, True)),
        ("frozen", "all", (False, False, False, False)),
        ("frozen_affine", "all", (True, False, True, False)),
        ("frozen_affine", "head", (True, False, True, False)),
    ],
)
def test_batchnorm_follows_its_policy(policy: str, trainable: str, moves: tuple[bool, ...]) -> None:
    # One published project froze it before `.train()`, which undid that.
    network, _ = build_network(ModelConfig(architecture="simple_cnn"), 3)
    network = network.double()
    freezer = Freezer(network, OptimConfig(batchnorm=policy))
    freezer.enter(Phase(trainable=trainable))
    optimizer = torch.optim.SGD(network.parameters(), lr=10.0)
    before = norms(network)
    for seed in range(3):
        network.train()
        freezer.settle()
        x = torch.from_numpy(np.random.default_rng(seed).normal(size=(4, 3, 16, 16)))
        torch.nn.functional.cross_entropy(network(x), torch.tensor([0, 1, 2, 0])).backward()
        optimizer.step()
        optimizer.zero_grad()
    after = norms(network)
    assert tuple(not torch.equal(a, b) for a, b in zip(before, after, strict=True)) == moves
