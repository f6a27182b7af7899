"""A pool of worker threads whose number can change while it works."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")
_Task = tuple["Future[Any]", Callable[..., Any], tuple[Any, ...]]


class WorkerPool:
    """Threads that take tasks in the order in which they were submitted; they are started as they are needed.

    Args:
        workers: Number of threads, 1 or more.
        name: Beginning of the threads' names.
        retire: Function that a thread calls before it ends because there are fewer workers.
    """

    def __init__(self, workers: int, *, name: str, retire: Callable[[], None]) -> None:
        self._workers, self._name, self._retire = workers, name, retire
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._live = self._started = 0
        self._closed = False

    def submit(self, call: Callable[..., T], *arguments: Any) -> Future[T]:
        """Let a worker call a function.

        Raises:
            RuntimeError: The pool is closed.
        """
        future: Future[T] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("The pool of workers is closed.")
            self._tasks.put((future, call, arguments))
            if self._live < self._workers and not self._idle.acquire(blocking=False):
                self._start()
        return future

    def resize(self, workers: int) -> None:
        """Change the number of workers; those that are too many finish what was submitted before."""
        with self._lock:
            self._workers = workers
            for _ in range(self._live - workers):
                self._live -= 1
                self._tasks.put(None)

    def close(self) -> None:
        """Cancel what is not started, and wait for the workers."""
        with self._lock:
            self._closed = True
            with suppress(Empty):
                while True:
                    task = self._tasks.get_nowait()
                    if task is not None:
                        task[0].cancel()
            for _ in self._threads:
                self._tasks.put(None)
            threads = list(self._threads)
        for thread in threads:
            thread.join()

    def _start(self) -> None:
        self._started += 1
        self._live += 1
        name = f"{self._name}_{self._started}"
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._threads.add(thread)
        thread.start()

    def _work(self) -> None:
        while True:
            try:
                task = self._tasks.get_nowait()
            except Empty:
                self._idle.release()
                task = self._tasks.get()
            if task is None:
                break
            future, call, arguments = task
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call(*arguments))
                except BaseException as error:
                    future.set_exception(error)
            del task, future, call, arguments  # a worker that waits holds no picture
        try:
            self._retire()
        finally:
            with self._lock:
                self._threads.discard(threading.current_thread())
