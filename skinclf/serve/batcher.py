"""The micro-batcher: images of many requests share calls of the network, and each request gets its own rows back.

Two threads. The collector takes waiting images, gives each a place in a batch and starts decoding it at once. The
network thread waits for the batch's decoders, scores it and hands out the rows.

A batch is closed when it is full, or when the network is free and no other image is on its way: a lone image starts at
once, and those that come while it is computed are the next batch. Where uploads are being received, an image waits for
them, at most `max_wait`.

What the numbers are does not depend on who else is in a batch: a runtime that computes images one by one is given the
images that are there; any other is always given the whole batch, with blank slots, as `skinclf.inference.engine` does.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field

from skinclf.errors import ImageError, MissingExtraError, SkinclfError
from skinclf.images.named_bytes import NamedBytes
from skinclf.inference.decode_limits import DecodeLimits
from skinclf.inference.decode_workers import Buffer, Decoder
from skinclf.inference.engine import DEPTH, Network
from skinclf.inference.scorer import ScoredBatch, Scorer
from skinclf.serve.metrics import Metrics

logger = logging.getLogger("skinclf")

#: Outcome of one image: its row, or why there is none.
Outcome = ScoredBatch | ImageError


class BusyError(SkinclfError):
    """The queue is full.

    Attributes:
        seconds: Seconds after which there is probably room again.
    """

    def __init__(self, seconds: int) -> None:
        super().__init__("The server has as many images waiting as it takes; try again later.")
        self.seconds = seconds


class Ticket:
    """Images of one request on their way.

    Attributes:
        done: Outcomes in the order of the images, when all are there.
    """

    def __init__(self, count: int, deadline: float) -> None:
        self.done: Future[list[Outcome]] = Future()
        self._outcomes: list[Outcome | None] = [None] * count
        self._left = count
        self._deadline = deadline
        self._cancelled = False
        self._lock = threading.Lock()

    def cancel(self) -> None:
        """Drop what has not been computed: the client went away, or the deadline has passed."""
        self._cancelled = True

    @property
    def wanted(self) -> bool:
        """Whether there still is a client that waits for it."""
        return not self._cancelled and time.monotonic() < self._deadline and not self.done.done()

    def settle(self, index: int, outcome: Outcome) -> None:
        """Record the outcome of one image."""
        with self._lock:
            self._outcomes[index] = outcome
            self._left -= 1
            if self._left == 0 and not self.done.done():
                self.done.set_result([o for o in self._outcomes if o is not None])

    def fail(self, error: BaseException) -> None:
        """End the whole request: the network cannot go on."""
        with self._lock:
            if not self.done.done():
                self.done.set_exception(error)


@dataclass(slots=True)
class _Item:
    source: NamedBytes
    ticket: Ticket
    index: int
    since: float


@dataclass(slots=True)
class _Batch:
    buffer: Buffer
    items: list[_Item] = field(default_factory=list)
    decoding: list[Future[ImageError | None]] = field(default_factory=list)


class Batcher:
    """Scores images of concurrent requests in shared batches.

    Args:
        scorer: Turns images into probabilities.
        batch_size: Images per call of the network.
        max_wait: Seconds that an image waits for uploads that are being received.
        max_queue: Images that may wait or be in hand.
        workers: Number of decode workers.
        processes: Whether the workers are processes, so that an image cannot harm the server.
        limits: What one image may take in a process.
        metrics: Where batches and waiting times are counted.
    """

    def __init__(
        self,
        scorer: Scorer,
        *,
        batch_size: int,
        max_wait: float,
        max_queue: int,
        workers: int,
        processes: bool = True,
        limits: DecodeLimits | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self._scorer, self._batch_size = scorer, batch_size
        self._max_wait, self._max_queue = max_wait, max_queue
        self._metrics = metrics or Metrics()
        self._decoder = Decoder(
            scorer.prepare, scorer.layout, workers=workers, processes=processes, limits=limits
        )
        self._network = Network(scorer, threaded=False)
        self._free: queue.SimpleQueue[Buffer] = queue.SimpleQueue()
        for _ in range(DEPTH):
            self._free.put(self._decoder.buffer(batch_size))
        self._closed: queue.SimpleQueue[_Batch | None] = queue.SimpleQueue()
        self._waiting: deque[_Item] = deque()
        self._changed = threading.Condition()
        self._in_hand = 0  # images that were accepted and have no outcome yet
        self._arriving = 0  # uploads that are being received
        self._scoring = 0  # batches closed and not scored
        self._rate = 0.0  # images a second, smoothed
        self._stopping = False
        self._broken: BaseException | None = None
        self._threads = [
            threading.Thread(target=self._guarded, args=(work,), name=f"skinclf-{name}", daemon=True)
            for name, work in (("collect", self._collect), ("network", self._score_all))
        ]
        for thread in self._threads:
            thread.start()

    @property
    def alive(self) -> bool:
        """Whether it takes images."""
        return self._broken is None and not self._stopping

    @property
    def in_hand(self) -> int:
        """Images that wait or are being computed."""
        return self._in_hand

    @contextmanager
    def arriving(self) -> Iterator[None]:
        """Announce images that are being received, as long as the context lasts."""
        with self._changed:
            self._arriving += 1
        come = False
        try:
            yield
            come = True
        finally:
            with self._changed:
                self._arriving -= 1
                if not come:  # otherwise the collector wakes when they are submitted, and finds them
                    self._changed.notify_all()

    def submit(self, sources: Sequence[NamedBytes], *, seconds: float) -> Ticket:
        """Accept the images of one request, all or none.

        Args:
            sources: Encoded images, at least one.
            seconds: Seconds until their outcome is of no use.

        Raises:
            BusyError: The queue is full.
            SkinclfError: The network or the decoders have failed before.
        """
        now = time.monotonic()
        ticket = Ticket(len(sources), now + seconds)
        with self._changed:
            if self._broken is not None:
                raise SkinclfError("The model has failed; restart the server.") from self._broken
            if self._in_hand + len(sources) > self._max_queue:
                rate = self._rate or 1.0
                raise BusyError(min(60, max(1, round(self._in_hand / rate))))
            self._in_hand += len(sources)
            self._waiting.extend(_Item(s, ticket, i, now) for i, s in enumerate(sources))
            self._changed.notify_all()
        return ticket

    def close(self) -> None:
        """Finish what is in hand, then stop threads and decoders."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self._network.close()
        self._decoder.close()

    def _guarded(self, work: object) -> None:
        try:
            work()  # type: ignore[operator]
        except BaseException as error:  # the server stays, and says so
            logger.error("The server cannot classify any more: %s", type(error).__name__)  # noqa: TRY400 - no names
            logger.debug("Traceback", exc_info=True)
            self._break(error)
            with self._changed:
                waiting, self._waiting = list(self._waiting), deque()
            for item in waiting:
                item.ticket.fail(error)
            self._closed.put(None)

    def _break(self, error: BaseException) -> None:
        """Take no more images; before a waiting request is told of the error, so that none is taken in after it."""
        with self._changed:
            self._broken = error

    def _collect(self) -> None:
        while True:
            first = self._next(None)
            if first is None:
                self._closed.put(None)
                return
            batch = _Batch(self._free.get())
            until = first.since + self._max_wait
            item: _Item | None = first
            reason = "wait"
            while item is not None:
                self._place(batch, item)
                if len(batch.items) == self._batch_size:
                    reason = "full"
                    break
                item = self._next(until)
            if not batch.items:
                self._free.put(batch.buffer)
                continue
            self._metrics.batch(len(batch.items), reason)
            with self._changed:
                self._scoring += 1
            self._closed.put(batch)

    def _next(self, until: float | None) -> _Item | None:
        """The next image that is wanted; None when a batch is to be closed, at `until` or before, or when stopping."""
        with self._changed:
            while True:
                while self._waiting:
                    item = self._waiting.popleft()
                    if item.ticket.wanted:
                        return item
                    self._in_hand -= 1
                    self._metrics.dropped += 1
                if self._stopping or self._broken is not None:
                    return None
                left = None  # while the network is busy, nothing is lost by waiting for more
                if until is not None and self._scoring == 0:
                    left = until - time.monotonic() if self._arriving else 0.0
                    if left <= 0:
                        return None
                self._changed.wait(left)

    def _place(self, batch: _Batch, item: _Item) -> None:
        self._metrics.waited(time.monotonic() - item.since)
        batch.items.append(item)
        try:
            batch.decoding.append(self._decoder.submit(item.source, batch.buffer, len(batch.items) - 1))
        except BaseException as error:
            self._break(error)
            for placed in batch.items:
                placed.ticket.fail(error)
            raise

    def _score_all(self) -> None:
        while (batch := self._closed.get()) is not None:
            start = time.monotonic()
            try:
                self._score(batch)
            except BaseException as error:
                if not isinstance(error, Exception):
                    self._break(error)
                for item in batch.items:
                    item.ticket.fail(error)
                if not isinstance(error, Exception):
                    raise
                logger.error("A batch has failed: %s", type(error).__name__)  # noqa: TRY400 - its text may name files
                logger.debug("Traceback", exc_info=True)
            finally:
                self._free.put(batch.buffer)
                rate = len(batch.items) / max(1e-6, time.monotonic() - start)
                with self._changed:
                    self._in_hand -= len(batch.items)
                    self._scoring -= 1
                    self._rate = rate if self._rate == 0 else 0.8 * self._rate + 0.2 * rate
                    self._changed.notify_all()

    def _score(self, batch: _Batch) -> None:
        good: list[int] = []
        for i, (item, decoded) in enumerate(zip(batch.items, batch.decoding, strict=True)):
            try:
                error = decoded.result()
            except (
                MissingExtraError
            ) as missing:  # would stop a run of `predict`; here it is this image's failure
                error = ImageError("unsupported", f"{item.source.name}: {missing}")
            except Exception as broken:
                item.ticket.fail(broken)
                continue
            if error is not None:
                item.ticket.settle(item.index, error)
            elif item.ticket.wanted:
                good.append(i)
            else:
                self._metrics.dropped += 1
        if not good:
            return
        if self._scorer.one_by_one:
            at: slice | list[int] = slice(len(good)) if good == list(range(len(good))) else good
            pixels = tuple(array[at] for array in batch.buffer.arrays)
            rows = range(len(good))
        else:
            for i in set(range(self._batch_size)).difference(good):
                batch.buffer.clear(i)
            pixels, rows = batch.buffer.arrays, good  # type: ignore[assignment]
        scored = self._network.score(self._network.stage(pixels))
        for i, row in zip(good, rows, strict=True):
            batch.items[i].ticket.settle(batch.items[i].index, scored.take([row]))
