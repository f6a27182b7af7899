"""Decode workers: images into the slots of reused batch buffers, ahead of the network.

Threads by default: Pillow releases Python's lock while it decodes and resizes. A seventh of the work (0.4 of
2.8 ms for a 600x450 JPEG) still holds it, so beyond `MAX_THREADS` workers processes take over after the first
images. Processes are spawned, share the buffers with this process, and an image that kills one costs a row.

Large pictures wait for room (`decode_limits.DecodeMemory`), in whichever way they are decoded: a photograph of
6000 x 4000 takes 96 MB, and a machine of many cores would hold as many of them as it has workers.
"""

from __future__ import annotations

import logging
import multiprocessing as mp
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import numpy as np
import numpy.typing as npt

from skinclf._utils.environment import usable_cores
from skinclf.errors import ImageError, SkinclfError
from skinclf.images.decode import ImageSource, admission
from skinclf.inference.decode_limits import SMALL, DecodeLimits, DecodeMemory, Share
from skinclf.inference.scorer import Pixels, Prepare, Slot, failure
from skinclf.inference.sharing.pool import WorkerPool

logger = logging.getLogger("skinclf")
#: More workers than this become processes, unless `processes` decides.
MAX_THREADS = 6
MAX_WORKERS = 16
_START_SECONDS = 120.0
#: Signal that ends a process which has used up its processor time.
_OUT_OF_TIME = int(getattr(signal, "SIGXCPU", 0))


def default_workers() -> int:
    """Default number of decode workers: one per core that this process may use, at most `MAX_WORKERS`."""
    return min(MAX_WORKERS, usable_cores())


def fill(prepare: Prepare, source: ImageSource, targets: Pixels) -> ImageError | None:
    """Decode one image into its slots; a failure of the image is returned, not raised.

    Raises:
        SkinclfError: The failure is not the image's, such as a missing extra.
    """
    try:
        pixels = prepare(source)
    except SkinclfError as error:
        if isinstance(error, ImageError):
            return error
        raise
    except Exception as error:
        logger.debug("Unexpected error while decoding", exc_info=True)
        return failure(error, source)
    for target, value in zip(targets, pixels, strict=True):
        target[...] = value
    return None


@dataclass(slots=True, eq=False)
class Buffer:
    """Pixels of one batch: for every slot of a layout an array of shape (batch size, *shape)."""

    arrays: Pixels
    memory: SharedMemory | None = None

    def at(self, index: int) -> Pixels:
        """Views of the slots of one image."""
        # Ellipsis keeps a view where the slot is a scalar.
        return tuple(a[index, ...] for a in self.arrays)

    def clear(self, index: int) -> None:
        """Zero one image's places."""
        for array in self.arrays:
            array[index] = 0

    def release(self) -> None:
        """Free the memory."""
        self.arrays = ()
        if self.memory is not None:
            with suppress(BufferError):  # a view is still in use; the memory goes with it
                self.memory.close()


def _views(layout: tuple[Slot, ...], batch_size: int, memory: SharedMemory | None) -> Pixels:
    arrays, offset = [], 0
    for slot in layout:
        shape = (batch_size, *slot.shape)
        if memory is None:
            arrays.append(np.zeros(shape, slot.dtype))
            continue
        array: npt.NDArray[Any] = np.ndarray(shape, slot.dtype, memory.buf, offset)
        arrays.append(array)
        offset += array.nbytes + -array.nbytes % 64
    return tuple(arrays)


def _size(layout: tuple[Slot, ...], batch_size: int) -> int:
    sizes = [batch_size * int(np.prod(s.shape)) * np.dtype(s.dtype).itemsize for s in layout]
    return sum(n + -n % 64 for n in sizes)


@dataclass(slots=True)
class Spent:
    """What decoding took so far, of all workers together.

    Attributes:
        images: Number of images.
        seconds: Seconds from the start of each image to its end.
        processor: Seconds of a core, wherever the image was decoded.
        here: Seconds of a core in the threads of this process.
    """

    images: int = 0
    seconds: float = 0.0
    processor: float = 0.0
    here: float = 0.0


