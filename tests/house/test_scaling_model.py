"""The simulation of many cores agrees with what can be computed by hand."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from scaling_model import Setting, Stages, best, rate

FREE = Stages(decode=0.004, decode_lock=0.0, process_lock=0.0, network=0.006, network_lock=0.0, rows=0.0)


@pytest.mark.parametrize("cores", [2, 4, 16])
def test_without_a_lock_all_cores_are_used(cores: int) -> None:
    setting = Setting(workers=cores, processes=False, streams=cores)
    assert rate(FREE, cores, setting) == pytest.approx(cores / 0.010, rel=0.06)


def test_too_few_workers_are_the_limit() -> None:
    setting = Setting(workers=4, processes=False, streams=32)
    assert rate(FREE, 32, setting) == pytest.approx(4 / 0.004, rel=0.03)


def test_the_lock_is_the_limit_of_threads_and_not_of_processes() -> None:
    stages = replace(FREE, decode_lock=0.001, process_lock=0.0001, rows=0.0002)
    threads = Setting(workers=64, processes=False, streams=64)
    assert rate(stages, 64, threads) == pytest.approx(1 / 0.0012, rel=0.02)
    assert rate(stages, 64, replace(threads, processes=True)) == pytest.approx(1 / 0.0003, rel=0.05)


def test_one_core_does_everything_one_after_another() -> None:
    stages = replace(FREE, decode_lock=0.001, network_lock=0.0005, rows=0.0005)
    setting = Setting(workers=1, processes=False, streams=1)
    assert rate(stages, 1, setting) == pytest.approx(1 / stages.whole, rel=0.01)


def test_processes_are_chosen_where_the_lock_shows() -> None:
    stages = replace(FREE, decode_lock=0.001, process_lock=0.0001)
    assert not best(stages, 2)[0].processes
    assert best(stages, 32)[0].processes
