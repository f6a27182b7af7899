"""The number of decode workers, from what the first images of a run took.

A run starts with one worker for each core. Once some hundreds of images are done, their stage times go through the
simulation of `benchmarks.speed.scaling`, and the fewest workers that reach 98 % of the best rate are taken. The
next images say whether that was right: where they are slower, the first number comes back. The numbers in a table never
depend on it, and pictures in flight stay within `decode_limits.DecodeMemory` whatever is chosen.

The network's streams stay as they are: another number would be another compilation, and idle streams cost nothing.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from skinclf._utils.environment import usable_cores
from skinclf.inference.sharing.simulation import DEPTH, Stages, best

logger = logging.getLogger("skinclf")
#: Share of decoding that holds Python's lock, as `benchmarks.speed.scaling` finds it for small JPEGs; for
#: large ones it is less.
LOCK_SHARE = 1 / 7
#: Share of the first rate below which a changed number of workers is taken back; two measurements differ by as much.
_SLOWER = 0.97
#: Images for each process before a measurement: the first are decoded in threads, then processes start.
_STARTING = 8
_BATCHES = 2 * DEPTH + 4


class _Decoder(Protocol):
    """What is asked of `skinclf.inference.decode_workers.Decoder`."""

    workers: int
    processes: bool

    @property
    def spent(self) -> _DecodeSpent: ...
    def resize(self, workers: int) -> None: ...


class _DecodeSpent(Protocol):
    images: int
    seconds: float
    processor: float
    here: float


@dataclass(slots=True)
class NetworkSpent:
    """What the network took so far: images, blank slots included, and seconds from start to end of its calls."""

    images: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """How a run shared the machine, and why.

    Attributes:
        cores: Cores that the process may use.
        processes: Whether workers are processes.
        first: Number of decode workers at the beginning.
        chosen: Number of decode workers afterwards.
        stages: Stage times that were measured.
        first_rate: Images per second of the measurement.
        chosen_rate: Images per second after the change; None where nothing was changed.
        tried: Number of workers that was measured and given up again; None where there was none.
    """

    cores: int
    processes: bool
    first: int
    chosen: int
    stages: Stages
    first_rate: float
    chosen_rate: float | None = None
    tried: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON form; times in milliseconds of one image."""
        s = self.stages
        times = {
            "decode": s.decode + s.decode_lock,
            "decode_waiting": s.decode_wait,
            "network": s.network,
            "network_waiting": s.device,
            "rows": s.rows,
        }
        return {
            "cores": self.cores,
            "processes": self.processes,
            "first": self.first,
            "chosen": self.chosen,
            "tried": self.tried,
            "milliseconds": {name: round(1000 * seconds, 3) for name, seconds in times.items()},
            "images_per_second": {
                "first": round(self.first_rate, 2),
                "changed": None if self.chosen_rate is None else round(self.chosen_rate, 2),
            },
            "reason": str(self),
        }

    def __str__(self) -> str:
        s, kind = self.stages, "processes" if self.processes else "threads"
        why = f"an image takes {1000 * (s.decode + s.decode_lock):.1f} ms of a core to decode"
        if s.decode_wait >= 0.0001:
            why += f" and {1000 * s.decode_wait:.1f} ms of waiting"
        why += f", {1000 * s.network:.1f} ms of a core in the network"
        if s.device >= 0.0001:
            why += f" and {1000 * s.device:.1f} ms of waiting"
        kind = kind if self.chosen > 1 else kind.removesuffix("es" if self.processes else "s")
        rates = f"{self.chosen_rate or 0:.1f} images/s instead of {self.first_rate:.1f}"
        if self.tried is not None:
            return f"Decode workers: still {self.chosen} {kind}, because {self.tried} gave {rates}; {why}."
        if self.chosen == self.first:
            return f"Decode workers: still {self.chosen} {kind}; {why}."
        return f"Decode workers: {self.chosen} {kind} instead of {self.first}, with {rates}; {why}."


