"""The computer that simulates: its memory, its folders' locks and names, signals; and what is done where a system lacks them."""

import ctypes
import gc
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

STDOUT = Path("-")  # where a file is to be named
EXCHANGE = 2  # of Linux's renameat2
HERE = -100  # its AT_FDCWD
PARENT_DEATH = 1  # prctl's PR_SET_PDEATHSIG
fcntl: Any = import_module("fcntl") if find_spec("fcntl") else None  # POSIX systems have both
resource: Any = import_module("resource") if find_spec("resource") else None


def memory_bytes() -> int:
    """Memory of the computer; more than any has where its system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError):
        return sys.maxsize


def peak_memory_bytes() -> int:
    """The most memory that this process had, and the largest of its children that have ended; 0 where that is not counted."""
    if resource is None:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * sum(int(resource.getrusage(who).ru_maxrss) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


@contextmanager
def settled() -> Iterator[None]:
    """Take all that there is now for here to stay until the block ends, and in processes that are forked meanwhile.

    A collector that looks through all modules again and again takes a fifth of a batch of small runs.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextmanager
def locked(folder: Path, wait: bool = True) -> Iterator[None]:
    """Have a folder alone until the block or the process ends. Who waits goes on without where folders cannot be locked.

    Raises:
        OSError: the folder cannot be opened; or, without `wait`, another process has it or nobody can tell.
    """
    if fcntl is None:
        if not wait:
            raise OSError(f"{folder}: nobody can tell whether another process has it")
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError) if wait else nullcontext():
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)


def exchange(a: Path, b: Path) -> bool:
    """Exchange two names in one step; false where that is not possible."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    return rename is not None and rename(HERE, os.fsencode(a), HERE, os.fsencode(b), EXCHANGE) == 0


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does."""


@contextmanager
def interrupts_raise() -> Iterator[None]:
    """Until the block ends, SIGTERM raises `Terminated` in the main thread, and Ctrl-C KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise Terminated

    usual = signal.signal(signal.SIGTERM, stop), signal.getsignal(signal.SIGINT)
    if usual[1] is _end_at_once:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, usual[0])
        signal.signal(signal.SIGINT, usual[1])


def interrupts_end_at_once() -> None:
    """Ctrl-C and SIGTERM end the process without a word, as before there is anything to tidy up and after it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end_at_once)


def _end_at_once(number: int, _: object) -> None:
    os._exit(128 + number)


def end_with(parent: int) -> None:
    """Let this process end when its parent does, whatever ends that one; SIGTERM ends it too."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PARENT_DEATH, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Processes started meanwhile inherit that Ctrl-C is not for them, nor SIGTERM before they `end_with` this one.

    Where the system can hold signals back.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before, late = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM}), list[int]()
    # a thread of a library may take the signal all the same: Python then interrupts the main one, whatever that holds back
    usual = signal.getsignal(signal.SIGINT) if threading.current_thread() is threading.main_thread() else None
    if usual is not None:
        signal.signal(signal.SIGINT, lambda number, _: late.append(number))
    try:
        yield
    finally:
        if usual is not None:
            signal.signal(signal.SIGINT, usual)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if late:
        raise KeyboardInterrupt
