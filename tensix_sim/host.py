"""The computer that simulates: its memory, its folders' locks and names, signals; and what is done where a system lacks them."""

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

EXCHANGE = 2  # of Linux's renameat2
HERE = -100  # its AT_FDCWD
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


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Processes started meanwhile inherit that Ctrl-C is not for them, where the system can hold it back."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