@dataclass(frozen=True, slots=True)
class _Reading:
    """All clocks at one moment."""

    images: int
    wall: float
    process: float
    thread: float
    decoded: int
    decode_seconds: float
    decode_processor: float
    decode_here: float
    scored: int
    network_seconds: float
    machine: tuple[int, int] = (0, 0)

    @classmethod
    def now(cls, images: int, decoder: _Decoder, network: NetworkSpent) -> _Reading:
        spent = decoder.spent
        return cls(
            images,
            time.perf_counter(),
            time.process_time(),
            time.thread_time(),
            spent.images,
            spent.seconds,
            spent.processor,
            spent.here,
            network.images,
            network.seconds,
            _machine(),
        )

    def idle(self, end: _Reading, used: float, cores: int) -> float:
        """Share of the cores that had nothing to do until `end`: neither for this run, nor for other programs."""
        own = 1 - used / (cores * max(end.wall - self.wall, 1e-9))
        unused, ticks = (after - before for before, after in zip(self.machine, end.machine, strict=True))
        return max(0.0, min(own, unused / ticks if ticks else 1.0))

    def rate(self, end: _Reading) -> float:
        """Images per second until `end`."""
        return (end.images - self.images) / max(end.wall - self.wall, 1e-9)

    def stages(self, end: _Reading, *, cores: int, processes: bool) -> Stages:
        """Stage times of one image between two moments."""
        decoded, scored = max(1, end.decoded - self.decoded), max(1, end.scored - self.scored)
        here = end.decode_here - self.decode_here
        decode = end.decode_processor - self.decode_processor
        rows = end.thread - self.thread
        # What is neither decoding nor this thread is the network's threads, which no clock of their own counts.
        network = max(0.0, end.process - self.process - here - rows)
        # On a busy machine a step also waits for its core; as far as cores are idle, it waits for something else.
        idle = self.idle(end, end.process - self.process + decode - here, cores)
        waiting = max(0.0, end.decode_seconds - self.decode_seconds - decode)
        device = max(0.0, end.network_seconds - self.network_seconds - network / cores)
        own = (decode - here if processes else decode) / decoded
        lock = LOCK_SHARE * own
        return Stages(
            decode=own - lock,
            decode_lock=lock,
            process_lock=here / decoded if processes else 0.0,
            network=network / scored,
            network_lock=0.0,
            rows=rows / max(1, end.images - self.images),
            decode_wait=idle * waiting / decoded,
            device=idle * device / scored,
        )


def _machine(path: Path = Path("/proc/stat")) -> tuple[int, int]:
    """Idle ticks of all cores since the start of the machine, and all ticks; zeros where the system does not tell."""
    try:
        with path.open(encoding="ascii") as file:
            ticks = [int(text) for text in file.readline().split()[1:9]]
    except (OSError, ValueError):
        return 0, 0
    # user, nice, system, idle, waiting for a disk, two kinds of interrupts, taken by the host
    return sum(ticks[3:5]), sum(ticks)


class Tuner:
    """Chooses the number of decode workers of one run, at most once, and takes the choice back at most once.

    Attributes:
        sharing: What was chosen; None before that, and for a run too short to matter.

    Args:
        cores: Cores that may be used; there are never more workers. None: those of this process.
        images: Fewest images of a measurement.
        seconds: Shortest measurement.
    """

    def __init__(self, *, cores: int | None = None, images: int = 256, seconds: float = 2.0) -> None:
        self.sharing: Sharing | None = None
        self._cores = cores or usable_cores()
        self._least_images, self._least_seconds = images, seconds
        self._images = 0
        self._skip: int | None = None
        self._start: _Reading | None = None
        self._before: Sharing | None = None
        self._done = False

    def after_batch(self, images: int, decoder: _Decoder, network: NetworkSpent, *, batch_size: int) -> None:
        """Count a finished batch; measure, choose and check when it is time.

        Args:
            images: Images of the batch.
            decoder: Decode workers, resized when others are better.
            network: What the network took so far.
            batch_size: Images of a full batch.
        """
        if self._done or decoder.workers == 0:
            return
        self._images += images
        if self._skip is None:
            self._skip = DEPTH * batch_size + (_STARTING * decoder.workers if decoder.processes else 0)
        if self._images < self._skip:
            return
        now = _Reading.now(self._images, decoder, network)
        if self._start is None:
            self._start = now
        if now.images - self._start.images < self._least_images:
            return
        if now.wall - self._start.wall < self._least_seconds:
            return
        if self._before is None:
            self._choose(self._start, now, decoder, batch_size)
        else:
            self._check(self._before, self._start.rate(now), decoder)

    def _choose(self, start: _Reading, end: _Reading, decoder: _Decoder, batch_size: int) -> None:
        stages = start.stages(end, cores=self._cores, processes=decoder.processes)
        setting, _ = best(
            stages,
            self._cores,
            ways=(decoder.processes,),
            # An accelerator computes one batch after the other.
            streams=1 if stages.device > stages.network else self._cores,
            batches=_BATCHES,
            size=batch_size,
        )
        found = Sharing(
            cores=self._cores,
            processes=decoder.processes,
            first=decoder.workers,
            chosen=setting.workers,
            stages=stages,
            first_rate=start.rate(end),
        )
        if found.chosen == found.first:
            self._finish(found)
            return
        decoder.resize(found.chosen)
        self._before, self._start = found, None
        self._skip = self._images + DEPTH * batch_size
        if decoder.processes and found.chosen > found.first:
            self._skip += _STARTING * found.chosen

    def _check(self, found: Sharing, rate: float, decoder: _Decoder) -> None:
        slower = rate < _SLOWER * found.first_rate
        if slower:
            decoder.resize(found.first)
        self._finish(
            Sharing(
                cores=found.cores,
                processes=found.processes,
                first=found.first,
                chosen=found.first if slower else found.chosen,
                stages=found.stages,
                first_rate=found.first_rate,
                chosen_rate=rate,
                tried=found.chosen if slower else None,
            )
        )

    def _finish(self, sharing: Sharing) -> None:
        self.sharing, self._done = sharing, True
        logger.info("%s", sharing)
