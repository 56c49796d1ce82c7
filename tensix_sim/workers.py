"""Work in other processes: independent calls side by side, and what happens when one dies or Ctrl-C comes."""

import multiprocessing
import sys
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from typing import Any, TypeVar

from tensix_sim.host import interrupts_held, settled
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
    work: Sequence[float] | None = None,
    learn: Callable[[int, Found], None] = unheard,
) -> list[Found]:
    """The results of `function` with the arguments of each call, in the order of the calls, in `jobs` processes.

    One job needs no other process. `work` says about how long each call takes, in any unit: the longest is begun first, so that
    no process idles at the end while another has much left. After each call `learn` is told its place and result, and
    `progress` the share of the work that is done.

    Raises:
        WorkerError: a worker process died.
    """
    lasts = [1.0] * len(calls) if work is None else work
    order = sorted(range(len(calls)), key=lambda i: -lasts[i])
    found: dict[int, Found] = {}
    done = 0.0
    with settled(), closing(_results(function, calls, order, jobs)) as results:
        for i, result in results:
            found[i] = result
            learn(i, result)
            done += lasts[i]
            progress(min(1.0, done / (sum(lasts) or 1.0)))
    return [found[i] for i in range(len(calls))]


def _results(
    function: Callable[..., Found], calls: Sequence[tuple[Any, ...]], order: Sequence[int], jobs: int
) -> Generator[tuple[int, Found]]:
    """Place and result of each call as it is done, begun in `order`."""
    if jobs == 1 or not calls:
        for i in order:
            yield i, function(*calls[i])
        return
    with worker_processes(min(jobs, len(calls))) as submit:
        places = dict(zip(submit(function, [calls[i] for i in order]), order, strict=True))
        for future in as_completed(places):
            yield places[future], future.result()


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
