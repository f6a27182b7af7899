"""The pool of worker threads: order, changes of their number, the end."""

from __future__ import annotations

import threading
import time

import pytest

from skinclf.inference.sharing.pool import WorkerPool


class Counted:
    """Tasks that wait until they are let go, and count how many run at once."""

    def __init__(self):
        self.lock, self.running, self.most = threading.Lock(), 0, 0
        self.go = threading.Event()

    def __call__(self, value):
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
        assert self.go.wait(20)
        with self.lock:
            self.running -= 1
        return value


def pool_of(workers, retire=lambda: None):
    return WorkerPool(workers, name="test", retire=retire)


def wait_for(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_results_and_errors_come_back():
    pool = pool_of(3)
    futures = [pool.submit(divmod, 7, n) for n in (2, 0, 3)]
    assert futures[0].result() == (3, 1)
    with pytest.raises(ZeroDivisionError):
        futures[1].result()
    assert futures[2].result() == (2, 1)
    pool.close()
    with pytest.raises(RuntimeError, match="closed"):
        pool.submit(divmod, 1, 1)


@pytest.mark.parametrize(("first", "then"), [(1, 4), (4, 1), (2, 2), (6, 3)])
def test_as_many_run_at_once_as_there_are_workers(first, then):
    ended = []
    pool, tasks = pool_of(first, lambda: ended.append(threading.current_thread().name)), Counted()
    before = [pool.submit(tasks, n) for n in range(8)]
    wait_for(lambda: tasks.running == first)
    tasks.go.set()
    assert [f.result() for f in before] == list(range(8))
    pool.resize(then)
    tasks.go.clear()
    tasks.most = 0
    after = [pool.submit(tasks, n) for n in range(8)]
    wait_for(lambda: tasks.running == then)
    wait_for(lambda: len(ended) == max(0, first - then))
    tasks.go.set()
    assert [f.result() for f in after] == list(range(8))
    assert tasks.most == then
    pool.close()
    assert len(ended) == max(first, then)


def test_threads_are_started_as_they_are_needed():
    pool = pool_of(8)
    for n in range(4):
        pool.submit(abs, n).result()
        time.sleep(0.05)
    assert len(pool._threads) < 8
    pool.close()


def test_what_has_not_started_is_cancelled_at_the_end():
    pool, tasks = pool_of(1), Counted()
    futures = [pool.submit(tasks, n) for n in range(3)]
    wait_for(lambda: tasks.running == 1)
    threading.Timer(0.2, tasks.go.set).start()
    pool.close()
    assert futures[0].result() == 0
    assert all(f.cancelled() for f in futures[1:])
