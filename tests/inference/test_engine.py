"""The engine: one outcome per input, in order, whatever the batch size, the workers and the failures."""

from __future__ import annotations

import os
import threading
from itertools import product

import numpy as np
import pytest
from support.fake_scorer import FakeScorer, KillerPixels

from skinclf.errors import ImageError, MissingExtraError, SkinclfError
from skinclf.inference.decode_workers import Decoder, default_workers
from skinclf.inference.engine import DEPTH, Times, stream

WAYS = [(0, None), (1, None), (4, None), (2, True)]


def outcomes(sources, scorer=None, *, batch_size=4, workers=2, processes=None, **more):
    """Key, probabilities or failure code, for each input."""
    result = []
    named = ((str(s), s) for s in sources)
    for batch in stream(
        named, scorer or FakeScorer(), batch_size=batch_size, workers=workers, processes=processes, **more
    ):
        for i, key in enumerate(batch.keys):
            error = batch.errors[i]
            result.append((key, error.code if error else batch.scored.probabilities[i]))
    return result


def test_every_way_gives_the_same_numbers_in_order(image_dir, damaged_files):
    sources = sorted(image_dir.iterdir())
    sources[3:3] = [damaged_files["empty"].path]
    sources += [damaged_files["truncated_jpeg"].path]
    expected = outcomes(sources, batch_size=1, workers=0)
    assert [key for key, _ in expected] == [str(s) for s in sources]
    assert [value for _, value in expected if isinstance(value, str)] == ["empty", "truncated"]
    for (workers, processes), size in product(WAYS, (1, 3, 32)):
        if processes and size != 3:
            continue  # spawning takes its time
        found = outcomes(sources, batch_size=size, workers=workers, processes=processes)
        assert [k for k, _ in found] == [k for k, _ in expected]
        for (_, a), (_, b) in zip(found, expected, strict=True):
            assert np.array_equal(a, b)


def test_every_call_of_the_network_has_the_same_shape(image_dir, damaged_files):
    sources = [*sorted(image_dir.iterdir()), damaged_files["empty"].path]
    scorer = FakeScorer()
    outcomes(sources, scorer, batch_size=5)
    assert scorer.calls == [5, 5]
    scorer = FakeScorer()
    outcomes(sources[:1], scorer, batch_size=5)
    assert scorer.calls == [1]
    scorer = FakeScorer()
    outcomes(sources[:1], scorer, batch_size=5, continued=True)
    assert scorer.calls == [5]


def test_batches_without_a_good_image_need_no_network(damaged_files):
    scorer = FakeScorer()
    found = outcomes([damaged_files["empty"].path] * 7, scorer, batch_size=3)
    assert [value for _, value in found] == ["empty"] * 7
    assert scorer.calls == []
    assert outcomes([]) == []


def test_a_blank_slot_is_neither_decoded_nor_scored(image_dir):
    paths = sorted(image_dir.iterdir())[:3]
    inputs = [("a", paths[0]), ("skip", None), ("c", paths[2])]
    (batch,) = stream(inputs, FakeScorer(), batch_size=4, workers=0)
    plain = dict(outcomes(paths, batch_size=4, workers=0))
    assert np.array_equal(batch.scored.probabilities[0], plain[str(paths[0])])
    assert np.array_equal(batch.scored.probabilities[2], plain[str(paths[2])])


@pytest.mark.parametrize("workers", [0, 3])
def test_inputs_are_taken_only_a_window_ahead(image_dir, workers):
    paths, taken = sorted(image_dir.iterdir()), 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield taken, paths[taken % len(paths)]

    running = stream(endless(), FakeScorer(), batch_size=4, workers=workers)
    for n in range(1, 6):
        next(running)
        assert taken <= 4 * (n + DEPTH)
    running.close()


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")]
)
def test_out_of_memory_halves_the_batch_and_loses_no_row(image_dir, error, caplog):
    class Small(FakeScorer):
        def score(self, batch):
            if len(batch[0]) > 3:
                self.calls.append(-len(batch[0]))
                raise error
            return super().score(batch)

    sources = sorted(image_dir.iterdir()) * 3
    scorer = Small()
    found = outcomes(sources, scorer, batch_size=16)
    for (_, a), (_, b) in zip(found, outcomes(sources, batch_size=16), strict=True):
        assert np.array_equal(a, b)
    assert scorer.calls[:4] == [-16, -8, -4, 2]
    assert all(n == 2 for n in scorer.calls[3:])  # it does not try again what did not fit
    assert "Out of memory with 16 images" in caplog.text


def test_one_image_that_does_not_fit_is_an_error(image_dir):
    class Full(FakeScorer):
        def score(self, batch):
            raise MemoryError

    with pytest.raises(MemoryError):
        outcomes(sorted(image_dir.iterdir()), Full())


def test_other_errors_of_the_network_are_not_swallowed(image_dir):
    class Broken(FakeScorer):
        def score(self, batch):
            raise RuntimeError("a bug")

    for workers in (0, 2):
        with pytest.raises(RuntimeError, match="a bug"):
            outcomes(sorted(image_dir.iterdir()), Broken(), workers=workers)


@pytest.mark.parametrize(("workers", "processes"), WAYS)
def test_an_unexpected_error_while_decoding_costs_one_row(image_dir, tmp_path, workers, processes):
    good = sorted(image_dir.iterdir())
    scorer = FakeScorer(prepare=KillerPixels(str(tmp_path / "m")))
    found = outcomes([good[0], "boom.jpg", good[1]], scorer, workers=workers, processes=processes)
    assert found[1] == ("boom.jpg", "unreadable")
    assert isinstance(found[2][1], np.ndarray)


def test_a_missing_extra_ends_the_run():
    def prepare(source):
        raise MissingExtraError("enhance", "This step")

    with pytest.raises(MissingExtraError):
        outcomes(["a.jpg"], FakeScorer(prepare=prepare))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs signals")
def test_a_killed_worker_is_replaced_and_its_image_tried_once_more(image_dir, tmp_path):
    good = sorted(image_dir.iterdir())
    once, always = image_dir / "kill-once.jpg", image_dir / "kill-always.jpg"
    for path in (once, always):
        path.write_bytes(good[0].read_bytes())
    scorer = FakeScorer(prepare=KillerPixels(str(tmp_path / "marker")))
    sources = [*good[:3], once, *good[3:6], always, *good[6:]]
    found = dict(outcomes(sources, scorer, workers=2, processes=True))
    assert found[str(always)] == "worker_died"
    assert isinstance(found[str(once)], np.ndarray)
    assert sum(isinstance(v, np.ndarray) for v in found.values()) == len(sources) - 1


def test_processes_that_cannot_start_are_an_error(image_dir):
    class Unpicklable(FakeScorer):
        pass

    scorer = Unpicklable(prepare=FailsToUnpickle())
    with pytest.raises(SkinclfError, match="did not start"):
        outcomes(sorted(image_dir.iterdir()), scorer, workers=1, processes=True)


class FailsToUnpickle:
    def __call__(self, source):
        raise AssertionError

    def __reduce__(self):
        return _fail, ()


def _fail():
    raise ImportError("as under a script without a main guard")


def test_automatic_processes_leave_the_first_images_to_threads(image_dir):
    scorer = FakeScorer()
    decoder = Decoder(scorer.prepare, scorer.layout, workers=8)
    assert decoder.processes
    buffer = decoder.buffer(8)
    futures = [decoder.submit(path, buffer, i) for i, path in enumerate(sorted(image_dir.iterdir()))]
    assert [f.result() for f in futures] == [None] * 8
    assert not decoder._children
    decoder.close()


def test_in_memory_sources_and_their_failures(image_dir, synthetic_image):
    data = min(image_dir.iterdir()).read_bytes()
    sources = [data, synthetic_image, synthetic_image[..., :2], b""]
    values = [value for _, value in outcomes(sources)]
    assert [v if isinstance(v, str) else "ok" for v in values] == ["ok", "ok", "unsupported", "empty"]


def test_waiting_is_counted_where_it_happens(image_dir):
    times = Times()
    outcomes(sorted(image_dir.iterdir()), FakeScorer(seconds=0.05), times=times)
    assert max(times.shares(), key=times.shares().get) == "network"
    assert sum(times.shares().values()) == pytest.approx(1)
    assert sum(Times().shares().values()) == 0


def test_decoding_goes_on_while_the_network_works():
    decoded = threading.Semaphore(0)

    def prepare(source):
        decoded.release()
        return (np.zeros((16, 16, 3), np.uint8),)

    class Waits(FakeScorer):
        def score(self, batch):
            # Four images for this batch, and four of the next one, before this one is done.
            assert self.calls or all(decoded.acquire(timeout=20) for _ in range(8))
            return super().score(batch)

    assert len(outcomes(["x"] * 12, Waits(prepare=prepare), batch_size=4, workers=1)) == 12


def test_the_next_batch_is_staged_while_the_network_works():
    staged = threading.Semaphore(0)

    class Device(FakeScorer):
        def stage(self, batch):
            staged.release()
            return tuple(255 - pixels for pixels in batch)  # which score undoes

        def score(self, batch):
            # This batch, and the next one, before this one is done.
            assert self.calls or all(staged.acquire(timeout=20) for _ in range(2))
            return super().score(tuple(255 - pixels for pixels in batch))

    pixels = [np.full((16, 16, 3), i, np.uint8) for i in range(12)]
    ways = {workers: outcomes(pixels, Device(), batch_size=4, workers=workers) for workers in (1, 2)}
    plain = outcomes(pixels, batch_size=4, workers=0)
    for found in ways.values():
        assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(found, plain, strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_that_cannot_be_staged_for_want_of_memory_is_scored_in_parts(image_dir, workers):
    class Full(FakeScorer):
        def stage(self, batch):
            raise RuntimeError("CUDA out of memory")

    class Broken(FakeScorer):
        def stage(self, batch):
            raise RuntimeError("a bug")

    sources = sorted(image_dir.iterdir())
    found = outcomes(sources, Full(), workers=workers)
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(found, outcomes(sources), strict=True))
    with pytest.raises(RuntimeError, match="a bug"):
        outcomes(sources, Broken(), workers=workers)


def test_default_workers_stay_within_the_machine():
    assert 1 <= default_workers() <= 16


def test_image_errors_keep_their_code_across_processes(damaged_files):
    found = outcomes([damaged_files["text"].path], workers=1, processes=True)
    assert found[0][1] == "not_an_image"
    assert ImageError("empty", "x").code == "empty"
