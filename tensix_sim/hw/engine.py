"""The clock: SimPy, driven by `async def` kernels through an awaitable that yields one event."""

import os
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass
from math import inf
from pathlib import Path
from types import CoroutineType, coroutine
from typing import Any, Protocol, cast

import simpy

from tensix_sim.user_errors import UserError

API = str(Path(__file__).resolve().parents[1] / "kernel_api") + os.sep
TICKS = 256  # servers keep time in 1/256 cycle, so that rates which are not whole add up without drift


def whole_cycles(ticks: int) -> int:
    """Cycles that cover `ticks`: the one place where time is rounded up."""
    return -(-ticks // TICKS)


def to_ticks(cycles: float) -> int:
    """`cycles`, which need not be whole, in ticks."""
    return round(cycles * TICKS)


class SimulationError(UserError):
    """The simulated program is wrong: a deadlock, a left-over tile, a read of memory that was never written."""

    exit_code = 3


class DeadlockError(SimulationError):
    """No event is left and kernels still wait."""


@coroutine
def happened(event: simpy.Event) -> Generator[simpy.Event, Any, Any]:
    """Suspend a kernel until `event` has happened."""
    return (yield event)


def of_kernel(frame: Any) -> bool:
    """Whether code that runs is a kernel's own, and not the kernel API's."""
    return not frame.f_code.co_filename.startswith(API)


def line_of(frame: Any) -> str:
    """File and line where code stands."""
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


@dataclass
class Task:
    """A running kernel: who it is, what it waits for now, and where its code stands."""

    label: str
    coroutine: Coroutine[Any, Any, None]
    blocked: Callable[[], str] | None = None
    waits_for: str = ""
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


class Beside(Protocol):
    """Something with events of its own, which only the engine's events can disturb."""

    @property
    def due(self) -> float:
        """Cycle before which nothing of its own happens."""

    @property
    def now(self) -> int:
        """Cycle that it has come to."""

    def run_to(self, horizon: float) -> None:
        """Go on to cycle `horizon`, the engine's next event, or to the first event of its own that the engine must know."""


class Engine:
    """One simulation's clock, in whole cycles, and the kernels that run on it."""

    def __init__(self) -> None:
        self.env = simpy.Environment()
        self.tasks: list[Task] = []
        self.beside: list[Beside] = []
        self.lookahead: float = inf  # cycles before what happens in one of `beside` can matter to another
        self._guards: list[Coroutine[Any, Any, None]] = []
        self._failure: BaseException | None = None

    @property
    def now(self) -> int:
        """The current cycle."""
        return self.env._now  # type: ignore[return-value]  # `env.now` asks for it through two more calls

    def event(self) -> simpy.Event:
        """An event that someone will trigger."""
        return self.env.event()

    def at(self, time: int, callback: Callable[[simpy.Event], None], value: Any = None) -> None:
        """Call `callback` at cycle `time`, with an event that carries `value`."""
        callbacks = self.env.timeout(time - self.now, value).callbacks
        callbacks.append(callback)

    def happen(self, event: simpy.Event, time: int) -> None:
        """Let `event` happen at cycle `time`, after what is to happen then."""
        event._ok, event._value = True, None  # what succeed() does, which cannot wait
        self.env.schedule(event, delay=time - self.now)

    def spawn(
        self, label: str, coroutine: Coroutine[Any, Any, None], end: Callable[[], Coroutine[Any, Any, None]] | None = None
    ) -> Task:
        """Start a kernel at the current cycle; it is done when what it has given its RISC is, for which `end` waits."""
        task = Task(label, coroutine)
        self.tasks.append(task)
        guard = self._guard(task, end)
        self._guards.append(guard)
        self.env.process(cast(Generator[simpy.Event, Any, Any], guard))
        return task

    async def _guard(self, task: Task, end: Callable[[], Coroutine[Any, Any, None]] | None) -> None:
        # SimPy rebuilds an exception from its args, which loses some: keep the original and raise it in `run`.
        try:
            await task.coroutine
            if end is not None:
                await end()
            task.done = True
        except Exception as error:
            if self._failure is None:
                error.add_note(f"in {task.label}")
                self._failure = error

    def run(self) -> None:
        """Run until nothing is left to happen.

        Raises:
            DeadlockError: kernels still wait; says who waits for whom, where.
            Exception: whatever a kernel raised.
        """
        queue, step = self.env._queue, self.env.step  # `env.peek` asks for its first time through two more calls
        try:
            while self._failure is None:
                if not (queue and queue[0][0] <= self.now):
                    self._run_beside()
                step()
        except simpy.core.EmptySchedule:
            pass
        finally:
            stuck = [task for task in self.tasks if not task.done]
            if self._failure is not None or stuck:
                report = "" if self._failure else deadlock_report(stuck, max([self.now, *(beside.now for beside in self.beside)]))
                for task, guard in zip(self.tasks, self._guards, strict=True):
                    guard.close()
                    task.coroutine.close()
        if self._failure is not None:
            raise self._failure
        if stuck:
            raise DeadlockError(report)

    def _run_beside(self) -> None:
        """Let all go on to the engine's next event, none farther ahead of another than `lookahead`."""
        queue, beside = self.env._queue, self.beside
        while beside:
            horizon = queue[0][0] if queue else inf
            if horizon <= self.now:
                return
            dues = [one.due for one in beside] if len(beside) > 1 else [0.0]
            due = min(dues)
            if due > horizon or due == inf:
                return
            first = dues.index(due)
            dues[first] = inf
            beside[first].run_to(min(horizon, min(dues) + self.lookahead))
            if len(beside) == 1:
                return


def deadlock_report(stuck: list[Task], now: int) -> str:
    """Who waits for whom: the first cycle of the wait-for graph, then every other kernel that is stuck."""
    cycle = _cycle(stuck)
    if cycle:
        heading = "each waits for the next, the last for the first"
    else:
        cycle, heading = stuck[:1], "it waits for a kernel that has ended"
    lines = [f"deadlock at cycle {now}: {len(stuck)} kernels wait and nothing can happen; {heading}:"]
    lines += [_line(task) for task in cycle]
    others = [task for task in stuck if task not in cycle]
    if others:
        lines.append("also waiting:")
        lines += [_line(task) for task in others[:8]]
        if len(others) > 8:
            lines.append(f"  and {len(others) - 8} more")
    return "\n".join(lines)


def _cycle(stuck: list[Task]) -> list[Task]:
    """Tasks of which each waits for the next and the last for the first; empty if there are none."""
    by_label = {task.label: task for task in stuck}
    for start in stuck:
        chain: list[Task] = []
        task: Task | None = start
        while task is not None and task not in chain:
            chain.append(task)
            task = by_label.get(task.waits_for)
        if task is not None:
            return chain[chain.index(task) :]
    return []


def _line(task: Task) -> str:
    what = task.blocked() if task.blocked else "an event"
    return f"  {task.label} waits for {what} (from {task.waits_for or 'nobody known'}) at {task.where()}"
