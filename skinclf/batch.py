"""The streaming engine: decode ahead in workers, run in batches, answer in input order.

Memory is bounded by the window of inputs in flight, whatever their number.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from skinclf.errors import ImageError
from skinclf.images import ImageSource, load_image
from skinclf.preprocess import Preprocess
from skinclf.runtimes.base import Runtime


@dataclass(frozen=True, slots=True)
class Outcome:
    """Raw scores of one input, shape (num_outputs,), float32; or the failure."""

    scores: npt.NDArray[np.float32] | None
    error: ImageError | None = None


def default_workers() -> int:
    """Decode threads when nothing is said: one per core that this process may use, at most 16."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(16, usable)


def decode(source: ImageSource, preprocess: Preprocess) -> npt.NDArray[Any] | ImageError:
    """One input's pixels, or its failure as a value."""
    try:
        return preprocess.pixels(load_image(source, draft=preprocess.draft_size))
    except ImageError as error:
        return error


def stream(
    sources: Iterable[ImageSource], runtime: Runtime, preprocess: Preprocess, *, batch_size: int, workers: int
) -> Iterator[Outcome]:
    """One outcome per source, in order.

    Args:
        sources: Any iterable; consumed only a window ahead of the results.
        runtime: Runs the batches.
        preprocess: Turns images into pixels.
        batch_size: Images per run of the network.
        workers: Decode threads; 0 decodes in the calling thread.
    """
    waiting: list[npt.NDArray[Any] | ImageError] = []
    for result in _decoded(sources, preprocess, workers=workers, window=2 * batch_size + workers):
        waiting.append(result)
        if len(waiting) == batch_size:
            yield from _run(waiting, runtime)
            waiting.clear()
    if waiting:
        yield from _run(waiting, runtime)


def _decoded(
    sources: Iterable[ImageSource], preprocess: Preprocess, *, workers: int, window: int
) -> Iterator[npt.NDArray[Any] | ImageError]:
    if workers == 0:
        for source in sources:
            yield decode(source, preprocess)
        return
    pending: deque[Future[npt.NDArray[Any] | ImageError]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="skinclf-decode")
    try:
        for source in sources:
            pending.append(pool.submit(decode, source, preprocess))
            if len(pending) >= window:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _run(waiting: list[npt.NDArray[Any] | ImageError], runtime: Runtime) -> Iterator[Outcome]:
    good = [x for x in waiting if not isinstance(x, ImageError)]
    scores = iter(runtime.run(np.stack(good))) if good else iter(())
    for item in waiting:
        yield Outcome(None, item) if isinstance(item, ImageError) else Outcome(next(scores))
