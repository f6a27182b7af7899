"""The streaming engine: decode ahead in workers, score in full batches, answer in input order.

Every call of the network has the same shape: images that failed and the unused end of the last batch are
blank slots. So an image has the same bits whatever its neighbours are, however many inputs there are, and
wherever an interrupted run was taken up again; and compiled runtimes see one shape. (Only a run of a single
input is scored alone. At batch sizes that are no multiple of 16, the place of an image within its batch can
still show in the last bit, because matrix kernels treat left-over rows apart.) Memory is bounded by `DEPTH`
batches, whatever the number of inputs.
"""

from __future__ import annotations

import logging
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Generic, TypeVar

from skinclf.errors import ImageError
from skinclf.images.decode import ImageSource
from skinclf.inference.decode_workers import Buffer, Decoder, default_workers
from skinclf.inference.scorer import Pixels, ScoredBatch, Scorer
from skinclf.inference.sharing.tuner import NetworkSpent, Sharing, Tuner

logger = logging.getLogger("skinclf")
#: Batches in flight: one in the network, one decoded and staged, one being decoded.
DEPTH = 3
_MEMORY = re.compile(r"out of memory|allocate memory|not enough memory|bad.alloc", re.IGNORECASE)

K = TypeVar("K")


@dataclass(slots=True)
class Times:
    """Seconds that the run waited for each of its parts; the largest names the bottleneck.

    Attributes:
        sharing: How decode workers and the network share the machine, once that is chosen.
    """

    inputs: float = 0.0
    decode: float = 0.0
    network: float = 0.0
    write: float = 0.0
    sharing: Sharing | None = None

    @contextmanager
    def add(self, part: str) -> Iterator[None]:
        """Count what happens inside towards one part."""
        start = time.perf_counter()
        try:
            yield
        finally:
            setattr(self, part, getattr(self, part) + time.perf_counter() - start)

    def shares(self) -> dict[str, float]:
        """Share of each part, between 0 and 1."""
        parts = {"inputs": self.inputs, "decode": self.decode, "network": self.network, "write": self.write}
        total = sum(parts.values())
        return {k: v / total if total else 0.0 for k, v in parts.items()}


@dataclass(slots=True)
class Batch(Generic[K]):
    """The outcome of up to `batch_size` inputs.

    Attributes:
        keys: What the caller gave each input, in order.
        errors: For each input its failure, or None.
        scored: Row i belongs to input i (rows of failed inputs are meaningless); None when all failed.
    """

    keys: list[K]
    errors: list[ImageError | None]
    scored: ScoredBatch | None


@dataclass(slots=True)
class _Job(Generic[K]):
    keys: list[K]
    buffer: Buffer
    size: int
    decoding: list[Future[ImageError | None] | None]
    errors: list[ImageError | None] = field(default_factory=list)
    scoring: Future[ScoredBatch | None] | None = None


def stream(
    inputs: Iterable[tuple[K, ImageSource | None]],
    scorer: Scorer,
    *,
    batch_size: int,
    workers: int | None,
    processes: bool | None = None,
    continued: bool = False,
    times: Times | None = None,
    beside: Callable[[Sequence[K], int], Pixels] | None = None,
    tuner: Tuner | None = None,
) -> Iterator[Batch[K]]:
    """Score inputs lazily, in order.

    Args:
        inputs: Pairs of a key, handed back with the outcome, and the source; a source of None is a blank
            slot (an input that needs no scoring). Consumed at most `DEPTH` batches ahead.
        scorer: Turns images into probabilities.
        batch_size: Images per call of the network.
        workers: Decode workers; 0 does everything in the calling thread; None: `default_workers`, then as `tuner` says.
        processes: Whether the workers are processes; None: threads up to `decode_workers.MAX_THREADS`.
        continued: These inputs are part of a larger run, so that even a single one takes a whole batch.
        times: Where waiting is counted.
        beside: Gives the arrays that go with the images of a batch, from their keys and the size of the batch; see
            `Scorer.encodings`.
        tuner: Chooses another number of workers once the first images are measured; None keeps a stated number.

    Raises:
        SkinclfError: The network or a worker cannot go on.
    """
    times = times or Times()
    if workers is None:
        workers, tuner = default_workers(), tuner or Tuner()
    decoder = Decoder(scorer.prepare, scorer.layout, workers=workers, processes=processes)
    network = Network(scorer, threaded=workers > 0, beside=beside)
    try:
        for batch in _pipeline(inputs, decoder, network, batch_size, times, continued=continued):
            yield batch
            if tuner is not None:
                tuner.after_batch(len(batch.keys), decoder, network.spent, batch_size=batch_size)
                times.sharing = tuner.sharing
    finally:
        network.close()
        decoder.close()


