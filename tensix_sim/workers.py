"""Work in other processes, here or on a Dask cluster: calls side by side, and what happens when a worker dies or Ctrl-C comes."""

import asyncio
import multiprocessing
import os
import sys
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from tensix_sim.host import end_with, interrupts_held, settled
from tensix_sim.store import model_version
from tensix_sim.text import brief, clipped
from tensix_sim.user_errors import UserError

PROCESSES = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")  # a fork has all loaded that this one has

Jobs = int | str  # processes, or the address of a Dask scheduler
Progress = Callable[[float], None]
Found = TypeVar("Found")


def unwatched(share: float, told: str = "") -> None:
    """Progress that nobody looks at."""


def unheard(index: int, found: Any) -> None:
    """A result that nobody waits for before all are there."""


class ClusterError(UserError):
    """A cluster that cannot be reached or used."""


class WorkerError(UserError):
    """A worker process ended before its work was done."""


def run_all(
    function: Callable[..., Found],
    calls: Sequence[tuple[Any, ...]],
    jobs: Jobs = 1,
    progress: Progress = unwatched,
    work: Sequence[float] | None = None,
    learn: Callable[[int, Found], None] = unheard,
) -> list[Found]:
    """The results of `function` with the arguments of each call, in the order of the calls.

    `jobs` says where, as `workers` has it. `work` says about how long each call takes, in any unit: the longest is begun first,
    so that no process idles at the end while another has much left. After each call `learn` is told its place and result,
    and `progress` the share of the work that is done.

    Raises:
        ClusterError: the cluster cannot be used.
        WorkerError: a worker died.
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
    function: Callable[..., Found], calls: Sequence[tuple[Any, ...]], order: Sequence[int], jobs: Jobs
) -> Generator[tuple[int, Found]]:
    """Place and result of each call as it is done, begun in `order`."""
    if jobs == 1 or not calls:
        for i in order:
            yield i, function(*calls[i])
        return
    with workers(jobs if isinstance(jobs, str) else min(jobs, len(calls))) as on:
        places = {on.submit(function, *calls[i]): i for i in order}
        for future in as_completed(places):
            yield places[future], future.result()


@dataclass(frozen=True)
class Workers:
    """Workers that take a function and its arguments, `count()` of them at present."""

    submit: Callable[..., "Future[Any]"]
    count: Callable[[], int]


@contextmanager
def workers(jobs: Jobs = 1) -> Iterator[Workers]:
    """The calling process, so many others beside it, or the Dask cluster whose scheduler is at an address.

    Raises:
        ClusterError: the cluster cannot be used.
        WorkerError: a worker died.
    """
    if isinstance(jobs, str):
        with _dask_workers(jobs) as cluster:
            yield cluster
        return
    if jobs == 1:
        yield Workers(_run_here, lambda: 1)
        return
    with worker_processes(jobs) as submit:
        yield Workers(lambda function, *args: submit(function, [args])[0], lambda: jobs)


def _run_here(function: Callable[..., Any], *args: Any) -> "Future[Any]":
    future: Future[Any] = Future()
    future.set_result(function(*args))
    return future


@contextmanager
def worker_processes(
    jobs: int, start: Callable[..., None] | None = None, args: tuple[Any, ...] = ()
) -> Iterator[Callable[[Callable[..., Any], Sequence[tuple[Any, ...]]], list[Future[Any]]]]:
    """Worker processes, and the function that gives them their work: a function and the arguments of each call.

    Whatever ends the block early, or this process, ends them too. Ctrl-C is for the parent alone.

    Raises:
        WorkerError: one of them died.
    """
    with ProcessPoolExecutor(jobs, PROCESSES, _begin, (os.getpid(), start, args)) as pool:

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
            for process in multiprocessing.active_children():
                process.terminate()
            pool.shutdown(cancel_futures=True)  # and waits: Python's own exit trips over a pool that is just closing
            raise


def _begin(parent: int, start: Callable[..., None] | None, args: tuple[Any, ...]) -> None:
    end_with(parent)
    if start:
        start(*args)


@contextmanager
def _dask_workers(address: str) -> Iterator[Workers]:
    """The workers of the Dask cluster whose scheduler is at `address`; the cluster replaces those that it loses.

    Raises:
        ClusterError: no scheduler answers, it has no workers, or they run another version of the simulator.
        WorkerError: the scheduler went away, or a config killed one worker after the other.

    """
    from distributed import Client, KilledWorker

    try:
        with ThreadPoolExecutor(1) as thread:  # a notebook's own has a loop already; a client that fails takes long to close
            thread.submit(asyncio.run, _answers(address)).result()
        client = Client(address, timeout=10, set_as_default=False)
    except Exception as error:  # an address that is none ends in nearly any
        raise ClusterError(f"no Dask scheduler answers at {brief(address, 80)}: {clipped(str(error))}") from error
    with client:
        _check_versions(client, address)
        executor = client.get_executor()
        try:
            yield Workers(executor.submit, lambda: max(1, sum(client.nthreads().values())))
        except KilledWorker as error:
            raise WorkerError(f"a config killed worker after worker of {address}: {error}") from error
        finally:
            executor.shutdown(wait=False)  # and cancels what nobody waits for any more


async def _answers(address: str) -> None:
    from distributed.comm.core import connect

    await (await connect(address, timeout=10)).close()


def _check_versions(client: Any, address: str) -> None:
    versions = client.run(model_version, on_error="return")
    if not versions:
        raise ClusterError(f"the Dask cluster at {address} has no workers; start some: dask worker {address}")
    for worker, found in sorted(versions.items()):
        if isinstance(found, Exception):
            raise ClusterError(f"worker {worker} cannot import tensix_sim: {found}")
        if found != model_version():
            raise ClusterError(f"worker {worker} runs another version of tensix_sim, {found}; here is {model_version()}")
