"""Simulation of the engine on a machine of many cores, from the seconds that each stage takes for one image.

Threads of decoding, streams of the network and the thread that writes rows share cores and Python's lock:

- cores are shared evenly among all that have work (processor sharing); every core is as fast as those that were
  measured, so memory bandwidth and clock speeds that fall under load are left out, and the figures are upper ones;
- the lock goes to the thread that waited longest;
- waiting for a disk, and computation on an accelerator, take neither a core nor the lock;
- a batch is scored when all of its images are decoded and the batch before it is scored, three batches are in flight,
  and a batch's rows are written before the next one takes its buffer, as in `skinclf/inference/engine.py`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

DEPTH = 3
#: Images of a batch for each stream, and the fewest (`Runtime.preferred_batch_size`).
PER_STREAM, LEAST_BATCH = 4, 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """Seconds of one core for one image.

    Attributes:
        decode: Decoding and resizing outside Python's lock.
        decode_lock: Decoding in Python, under the lock.
        process_lock: What a decode process costs the main process for an image, under its lock.
        network: The network.
        network_lock: Start of the network in Python, under the lock.
        rows: Engine, prediction and row of the table in Python, under the lock.
        decode_wait: Waiting of a decode worker, as for a disk, on no core.
        device: Computation on an accelerator, or other waiting of the network, on no core.
    """

    decode: float
    decode_lock: float
    process_lock: float
    network: float
    network_lock: float
    rows: float
    decode_wait: float = 0.0
    device: float = 0.0

    @property
    def whole(self) -> float:
        """Seconds of one core for everything that an image needs in threads."""
        return self.decode + self.decode_lock + self.network + self.network_lock + self.rows

    def workers(self, cores: int) -> float:
        """Decode workers that are at work at a time, where all cores are busy or the accelerator is."""
        fastest = min(cores / max(self.whole, 1e-9), 1 / self.device if self.device else math.inf)
        return fastest * (self.decode + self.decode_lock + self.decode_wait)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Choice of workers: their number, whether they are processes, and the streams of the network."""

    workers: int
    processes: bool
    streams: int


@dataclass(slots=True)
class _Run:
    """A part of an actor's work: on a core, under Python's lock where `lock` says so; or, `off` the cores, waiting."""

    seconds: float
    lock: bool = False
    off: bool = False


Actor = Generator[_Run | Callable[[], bool], None, None]


def rate(
    stages: Stages, cores: int, setting: Setting, *, batches: int = 16, size: int | None = None
) -> float:
    """Images per second of a long run, start and end left out.

    Args:
        stages: Seconds of each stage.
        cores: Number of cores.
        setting: Workers and streams.
        batches: Batches to simulate.
        size: Images of a batch; None: as `Runtime.preferred_batch_size`.
    """
    size = size or max(LEAST_BATCH, PER_STREAM * setting.streams)
    state = _State(size, batches)
    actors = [
        *(_decoder(state, stages, setting) for _ in range(setting.workers)),
        *(_stream(state, stages) for _ in range(setting.streams)),
        _writer(state, stages),
    ]
    _simulate(actors, cores, state)
    # While all stages have work: not before the first rows, not after the last image is decoded.
    first, last = DEPTH, batches - 1 - DEPTH
    return size * (last - first) / (state.written_at[last] - state.written_at[first])


class _State:
    """What actors share: how far every batch is."""

    def __init__(self, size: int, batches: int) -> None:
        self.size, self.batches = size, batches
        self.taken = 0
        self.decoded = [0] * batches
        self.started = 0
        self.scored = [0] * batches
        self.written = 0
        self.written_at: list[float] = []
        self.now = 0.0

    def may_decode(self) -> bool:
        return self.taken >= self.size * self.batches or self.taken // self.size < self.written + DEPTH

    def next_to_score(self) -> int | None:
        """Batch of the next image that a stream may take."""
        batch = self.started // self.size
        if batch >= self.batches or self.decoded[batch] < self.size:
            return None
        return None if batch and self.scored[batch - 1] < self.size else batch

    def may_score(self) -> bool:
        return self.started >= self.size * self.batches or self.next_to_score() is not None

    def may_write(self) -> bool:
        return self.scored[self.written] >= self.size


