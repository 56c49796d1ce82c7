"""Ends a kernel that runs for ever in its own code: one that for so long asks its RISC for nothing, and does not wait either."""

import ctypes
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tensix_sim.hw.tasks import Task
from tensix_sim.user_errors import UsageError

VARIABLE = "TENSIX_SIM_STEP_SECONDS"  # 0: kernels may take as long as they like
STEP_SECONDS = 60.0
MOST_ASKED = 1 << 22  # operations in one step, which all lie in memory


class EndlessStepError(BaseException):
    """Raised into a kernel that does not come to its next wait."""


@contextmanager
def watchdog(tasks: Sequence[Task]) -> Iterator[None]:
    """Watch kernels that run in this thread, but for those that a debugger, or whatever else traces Python, holds up."""
    seconds = step_seconds()
    if seconds == 0 or _traced():
        yield
        return
    over = threading.Event()
    thread = threading.Thread(target=_watch, args=(tasks, threading.get_ident(), seconds, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def step_seconds() -> float:
    """Seconds that a kernel may take from one thing that it asks for to the next; 0: any.

    Raises:
        UsageError: the environment says something else.
    """
    given = os.environ.get(VARIABLE, STEP_SECONDS)
    try:
        seconds = float(given)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= threading.TIMEOUT_MAX:
        raise UsageError(f"{VARIABLE} is {given!r}: seconds that a step of a kernel may take, 0 for any")
    return seconds


def _traced() -> bool:
    monitoring = getattr(sys, "monitoring", None)  # from Python 3.12 on
    return sys.gettrace() is not None or (monitoring is not None and monitoring.get_tool(monitoring.DEBUGGER_ID) is not None)


def _watch(tasks: Sequence[Task], thread: int, seconds: float, over: threading.Event) -> None:
    every, stood, at = min(1.0, seconds / 8), 0.0, None
    while not over.wait(every):
        task: Any = next((task for task in tasks if getattr(task.coroutine, "cr_running", False)), None)
        now = task and task.queue and (task, task.queue.issued)
        stood = stood + every if now and now == at and not _compiles(thread) else 0.0
        at = now
        if stood >= seconds or (now and len(task.queue.given) > MOST_ASKED):
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(EndlessStepError))
            return


def _compiles(thread: int) -> bool:
    """Whether Numba is at work, which has its own time the first time."""
    frame = sys._current_frames().get(thread)
    while frame is not None:
        if str(frame.f_globals.get("__name__")).startswith("numba."):
            return True
        frame = frame.f_back
    return False
