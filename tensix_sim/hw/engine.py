"""The clock: SimPy, driven by `async def` kernels through an awaitable that yields one event."""

from collections.abc import Callable, Coroutine, Generator
from math import inf
from types import coroutine
from typing import Any, Protocol, cast

import simpy

from tensix_sim.hw.tasks import Task, deadlock_report, lines_of, standing
from tensix_sim.hw.watchdog import EndlessStepError, watchdog
from tensix_sim.user_errors import UserError

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


class Beside(Protocol):
    """Something with events of its own, which only the engine's events can disturb."""

    @property
    def due(self) -> float:
        """Cycle before which nothing of its own happens."""

    @property
    def now(self) -> int:
        """Cycle that it has come to."""

    @property
    def reach(self) -> float:
        """Cycles after `due` before which it matters to no other."""

    def run_to(self, horizon: float) -> None:
        """Go on to cycle `horizon`, the engine's next event, or to the first event of its own that the engine must know."""


class Engine:
    """One simulation's clock, in whole cycles, and the kernels that run on it."""

    def __init__(self) -> None:
        self.env = simpy.Environment()
        self.tasks: list[Task] = []
        self.beside: list[Beside] = []
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
        except (Exception, EndlessStepError) as error:
            if self._failure is None:
                self._failure = self._blamed(error, task)

    def _blamed(self, error: BaseException, task: Task) -> BaseException:
        """An error of a kernel, with who and where; one that is not the simulator's own is the cause of one that is."""
        trace = error.__traceback__
        if not isinstance(error, SimulationError | MemoryError):
            said = f"{type(error).__name__}: {error}"
            if isinstance(error, EndlessStepError):
                others = [other for other in self.tasks if other is not task and not other.done]
                said = "\n".join(["a kernel neither waits nor asks for anything any more", *standing([], others, "meanwhile:")])
            cause, error = error, SimulationError(said)
            error.__cause__ = cause
        error.add_note(f"in {task.label}{lines_of(trace)}")
        return error

    def run(self) -> None:
        """Run until nothing is left to happen.

        Raises:
            DeadlockError: kernels still wait; says who waits for whom, where.
            SimulationError: a kernel raised an exception, which is its cause, or runs for ever.
        """
        queue, step = self.env._queue, self.env.step  # `env.peek` asks for its first time through two more calls
        try:
            with watchdog(self.tasks):
                while self._failure is None:
                    if not (queue and queue[0][0] <= self.now):
                        self._run_beside()
                    step()
        except simpy.core.EmptySchedule:
            pass
        except EndlessStepError as error:  # between two kernels: the long step has just ended
            raise SimulationError("a kernel's step took longer than it may") from error
        finally:
            stuck = [task for task in self.tasks if not task.done]
            if self._failure is not None or stuck:
                now = max([self.now, *(beside.now for beside in self.beside)])
                report = "" if self._failure else deadlock_report(self.tasks, now)
                for task, guard in zip(self.tasks, self._guards, strict=True):
                    guard.close()
                    task.coroutine.close()
        if self._failure is not None:
            raise self._failure
        if stuck:
            raise DeadlockError(report)

    def _run_beside(self) -> None:
        """Let all go on to the engine's next event, none farther ahead of another than that one's reach."""
        queue, beside = self.env._queue, self.beside
        while beside:
            horizon = queue[0][0] if queue else inf
            if horizon <= self.now:
                return
            ends = [one.due + one.reach for one in beside]
            first, second, *_ = [*sorted(ends)[:2], inf]
            ran = False
            for one, end in zip(beside, ends, strict=True):
                until = min(horizon, second if end == first else first)
                if one.due <= until and one.due < inf:
                    one.run_to(until)
                    ran = True
            if not ran:
                return