class Decoder:
    """A pool of decode workers.

    Args:
        prepare: Function that decodes one image (`Scorer.prepare`).
        layout: Arrays that `prepare` returns.
        workers: Number of workers; 0 decodes in the calling thread.
        processes: Whether the workers are processes instead of threads; None: beyond `MAX_THREADS`, and not
            for the first few images, which are decoded before a process has started.
        limits: What one image may take in a process; None sets no limit.
    """

    def __init__(
        self,
        prepare: Prepare,
        layout: tuple[Slot, ...],
        *,
        workers: int,
        processes: bool | None = None,
        limits: DecodeLimits | None = None,
    ) -> None:
        self.workers = workers
        self.processes = bool(workers) and (workers > MAX_THREADS if processes is None else processes)
        self._prepare, self._layout, self._limits = prepare, layout, limits
        self._pool = WorkerPool(workers, name="skinclf-decode", retire=self._retire) if workers else None
        self._memory = DecodeMemory()
        self._local = threading.local()
        self._here_first = 4 * workers if processes is None else 0
        self._children: list[_Child] = []
        self._buffers: list[Buffer] = []
        self._spent, self._counting = Spent(), threading.Lock()

    @property
    def spent(self) -> Spent:
        """What decoding took so far."""
        with self._counting:
            return replace(self._spent)

    def resize(self, workers: int) -> None:
        """Change the number of workers, where there are any; they stay threads, or processes."""
        if self._pool is not None:
            self._pool.resize(workers)
            self.workers = workers

    def buffer(self, batch_size: int) -> Buffer:
        """A new batch buffer that the workers can write to."""
        memory = None
        if self.processes:
            memory = SharedMemory(create=True, size=max(1, _size(self._layout, batch_size)))
        made = Buffer(_views(self._layout, batch_size, memory), memory)
        self._buffers.append(made)
        return made

    def submit(self, source: ImageSource, buffer: Buffer, index: int) -> Future[ImageError | None]:
        """Start decoding one image into its place in a buffer."""
        if self._pool is not None:
            self._here_first -= 1
            work = self._remote if self.processes and self._here_first < 0 else self._here
            return self._pool.submit(self._counted, work, source, buffer, index)
        done: Future[ImageError | None] = Future()
        done.set_result(self._here(source, buffer, index)[0])
        return done

    def _counted(
        self,
        work: Callable[[ImageSource, Buffer, int], tuple[ImageError | None, float]],
        source: ImageSource,
        buffer: Buffer,
        index: int,
    ) -> ImageError | None:
        start, mine = time.perf_counter(), time.thread_time()
        error, elsewhere = work(source, buffer, index)
        here, seconds = time.thread_time() - mine, time.perf_counter() - start
        with self._counting:
            self._spent.images += 1
            self._spent.seconds += seconds
            self._spent.processor += here + elsewhere
            self._spent.here += here
        return error

    def _here(self, source: ImageSource, buffer: Buffer, index: int) -> tuple[ImageError | None, float]:
        with self._memory.share() as share, admission(share.ask):
            return fill(self._prepare, source, buffer.at(index)), 0.0

    def _remote(self, source: ImageSource, buffer: Buffer, index: int) -> tuple[ImageError | None, float]:
        """Let this thread's process decode an image; a process that dies is replaced, once per image."""
        code: int | None = None
        for _ in range(2):
            child: _Child | None = getattr(self._local, "child", None)
            if child is None:
                child = self._local.child = _Child(self._prepare, self._layout, self._limits)
                self._children.append(child)
            try:
                with self._memory.share() as share:
                    return child.decode(source, buffer, index, share)
            except (EOFError, OSError):
                code = child.stop()
                self._children.remove(child)
                self._local.child = None
                logger.warning("A decode process died (exit code %s); it is replaced.", code)
                if self._limits is not None and code == -_OUT_OF_TIME:
                    text = f"{source!s:.200}: decoding takes more than {self._limits.seconds} seconds."
                    return ImageError("too_large", text), 0.0
        text = f"{source!s:.200}: the process that decoded it died twice (exit code {code})."
        return ImageError("worker_died", text), 0.0

    def _retire(self) -> None:
        """End the process of a thread that is no longer needed."""
        child: _Child | None = getattr(self._local, "child", None)
        if child is not None:
            self._local.child = None
            self._children.remove(child)
            child.stop()

    def close(self) -> None:
        """Stop the workers and free the buffers; what is not started is dropped."""
        if self._pool is not None:
            self._pool.close()
        for child in self._children:
            child.stop()
        for buffer in self._buffers:
            if buffer.memory is not None:
                buffer.memory.unlink()
            buffer.release()


class _Child:
    """One decode process and the pipe to it."""

    def __init__(self, prepare: Prepare, layout: tuple[Slot, ...], limits: DecodeLimits | None) -> None:
        context = mp.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, prepare, layout, limits), daemon=True)
        self._process.start()
        theirs.close()
        try:
            ready = self._pipe.poll(_START_SECONDS) and self._pipe.recv() == "ready"
        except EOFError:
            ready = False
        if not ready:
            code = self.stop()
            raise SkinclfError(
                f"A decode process did not start (exit code {code}). Scripts that use worker processes need "
                "the `if __name__ == '__main__':` guard; or use threads (`processes=False`)."
            )

    def decode(
        self, source: ImageSource, buffer: Buffer, index: int, share: Share
    ) -> tuple[ImageError | None, float]:
        """Let the process decode one image; it asks for the memory of a large one.

        Returns:
            The failure or None, and the seconds of a core that the process took.

        Raises:
            EOFError: The process died.
            OSError: The process died.
        """
        name = buffer.memory.name if buffer.memory else ""
        self._pipe.send((source, name, len(buffer.arrays[0]), index))
        reply: int | tuple[BaseException | None, float] = self._pipe.recv()
        while isinstance(reply, int):
            share.ask(reply)
            self._pipe.send(True)
            reply = self._pipe.recv()
        error, seconds = reply
        if error is None or isinstance(error, ImageError):
            return error, seconds
        raise error

    def stop(self) -> int | None:
        """End the process and return its exit code."""
        self._pipe.close()
        self._process.join(1)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        return self._process.exitcode


def _serve(pipe: Connection, prepare: Prepare, layout: tuple[Slot, ...], limits: DecodeLimits | None) -> None:
    """The body of a decode process: until the pipe closes, decode what it names."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides
    known: dict[str, Buffer] = {}

    def ask(count: int) -> None:
        if count > SMALL:
            pipe.send(count)
            pipe.recv()

    if limits is not None:
        limits.limit_memory()
    pipe.send("ready")
    while True:
        try:
            source, name, batch_size, index = pipe.recv()
        except (EOFError, OSError):
            break
        if name not in known:
            memory = SharedMemory(name)
            known[name] = Buffer(_views(layout, batch_size, memory), memory)
            if limits is not None:
                limits.limit_memory()
        if limits is not None:
            limits.limit_time()
        reply: BaseException | None
        start = time.thread_time()
        try:
            with admission(ask):
                reply = fill(prepare, source, known[name].at(index))
        except Exception as error:
            reply = error
        del source
        pipe.send((reply, time.thread_time() - start))
    for buffer in known.values():
        buffer.release()
