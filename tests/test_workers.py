"""Batches: the longest call first, results in the order of the calls, progress by the work that is done."""

import multiprocessing
import threading
import time
from contextlib import suppress

import pytest

from tensix_sim.workers import run_all, worker_processes


@pytest.mark.parametrize("jobs", [1, 2, 9])
def test_results_are_in_the_order_of_the_calls(jobs: int) -> None:
    """However many processes there are, and whatever is begun first; each result is told once, with its place."""
    calls, told = [(n, 10) for n in (3, 1, 2)], dict[int, int]()
    assert run_all(pow, calls, jobs, work=[1, 3, 2], learn=told.__setitem__) == [3**10, 1, 2**10]
    assert told == {0: 3**10, 1: 1, 2: 2**10}
    assert run_all(pow, [], jobs) == []


def test_the_longest_is_begun_first() -> None:
    """Of equals the first; without a word on their work, calls are begun in their order."""
    begun: list[int] = []
    run_all(begun.append, [(n,) for n in range(5)], work=[1, 9, 1, 4, 9])
    assert begun == [1, 4, 3, 0, 2]
    begun.clear()
    run_all(begun.append, [(n,) for n in range(5)])
    assert begun == list(range(5))


def test_progress_is_the_share_of_the_work() -> None:
    """Not of the calls: after the longest, most is done; it ends at all."""
    shares: list[float] = []
    run_all(abs, [(1,), (2,), (3,)], progress=shares.append, work=[1, 8, 1])
    assert shares == pytest.approx([0.8, 0.9, 1.0])


def test_an_interrupt_leaves_nothing_of_the_workers() -> None:
    """Neither a process, nor a thread of the pool, over whose end Python's own exit would trip."""
    before = set(threading.enumerate())
    with suppress(KeyboardInterrupt), worker_processes(2) as submit:
        submit(time.sleep, [(600,)] * 4)
        raise KeyboardInterrupt
    assert set(threading.enumerate()) == before
    assert multiprocessing.active_children() == []
