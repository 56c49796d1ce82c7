"""Work in other processes: independent calls side by side, and what happens when one dies or Ctrl-C comes."""

import multiprocessing
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from tensix_sim.host import interrupts_held
from tensix_sim.user_errors import UserError

PROCESSES = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")  # a fork has all loaded that this one has

Progress = Callable[[float], None]
Found = TypeVar("Found")


def unwatched(share: float) -> None:
    """Progress that nobody looks at."""


def unheard(index: int, found: Any) -> None:
    """A result that nobody waits for before all are there."""


class WorkerError(UserError):
    """A worker process ended before its work was done."""


def run_all(
    function: Callable[..., Found],
    calls: Sequence[tuple[Any, ...]],
    jobs: int = 1,
    progress: Progress = unwatched,
    learn: Callable[[int, Found], None] = unheard,
) -> list[Found]:
    """The results of `function` with the arguments of each call, begun in their order, in `jobs` processes.

    One job needs no other process. After each call `learn` is told its place and result, and `progress` the share that is done.

    Raises:
        WorkerError: a worker process died.
    """
    if jobs == 1 or not calls:
        found: list[Found] = []
        for call in calls:
            found.append(function(*call))
            learn(len(found) - 1, found[-1])
            progress(len(found) / len(calls))
        return found
    with worker_processes(min(jobs, len(calls))) as submit:
        futures = {future: i for i, future in enumerate(submit(function, calls))}
        for n, future in enumerate(as_completed(futures), 1):
            learn(futures[future], future.result())
            progress(n / len(calls))
        return [future.result() for future in futures]


@contextmanager
def worker_processes(
    jobs: int, start: Callable[..., None] | None = None, args: tuple[Any, ...] = ()
) -> Iterator[Callable[[Callable[..., Any], Sequence[tuple[Any, ...]]], list[Future[Any]]]]:
    """Worker processes, and the function that gives them their work: a function and the arguments of each call.

    Whatever ends the block early ends them too. Ctrl-C is for the parent alone.

    Raises:
        WorkerError: one of them died.
    """
    with ProcessPoolExecutor(jobs, PROCESSES, start, args) as pool:

        def submit(function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> list[Future[Any]]:
            with interrupts_held(), warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of threads: a worker does not use what they may hold
                return [pool.submit(function, *call) for call in calls]

        try:
            yield submit
        except BrokenProcessPool as error:
            raise WorkerError(
                "a worker process died: out of memory, killed, or started by a script that calls simulate(jobs=...) "
                'outside `if __name__ == "__main__":`; jobs=1 needs no workers'
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise
