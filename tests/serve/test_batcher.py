"""The micro-batcher with a scorer of a few lines: shapes of batches, order, dropped work, failures."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pytest
from support.fake_scorer import FakeScorer
from support.pictures import encode

from skinclf.errors import ImageError, MissingExtraError, SkinclfError
from skinclf.images.named_bytes import NamedBytes
from skinclf.images.synthetic import synthetic_lesion
from skinclf.inference.scorer import ScoredBatch
from skinclf.serve.batcher import Batcher, BusyError

PICTURES = [NamedBytes(encode(synthetic_lesion(i, width=60, height=40)), f"{i}.jpg") for i in range(10)]


@contextmanager
def batcher(scorer: FakeScorer, **options: Any) -> Iterator[Batcher]:
    made = Batcher(
        scorer,
        **{"batch_size": 4, "max_wait": 0.05, "max_queue": 100, "workers": 1, "processes": False, **options},
    )
    try:
        yield made
    finally:
        made.close()


def probabilities(outcomes: list[Any]) -> list[list[float]]:
    assert all(isinstance(outcome, ScoredBatch) for outcome in outcomes)
    return [outcome.probabilities[0].tolist() for outcome in outcomes]


@pytest.mark.parametrize("workers", [0, 2])
def test_each_request_gets_its_own_rows(workers: int):
    scorer = FakeScorer()
    expected = [scorer.score((scorer.prepare(p)[0][None],)).probabilities[0].tolist() for p in PICTURES]
    with batcher(scorer, workers=workers) as made:
        tickets = [made.submit([PICTURES[i], PICTURES[9 - i]], seconds=60) for i in range(10)]
        for i, ticket in enumerate(tickets):
            assert probabilities(ticket.done.result()) == [expected[i], expected[9 - i]]


def test_the_network_sees_one_shape_unless_it_computes_images_one_by_one():
    scorer = FakeScorer()
    with batcher(scorer) as made:
        made.submit(PICTURES[:1], seconds=60).done.result()
        made.submit(PICTURES[:7], seconds=60).done.result()
    assert set(scorer.calls) == {4}
    scorer = FakeScorer()
    scorer.one_by_one = True
    with batcher(scorer) as made:
        made.submit([PICTURES[0], NamedBytes(b"x", "bad"), PICTURES[1]], seconds=60).done.result()
    assert scorer.calls == [2]


def test_requests_share_a_batch_while_the_network_is_busy():
    scorer = FakeScorer(seconds=0.3)
    with batcher(scorer, max_wait=0.0) as made:
        first = made.submit(PICTURES[:1], seconds=60)
        time.sleep(0.1)
        others = [made.submit(PICTURES[i : i + 1], seconds=60) for i in range(1, 5)]
        for ticket in (first, *others):
            ticket.done.result()
    assert len(scorer.calls) == 2


def test_a_lone_image_starts_at_once():
    with batcher(FakeScorer(), max_wait=60) as made:
        for _ in range(3):
            made.submit(PICTURES[:1], seconds=60).done.result(20)


def test_an_image_waits_for_an_upload_under_way():
    scorer = FakeScorer()
    with batcher(scorer, max_wait=60) as made:
        with made.arriving():
            first = made.submit(PICTURES[:1], seconds=60)
            time.sleep(0.2)
            assert not first.done.done()
        second = made.submit(PICTURES[1:2], seconds=60)
        first.done.result(20)
        second.done.result(20)
    assert len(scorer.calls) == 1


def test_an_image_waits_for_a_slow_upload_no_longer_than_it_must():
    with batcher(FakeScorer(), max_wait=0.05) as made, made.arriving():
        made.submit(PICTURES[:1], seconds=60).done.result(20)


def test_an_image_does_not_wait_for_an_upload_that_was_refused():
    with batcher(FakeScorer(), max_wait=60) as made:
        with suppress(ValueError), made.arriving():
            ticket = made.submit(PICTURES[:1], seconds=60)
            time.sleep(0.1)
            assert not ticket.done.done()
            raise ValueError("refused")
        ticket.done.result(20)


def test_cancelled_and_late_work_is_not_computed():
    scorer = FakeScorer(seconds=0.3)
    scorer.one_by_one = True
    with batcher(scorer, max_wait=0.0) as made:
        made.submit(PICTURES[:1], seconds=60)
        time.sleep(0.1)
        cancelled = made.submit(PICTURES[:8], seconds=60)
        late = made.submit(PICTURES[:8], seconds=0.01)
        cancelled.cancel()
        kept = made.submit(PICTURES[:1], seconds=60)
        assert len(kept.done.result()) == 1
        assert not cancelled.done.done()
        assert not late.done.done()
        until = time.monotonic() + 10
        while made.in_hand and time.monotonic() < until:
            time.sleep(0.01)
        assert made.in_hand == 0
    assert sum(scorer.calls) == 2


def test_what_is_in_hand_is_bounded():
    with batcher(FakeScorer(seconds=0.2), max_queue=8) as made:
        ticket = made.submit(PICTURES[:8], seconds=60)
        with pytest.raises(BusyError) as refused:
            made.submit(PICTURES[:1], seconds=60)
        assert refused.value.seconds >= 1
        ticket.done.result()
        until = time.monotonic() + 10
        while made.in_hand and time.monotonic() < until:
            time.sleep(0.01)
        made.submit(PICTURES[:8], seconds=60).done.result()


def test_closing_finishes_what_is_in_hand():
    with batcher(FakeScorer(seconds=0.1), max_wait=5) as made:
        tickets = [made.submit(PICTURES[:3], seconds=60) for _ in range(5)]
    assert all(len(ticket.done.result(0)) == 3 for ticket in tickets)
    assert not made.alive


def test_a_failing_batch_fails_its_requests_and_no_others():
    scorer = FakeScorer()
    score = scorer.score
    with batcher(scorer) as made:
        scorer.score = lambda _batch: (_ for _ in ()).throw(RuntimeError("boom"))  # type: ignore[method-assign]
        with pytest.raises(RuntimeError):
            made.submit(PICTURES[:2], seconds=60).done.result()
        scorer.score = score  # type: ignore[method-assign]
        assert len(made.submit(PICTURES[:2], seconds=60).done.result()) == 2
        assert made.alive


def fail_when(submitted: threading.Event, made: Batcher, error: type[BaseException]) -> list[bool]:
    """Whether the batcher took images at the moment at which a request was told of its error."""
    ticket = made.submit(PICTURES[:1], seconds=60)
    alive: list[bool] = []
    ticket.done.add_done_callback(lambda _: alive.append(made.alive))
    submitted.set()
    with pytest.raises(error):
        ticket.done.result(20)
    return alive


def test_a_broken_decoder_ends_requests_instead_of_hanging(monkeypatch: pytest.MonkeyPatch):
    submitted = threading.Event()

    def gone(*_: object) -> None:
        submitted.wait(20)
        raise SkinclfError("gone")

    with batcher(FakeScorer()) as made:
        monkeypatch.setattr(made._decoder, "submit", gone)
        alive_when_told = fail_when(submitted, made, SkinclfError)
        assert not made.alive
        with pytest.raises(SkinclfError):
            made.submit(PICTURES[:2], seconds=60)
    assert alive_when_told == [False]


def test_a_network_thread_that_ends_takes_no_more_images_when_the_request_is_told():
    class Stopped(BaseException):
        pass

    submitted = threading.Event()
    scorer = FakeScorer()

    def stop(_batch: object) -> None:
        submitted.wait(20)
        raise Stopped

    scorer.score = stop  # type: ignore[assignment,method-assign]
    with batcher(scorer) as made:
        alive_when_told = fail_when(submitted, made, Stopped)
    assert alive_when_told == [False]


def test_a_format_whose_package_is_missing_costs_a_row():
    real = FakeScorer().prepare

    def prepare(source: Any) -> Any:
        if str(source) == "3.jpg":
            raise MissingExtraError("heif", "HEIC")
        return real(source)

    with batcher(FakeScorer(prepare=prepare)) as made:
        outcomes = made.submit(PICTURES[:5], seconds=60).done.result()
    assert [isinstance(outcome, ImageError) for outcome in outcomes] == [False, False, False, True, False]
    assert str(outcomes[3]).startswith("3.jpg: ")


def test_a_bad_image_is_an_outcome_and_its_message_names_it():
    with batcher(FakeScorer()) as made:
        good, bad = made.submit([PICTURES[0], NamedBytes(b"", "empty.png")], seconds=60).done.result()
    assert isinstance(good, ScoredBatch)
    assert isinstance(bad, ImageError)
    assert str(bad) == "empty.png: the file is empty."
    assert np.isfinite(good.probabilities).all()
