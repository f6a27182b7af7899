"""The number of decode workers follows from stage times; rows never depend on it."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import pytest
from support.fake_scorer import SIZE, FakeScorer

from skinclf import Predictor, write_predictions
from skinclf.inference.decode_workers import Decoder, Spent
from skinclf.inference.engine import Times, stream
from skinclf.inference.sharing.tuner import NetworkSpent, Tuner, _machine, _Reading
from skinclf.jobs.manifest import manifest_path


class SleepingLoader:
    """`prepare` that waits as for a slow disk, and gives pixels that follow from the name."""

    def __init__(self, seconds):
        self.seconds = seconds

    def __call__(self, source):
        time.sleep(self.seconds)
        return (np.full((SIZE, SIZE, 3), int(str(source).rpartition("-")[2]) % 256, np.uint8),)


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """What else the machine does changes nothing here."""
    monkeypatch.setattr("skinclf.inference.sharing.tuner._machine", lambda: (0, 0))


def run(*, workers, decode=0.0, network=0.0, count=96, tuner=None):
    """Probabilities of every input, and the times."""
    scorer = FakeScorer(seconds=network, prepare=SleepingLoader(decode))
    times = Times()
    inputs = ((f"image-{i}", f"image-{i}") for i in range(count))
    batches = stream(inputs, scorer, batch_size=4, workers=workers, times=times, tuner=tuner)
    return np.concatenate([batch.scored.probabilities[: len(batch.keys)] for batch in batches]), times.sharing


def test_slow_decoding_gets_more_workers():
    expected, nothing = run(workers=2)
    assert nothing is None
    found, sharing = run(workers=2, decode=0.02, tuner=Tuner(cores=6, images=16, seconds=0))
    assert (sharing.first, sharing.chosen, sharing.tried) == (2, 6, None)
    assert sharing.chosen_rate > sharing.first_rate
    assert sharing.stages.decode_wait > sharing.stages.device
    assert np.array_equal(found, expected)


def test_a_slow_network_gets_fewer_workers():
    expected, _ = run(workers=2)
    found, sharing = run(workers=6, network=0.08, tuner=Tuner(cores=6, images=16, seconds=0))
    assert sharing.first == 6
    assert 1 in {sharing.chosen, sharing.tried}  # a busy machine may have been slower just then
    assert sharing.stages.device > sharing.stages.decode_wait
    assert np.array_equal(found, expected)


def test_a_short_run_is_left_alone():
    assert run(workers=4, tuner=Tuner(cores=4))[1] is None
    assert run(workers=4, count=8, tuner=Tuner(cores=4, images=16, seconds=0))[1] is None
    assert run(workers=0, tuner=Tuner(cores=4, images=16, seconds=0))[1] is None


@dataclass
class StandIn:
    """A decoder whose images take so many seconds, of waiting and of a core."""

    workers: int
    waiting: float = 0.0
    processes: bool = False
    sizes: list[int] = field(default_factory=list)
    images: int = 0

    @property
    def spent(self):
        self.images += 4
        return Spent(self.images, self.images * self.waiting, 0.0, 0.0)

    def resize(self, workers):
        self.workers = workers
        self.sizes.append(workers)


@pytest.mark.parametrize("slower", [True, False])
def test_what_turns_out_slower_is_taken_back(slower):
    decoder, network = StandIn(4, waiting=0.5), NetworkSpent()
    tuner = Tuner(cores=8, images=20, seconds=0)
    for _ in range(40):
        time.sleep(0.004 if not decoder.sizes else 0.03 if slower else 0.001)
        network.images += 4
        tuner.after_batch(4, decoder, network, batch_size=4)
    assert decoder.sizes == ([8, 4] if slower else [8])
    assert tuner.sharing.chosen == (4 if slower else 8)
    assert tuner.sharing.tried == (8 if slower else None)
    assert ("because 8 gave" in str(tuner.sharing)) == slower
    assert tuner.sharing.to_dict()["milliseconds"]["decode_waiting"] == pytest.approx(500, rel=0.2)


def reading(
    *, images=0, wall=0.0, process=0.0, thread=0.0, seconds=0.0, processor=0.0, here=0.0, network=0.0
):
    return _Reading(images, wall, process, thread, images, seconds, processor, here, images, network)


@pytest.mark.parametrize("processes", [False, True])
def test_on_a_busy_machine_waiting_is_for_a_core(processes):
    here = 1.0 if processes else 10.0
    end = reading(
        images=1000,
        wall=10,
        process=40 - 10 + here,
        thread=1,
        seconds=30,
        processor=10,
        here=here,
        network=10,
    )
    stages = reading().stages(end, cores=4, processes=processes)
    assert stages.rows == pytest.approx(0.001)
    assert stages.network == pytest.approx(0.029)
    assert stages.decode + stages.decode_lock + stages.process_lock == pytest.approx(0.010)
    assert (stages.decode_wait, stages.device) == pytest.approx((0, 0), abs=1e-9)


def test_with_idle_cores_waiting_is_for_something_else():
    end = reading(images=1000, wall=10, process=4, thread=1, seconds=12, processor=2, here=2, network=9)
    stages = reading().stages(end, cores=10, processes=False)
    assert stages.network == pytest.approx(0.001)
    assert stages.decode_wait == pytest.approx(0.96 * 0.010)
    assert stages.device == pytest.approx(0.96 * (0.009 - 0.0001))


def test_cores_that_other_programs_take_are_not_idle(tmp_path):
    times = {"images": 1000, "wall": 10, "process": 4, "thread": 1, "seconds": 12, "processor": 2, "here": 2}
    end = reading(**times, network=9)
    stages = replace(reading(), machine=(100, 900)).stages(
        replace(end, machine=(150, 1100)), cores=10, processes=False
    )
    assert stages.decode_wait == pytest.approx(0.25 * 0.010)
    busy = replace(reading(), machine=(100, 900)).stages(
        replace(end, machine=(100, 1100)), cores=10, processes=False
    )
    assert (busy.decode_wait, busy.device) == (0, 0)
    stat = tmp_path / "stat"
    stat.write_text("cpu  10 20 30 400 50 6 7 8 9 9\ncpu0 1 2 3 4\n")
    assert _machine(stat) == (450, 531)
    assert _machine(tmp_path / "none") == (0, 0)


def test_processes_that_are_too_many_end(image_dir):
    scorer = FakeScorer()
    decoder = Decoder(scorer.prepare, scorer.layout, workers=2, processes=True)
    buffer = decoder.buffer(8)

    def decode():
        paths = sorted(image_dir.iterdir())
        futures = [decoder.submit(path, buffer, i % 8) for i, path in enumerate(paths * 2)]
        assert [f.result() for f in futures] == [None] * len(futures)

    decode()
    spent = decoder.spent
    assert spent.images == 2 * len(list(image_dir.iterdir()))
    assert spent.processor > spent.here > 0
    decoder.resize(1)
    decode()
    end = time.monotonic() + 20
    while len(decoder._children) > 1:
        assert time.monotonic() < end
        time.sleep(0.01)
    decoder.close()


def test_a_run_says_what_was_chosen_and_its_table_is_that_of_any_other(
    image_dir, tmp_path, monkeypatch, caplog
):
    names = sorted(image_dir.iterdir()) * 16
    write_predictions(Predictor(FakeScorer(), workers=3), names, tmp_path / "fixed.csv")
    monkeypatch.setattr("skinclf.inference.engine.Tuner", partial(Tuner, cores=5, images=16, seconds=0))
    monkeypatch.setattr("skinclf.inference.engine.default_workers", lambda: 5)
    with caplog.at_level(logging.INFO, logger="skinclf"):
        write_predictions(Predictor(FakeScorer(seconds=0.03)), names, tmp_path / "tuned.csv")
    assert (tmp_path / "tuned.csv").read_bytes() == (tmp_path / "fixed.csv").read_bytes()
    assert any("Decode workers" in message for message in caplog.messages)
    manifests = [
        json.loads(manifest_path(tmp_path / f"{name}.csv").read_text()) for name in ("fixed", "tuned")
    ]
    fixed, tuned = (manifest["timings"]["workers"] for manifest in manifests)
    assert fixed is None
    assert tuned["first"] == 5
    assert tuned["cores"] == 5
    assert 1 <= tuned["chosen"] <= 5
    assert tuned["reason"] in caplog.messages
