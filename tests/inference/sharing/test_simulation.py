"""The simulation of many cores agrees with what can be computed by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from skinclf.inference.sharing.simulation import Setting, Stages, best, rate

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


def test_waiting_for_a_disk_takes_no_core() -> None:
    stages = replace(FREE, decode=0.001, network=0.001, decode_wait=0.020)
    assert rate(stages, 8, Setting(workers=4, processes=False, streams=8)) == pytest.approx(
        4 / 0.021, rel=0.03
    )
    setting, top = best(stages, 8, ways=(False,))
    assert setting.workers == 8
    assert top == pytest.approx(8 / 0.021, rel=0.03)


def test_an_accelerator_is_the_limit_and_a_few_workers_keep_it_busy() -> None:
    stages = replace(FREE, network=0.0, device=0.002)
    setting, top = best(stages, 16, ways=(False,), streams=1)
    assert top == pytest.approx(1 / 0.002, rel=0.03)
    assert 2 <= setting.workers <= 3
