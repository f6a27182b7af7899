"""Progress of a run: its counts and times (`Summary`), and a request to stop it (`Stop`)."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from skinclf.inference.engine import Times
from skinclf.inference.threshold_origin import UNMEASURED

T = TypeVar("T")
_BOTTLENECKS = {
    "inputs": "finding the inputs",
    "decode": "decoding images",
    "network": "the model",
    "write": "writing rows",
}


@dataclass(slots=True)
class Summary:
    """Counts and times of a run, updated while it goes on.

    Attributes:
        statuses: Number of rows by status, those of a resumed table included.
        computed: Number of inputs handled by this process.
        flagged: Number of rows that this process computed and flagged.
        threshold_from: Origin of the threshold, as `Predictor.threshold_from`; empty where it is not known.
        times: Seconds that this process waited, by stage.
        complete: Whether every input has its row.
        seconds: Seconds from the first input to the last row, in this process.
    """

    statuses: Counter[str] = field(default_factory=Counter)
    computed: int = 0
    flagged: int = 0
    threshold_from: str = ""
    times: Times = field(default_factory=Times)
    complete: bool = False
    seconds: float = 0.0
    _start: float = field(default_factory=time.perf_counter)

    def count(self, statuses: Iterable[str], *, computed: int, flagged: int = 0) -> None:
        """Add rows that are written.

        Args:
            statuses: Status of each row.
            computed: Number of rows that this process computed.
            flagged: Number of those that are flagged.
        """
        self.statuses.update(statuses)
        self.computed += computed
        self.flagged += flagged
        self.seconds = time.perf_counter() - self._start

    @property
    def rows(self) -> int:
        """Number of rows in the table."""
        return self.statuses.total()

    @property
    def failed(self) -> int:
        """Number of rows of inputs that failed."""
        return self.rows - self.statuses["ok"]

    @property
    def images_per_second(self) -> float:
        """Inputs per second in this process."""
        return self.computed / self.seconds if self.seconds else 0.0

    @property
    def bottleneck(self) -> str:
        """The stage that the run waited for most, in words; empty when nothing was computed."""
        shares = self.times.shares()
        part = max(shares, key=lambda name: shares[name])
        return f"{_BOTTLENECKS[part]}, {shares[part]:.0%} of the time" if shares[part] else ""

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "complete": self.complete,
            "counts": {
                "rows": self.rows,
                "ok": self.statuses["ok"],
                "failed": self.failed,
                "statuses": dict(sorted(self.statuses.items())),
                "computed": self.computed,
            },
            "flagged": self.flagged,
            **({"threshold_from": self.threshold_from} if self.threshold_from else {}),
            "timings": {
                "seconds": round(self.seconds, 3),
                "images_per_second": round(self.images_per_second, 2),
                "waited_for": {k: round(v, 3) for k, v in self.times.shares().items()},
                "workers": None if self.times.sharing is None else self.times.sharing.to_dict(),
            },
        }

    def __str__(self) -> str:
        before = self.rows - self.computed
        text = f"{self.rows:,} image{'' if self.rows == 1 else 's'}, {self.failed:,} failed"
        if before > 0:
            text += f" ({before:,} rows were there already)"
        unmeasured = self.threshold_from == UNMEASURED
        if self.flagged or unmeasured:
            text += f", {self.flagged:,} flagged" + (" of the new ones" if before > 0 else "")
        if unmeasured:
            text += " as the more probable side (no threshold was measured for this combination)"
        if self.computed:
            text += f"; {self.images_per_second:.1f} img/s, waiting mostly for {self.bottleneck}"
        return text


class Stop:
    """A request to end a run: no further inputs are taken, and those in progress still get their rows."""

    def __init__(self) -> None:
        self.requested = False
        self._waiting = False

    def request(self) -> None:
        """Request the stop; safe to call from a signal handler of the main thread."""
        self.requested = True
        if self._waiting:
            # The run may be blocked on a pipe that sends nothing more.
            raise _StopWaiting

    def guard(self, inputs: Iterable[T]) -> Iterator[T]:
        """The inputs, until a stop is requested."""
        iterator = iter(inputs)
        while not self.requested:
            try:
                self._waiting = True
                item = next(iterator)
                self._waiting = False
            except (StopIteration, _StopWaiting):
                return
            finally:
                self._waiting = False
            yield item


class _StopWaiting(BaseException):
    """Leaves a blocked read; no `except Exception` may catch it."""
