"""Kernels that run: who each is, where its code stands, what it waits for; and what is said of those that wait for ever."""

import re
import sys
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from traceback import walk_tb
from types import CodeType, CoroutineType, TracebackType
from typing import Any, NamedTuple, Protocol, cast

import numpy as np

from tensix_sim.text import grouped

PACKAGE = Path(__file__).resolve().parents[1]
NOT_A_KERNEL = (*(str(PACKAGE / part) for part in ("hw/", "kernel_api/", "formats.py")), str(Path(np.__file__).parent))
MOST_LINES = 8  # of a chain of waits, and of others that wait
CORE = re.compile(r"(device \d+ )?core \(\d+,\d+\) ")

CodePlace = tuple[CodeType, int]  # code of a kernel, and an instruction of it


def of_kernel(frame: Any) -> bool:
    """Whether code that runs is a kernel's own, and not the simulator's or NumPy's."""
    return not frame.f_code.co_filename.startswith(NOT_A_KERNEL)


def caller() -> CodePlace:
    """Where the code stands that has called a verb, which calls this."""
    frame = sys._getframe(2)
    return frame.f_code, frame.f_lasti


def line_of(frame: Any) -> str:
    """File and line where code stands."""
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def line_at(place: CodePlace) -> str:
    """File and line of a place."""
    code, instruction = place
    line = next((line for start, stop, line in code.co_lines() if start <= instruction < stop), code.co_firstlineno)
    return f"{code.co_filename}:{line}"


def lines_of(trace: TracebackType | None) -> str:
    """Where an error was raised, as far as it is in kernels, and from where that was called: " at ..."; or nothing."""
    lines = [f"{frame.f_code.co_filename}:{line}" for frame, line in walk_tb(trace) if of_kernel(frame)]
    return f" at {', called from '.join(reversed(lines))}" if lines else ""


class Wait(NamedTuple):
    """What a kernel waits for, in words; the labels of the kernels that could bring it, and what these did so far."""

    what: str
    of: tuple[str, ...] = ()
    so_far: str = ""


class Queued(Protocol):
    """Operations that a kernel has asked for: those that its RISC has not taken yet, and the number of all."""

    given: list[int]

    @property
    def issued(self) -> int:
        """All of them."""


@dataclass(eq=False)
class Task:
    """A running kernel: who it is, what it waits for now, and what it has asked for."""

    label: str
    coroutine: Coroutine[Any, Any, None]
    blocked: Callable[[], Wait] = lambda: Wait("its turn to begin")
    queue: Queued | None = None
    done: bool = False

    def where(self) -> str:
        """File and line of the kernel's own code at its current suspension."""
        frames = []
        coroutine: Any = self.coroutine
        while isinstance(coroutine, CoroutineType) and coroutine.cr_frame is not None:
            frames.append(coroutine.cr_frame)
            coroutine = coroutine.cr_await
        if not frames:  # it has gone ahead of its RISC to its end
            code = cast(Any, self.coroutine).cr_code
            return f"{code.co_filename}:{code.co_firstlineno}, or after it"
        kernel = list(filter(of_kernel, frames)) or frames[:1]
        return ", called from ".join(map(line_of, reversed(kernel)))

    def says(self) -> str:
        """What it waits for, from whom, and where."""
        what, of, so_far = self.blocked()
        others = f" and {len(of) - 1} more" if len(of) > 1 else ""
        return f"{self.label} waits for {what} (from {of[0] + others if of else 'nobody known'}{so_far}) at {self.where()}"


def deadlock_report(tasks: Sequence[Task], now: int) -> str:
    """Who waits for whom: a cycle of waits, or a chain of them to its end; then every other kernel that is stuck.

    Kernels of several cores that say the same are one line.
    """
    stuck = {task.label: task for task in tasks if not task.done}
    chains = [_followed(task, stuck) for task in stuck.values()]
    chain, end = next((found for found in chains if found[1] == "the first"), chains[0])
    each = "each waits for the next, the last" if len(chain) > 1 or end == "the first" else "it waits"
    lines = [f"deadlock at cycle {now}: {len(stuck)} kernels wait and nothing can happen; {each} for {end}:"]
    return "\n".join(lines + standing(chain, [task for task in stuck.values() if task not in chain], "also waiting:"))


def _followed(task: Task, stuck: dict[str, Task]) -> tuple[list[Task], str]:
    """Tasks of which each waits for the next, and what the last waits for."""
    chain: list[Task] = []
    while task not in chain:
        chain.append(task)
        what, of, _ = task.blocked()
        following = next((stuck[label] for label in of if label in stuck), None)
        if following is None:
            return chain, f"a kernel that has ended: {of[0]}" if of else f"{what.partition(';')[0]}, from nobody known"
        task = following
    return chain[chain.index(task) :], "the first"


def standing(first: Sequence[Task], others: Iterable[Task], heading: str) -> list[str]:
    """A line for each of some kernels, and under a heading for others; those that say the same on other cores are counted."""
    kinds = grouped((*first, *others), lambda task: CORE.sub("", task.says()))
    lines: tuple[list[str], list[str]] = [], []
    for alike in kinds.values():
        same = len({task.label for task in alike}) - 1
        more = f"\n    and {same} {'cores' if same > 1 else 'core'} the same" if same else ""
        lines[alike[0] not in first].append(f"  {alike[0].says()}{more}")
    told, rest = map(_clipped, lines)
    return told + ([heading, *rest] if rest else [])


def _clipped(lines: list[str]) -> list[str]:
    return lines if len(lines) <= MOST_LINES else [*lines[:MOST_LINES], f"  and {len(lines) - MOST_LINES} more"]
