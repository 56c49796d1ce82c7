"""Who runs the configs of a sweep: this process, others beside it, or a Dask cluster."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tensix_sim.store import model_version
from tensix_sim.user_errors import UserError
from tensix_sim.workers import WorkerError, worker_processes


class ClusterError(UserError):
    """A cluster that cannot be reached or used."""


@dataclass(frozen=True)
class Workers:
    """Workers that take a function and its arguments, `count()` of them at present."""

    submit: Callable[..., "Future[Any]"]
    count: Callable[[], int]


@contextmanager
def local_workers(jobs: int = 1) -> Iterator[Workers]:
    """The calling process, or `jobs` others beside it.

    Raises:
        WorkerError: a worker process died.

    """
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
def dask_workers(address: str) -> Iterator[Workers]:
    """The workers of the Dask cluster whose scheduler is at `address`; the cluster replaces those that it loses.

    Raises:
        ClusterError: no scheduler answers, it has no workers, or they run another version of the simulator.
        WorkerError: the scheduler went away, or a config killed one worker after the other.

    """
    from distributed import Client, KilledWorker

    try:
        client = Client(address, timeout=10, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ClusterError(f"no Dask scheduler answers at {address}: {error}") from error
    with client:
        _check_versions(client, address)
        executor = client.get_executor()
        try:
            yield Workers(executor.submit, lambda: max(1, sum(client.nthreads().values())))
        except KilledWorker as error:
            raise WorkerError(f"a config killed worker after worker of {address}: {error}") from error
        finally:
            executor.shutdown(wait=False)  # and cancels what nobody waits for any more


def _check_versions(client: Any, address: str) -> None:
    versions = client.run(model_version, on_error="return")
    if not versions:
        raise ClusterError(f"the Dask cluster at {address} has no workers; start some: dask worker {address}")
    for worker, found in sorted(versions.items()):
        if isinstance(found, Exception):
            raise ClusterError(f"worker {worker} cannot import tensix_sim: {found}")
        if found != model_version():
            raise ClusterError(f"worker {worker} runs another version of tensix_sim, {found}; here is {model_version()}")