def _decoder(state: _State, stages: Stages, setting: Setting) -> Actor:
    while True:
        yield state.may_decode
        if state.taken >= state.size * state.batches:
            return
        batch = state.taken // state.size
        state.taken += 1
        if stages.decode_wait:
            yield _Run(stages.decode_wait, off=True)
        if setting.processes:
            yield _Run(stages.process_lock, lock=True)
            yield _Run(stages.decode + stages.decode_lock)
        else:
            yield _Run(stages.decode_lock, lock=True)
            yield _Run(stages.decode)
        state.decoded[batch] += 1


def _stream(state: _State, stages: Stages) -> Actor:
    while True:
        yield state.may_score
        batch = state.next_to_score()
        if batch is None:
            return
        state.started += 1
        yield _Run(stages.network_lock, lock=True)
        yield _Run(stages.network)
        if stages.device:
            yield _Run(stages.device, off=True)
        state.scored[batch] += 1


def _writer(state: _State, stages: Stages) -> Actor:
    for _ in range(state.batches):
        yield state.may_write
        for _ in range(state.size):
            yield _Run(stages.rows, lock=True)
        state.written += 1
        state.written_at.append(state.now)


def _simulate(actors: list[Actor], cores: int, state: _State) -> None:
    """Let actors run until all have ended."""
    left: dict[int, float] = {}
    off: set[int] = set()
    holder: int | None = None
    queue: deque[tuple[int, float]] = deque()
    waiting: dict[int, Callable[[], bool]] = {}
    ready = deque(range(len(actors)))
    while ready or left or queue:
        while ready:
            number = ready.popleft()
            try:
                step = next(actors[number])
            except StopIteration:
                continue
            if not isinstance(step, _Run):
                waiting[number] = step
            elif step.lock:
                queue.append((number, step.seconds))
            else:
                left[number] = step.seconds
                if step.off:
                    off.add(number)
            # What this actor has done may be what others wait for.
            woken = [other for other, condition in waiting.items() if condition()]
            for other in woken[:1]:
                del waiting[other]
                ready.append(other)
        if holder is None and queue:
            holder, seconds = queue.popleft()
            left[holder] = seconds
        if not left:
            break
        on = [number for number in left if number not in off]
        speed = min(1.0, cores / len(on)) if on else 1.0
        passed = min(seconds if number in off else seconds / speed for number, seconds in left.items())
        state.now += passed
        for number in left:
            left[number] -= passed if number in off else passed * speed
        for number in [n for n, seconds in left.items() if seconds <= 1e-12]:
            del left[number]
            off.discard(number)
            ready.append(number)
            if number == holder:
                holder = None


def best(
    stages: Stages,
    cores: int,
    most: int = 1000,
    *,
    ways: Sequence[bool] = (False, True),
    streams: int | None = None,
    batches: int = 16,
    size: int | None = None,
) -> tuple[Setting, float]:
    """The fastest setting among a few numbers of workers, of equals the plainest: threads, then fewer workers.

    Args:
        stages: Seconds of each stage.
        cores: Number of cores; there are never more workers.
        most: Most workers.
        ways: Whether workers may be threads (False), processes (True), or both.
        streams: Streams of the network; None: one for each core.
        batches: Batches to simulate.
        size: Images of a batch; None: as `Runtime.preferred_batch_size`.

    Returns:
        The setting, and its images per second.
    """
    needed = stages.workers(cores)
    numbers = {1, max(1, round(needed)), max(1, round(1.5 * needed)), cores}
    settings = [
        Setting(workers=workers, processes=processes, streams=streams or cores)
        for workers in sorted({min(n, most) for n in numbers if n <= cores})
        for processes in ways
    ]
    found = [(setting, rate(stages, cores, setting, batches=batches, size=size)) for setting in settings]
    top = max(speed for _, speed in found)
    return min(
        (item for item in found if item[1] >= 0.98 * top),
        key=lambda item: (item[0].processes, item[0].workers),
    )