def _pipeline(
    inputs: Iterable[tuple[K, ImageSource | None]],
    decoder: Decoder,
    network: Network,
    batch_size: int,
    times: Times,
    *,
    continued: bool,
) -> Iterator[Batch[K]]:
    iterator = iter(inputs)
    depth = DEPTH if decoder.workers else 1
    free: deque[Buffer] = deque()
    decoding: deque[_Job[K]] = deque()
    scoring: deque[_Job[K]] = deque()
    exhausted = False
    while True:
        while not exhausted and len(decoding) + len(scoring) < depth:
            with times.add("inputs"):
                chunk = list(islice(iterator, batch_size))
            exhausted = len(chunk) < batch_size
            if chunk:
                size = 1 if exhausted and not continued and len(chunk) == 1 else batch_size
                buffer = free.popleft() if free else decoder.buffer(size)
                with times.add("decode"):
                    decoding.append(_decode(chunk, buffer, size, decoder))
                continued = True
        if decoding:
            job = decoding.popleft()
            with times.add("decode"):
                job.errors = [f.result() if f else None for f in job.decoding]
            with times.add("network"):  # waits only where there is no network thread
                network.submit(job)
            scoring.append(job)
        if not scoring:
            return
        if len(scoring) == 2 or not decoding or depth == 1:
            job = scoring.popleft()
            with times.add("network"):
                scored = job.scoring.result() if job.scoring else None
            free.append(job.buffer)
            yield Batch(job.keys, job.errors, scored)


def _decode(
    chunk: list[tuple[K, ImageSource | None]], buffer: Buffer, size: int, decoder: Decoder
) -> _Job[K]:
    futures = [
        None if source is None else decoder.submit(source, buffer, i) for i, (_, source) in enumerate(chunk)
    ]
    return _Job([key for key, _ in chunk], buffer, size, futures)


class Network:
    """The scorer, called in two threads of its own: one stages the next batch while the other scores this one.

    So writing, waiting for decoders and, on an accelerator, the copy to it overlap with the network.
    """

    def __init__(
        self, scorer: Scorer, *, threaded: bool, beside: Callable[[Sequence[Any], int], Pixels] | None = None
    ) -> None:
        self._scorer = scorer
        self._beside = beside
        self._stager = ThreadPoolExecutor(1, thread_name_prefix="skinclf-stage") if threaded else None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="skinclf-network") if threaded else None
        self._limit: int | None = None
        self.spent = NetworkSpent()

    def submit(self, job: _Job[K]) -> None:
        """Start scoring a decoded batch."""
        good = [i for i, f in enumerate(job.decoding) if f is not None and job.errors[i] is None]
        if not good:
            return
        for i in set(range(job.size)).difference(good):
            job.buffer.clear(i)
        batch = tuple(a[: job.size] for a in job.buffer.arrays)
        if self._beside is not None:
            batch += self._beside(job.keys, job.size)
        if self._thread is not None and self._stager is not None:
            staged = self._stager.submit(self.stage, batch)
            job.scoring = self._thread.submit(lambda: self.score(staged.result()))
            return
        job.scoring = Future()
        job.scoring.set_result(self.score(self.stage(batch)))

    def stage(self, batch: Pixels) -> Pixels:
        """The batch where the network reads it; as it was, when the device's memory does not hold it as well."""
        try:
            return self._scorer.stage(batch)
        except (MemoryError, RuntimeError) as error:
            if not _no_memory(error):
                raise
            return batch

    def score(self, batch: Pixels) -> ScoredBatch:
        """Scores of a batch; halves it, for good, when the device's memory does not hold it."""
        start, n = time.perf_counter(), len(batch[0])
        scored = self._parts(batch, n)
        self.spent.seconds += time.perf_counter() - start
        self.spent.images += n
        return scored

    def _parts(self, batch: Pixels, n: int) -> ScoredBatch:
        while True:
            step = min(n, self._limit or n)
            try:
                parts = [self._scorer.score(tuple(a[i : i + step] for a in batch)) for i in range(0, n, step)]
                return ScoredBatch.join(parts)
            except (MemoryError, RuntimeError) as error:
                if step == 1 or not _no_memory(error):
                    raise
            # Outside the handler: the exception's frames hold the tensors that have to go.
            self._limit = step // 2
            logger.warning("Out of memory with %d images at once; going on with %d.", step, self._limit)

    def close(self) -> None:
        """Stop the threads."""
        for thread in (self._stager, self._thread):
            if thread is not None:
                thread.shutdown(wait=True, cancel_futures=True)


def _no_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or bool(_MEMORY.search(str(error)))
