"""Counters of the server, and their text in the format that Prometheus reads."""

from __future__ import annotations

import threading
from collections import Counter


class Metrics:
    """Counters since the start of the server.

    Attributes:
        dropped: Images that were not computed because their client went away or the deadline had passed.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._requests: Counter[tuple[str, int]] = Counter()
        self._images: Counter[str] = Counter()
        self._batches: Counter[str] = Counter()
        self._batched = 0
        self._wait = 0.0
        self._waits = 0
        self._seconds: Counter[str] = Counter()
        self._lock = threading.Lock()

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count an answer."""
        with self._lock:
            self._requests[route, status] += 1
            self._seconds[route] += seconds  # type: ignore[assignment]  # a counter of floats

    def image(self, status: str) -> None:
        """Count a row by its status."""
        with self._lock:
            self._images[status] += 1

    def batch(self, images: int, reason: str) -> None:
        """Count a call of the network: `full`, or after `wait`."""
        with self._lock:
            self._batches[reason] += 1
            self._batched += images

    def waited(self, seconds: float) -> None:
        """Count the time that an image waited for its place in a batch."""
        with self._lock:
            self._wait += seconds
            self._waits += 1

    def text(self, *, in_hand: int) -> str:
        """All counters.

        Args:
            in_hand: Images that wait or are being computed.
        """
        with self._lock:
            lines = [
                "# TYPE skinclf_requests_total counter",
                *(
                    f'skinclf_requests_total{{route="{route}",status="{status}"}} {n}'
                    for (route, status), n in sorted(self._requests.items())
                ),
                "# TYPE skinclf_request_seconds_total counter",
                *(
                    f'skinclf_request_seconds_total{{route="{route}"}} {seconds:.6f}'
                    for route, seconds in sorted(self._seconds.items())
                ),
                "# TYPE skinclf_images_total counter",
                *(f'skinclf_images_total{{status="{s}"}} {n}' for s, n in sorted(self._images.items())),
                "# TYPE skinclf_images_dropped_total counter",
                f"skinclf_images_dropped_total {self.dropped}",
                "# TYPE skinclf_batches_total counter",
                *(f'skinclf_batches_total{{reason="{r}"}} {n}' for r, n in sorted(self._batches.items())),
                "# TYPE skinclf_batched_images_total counter",
                f"skinclf_batched_images_total {self._batched}",
                "# TYPE skinclf_queue_wait_seconds summary",
                f"skinclf_queue_wait_seconds_sum {self._wait:.6f}",
                f"skinclf_queue_wait_seconds_count {self._waits}",
                "# TYPE skinclf_images_in_hand gauge",
                f"skinclf_images_in_hand {in_hand}",
            ]
        return "\n".join(lines) + "\n"
