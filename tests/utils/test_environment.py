"""Cores that a process may use: its own, and the share of a container."""

from __future__ import annotations

import math

import pytest

from skinclf._utils import environment
from skinclf._utils.environment import usable_cores


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, math.inf),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, math.inf),
        ({}, math.inf),
    ],
)
def test_the_share_of_a_control_group(tmp_path, files, expected):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert environment._quota(tmp_path) == expected


@pytest.mark.parametrize(("quota", "expected"), [(1.5, 2), (0.2, 1), (math.inf, 8), (64.0, 8)])
def test_usable_cores(monkeypatch, quota, expected):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(environment, "_quota", lambda: quota)
    assert usable_cores() == expected
