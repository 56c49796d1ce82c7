"""The clock: whole cycles, a fixed order, failures that arrive as they were raised, and deadlocks that say who and where."""

import gc
import re
import sys
import threading
import warnings
from types import SimpleNamespace

import pytest

from tensix_sim.hw.engine import TICKS, DeadlockError, Engine, SimulationError, happened, to_ticks, whole_cycles
from tensix_sim.hw.tasks import Wait
from tensix_sim.hw.watchdog import VARIABLE
from tensix_sim.user_errors import UsageError


async def sleep(engine: Engine, cycles: int) -> None:
    """Come back `cycles` later."""
    event = engine.event()
    engine.at(engine.now + cycles, lambda _: event.succeed())
    await happened(event)


# -- time ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cycles", "whole"), [(0, 0), (1 / TICKS, 1), (1, 1), (1 + 1 / TICKS, 2), (44.5, 45), (46, 46)])
def test_time_is_rounded_up_to_whole_cycles(cycles: float, whole: int) -> None:
    """Work that ends within a cycle is done at that cycle's end, and not one later."""
    assert whole_cycles(to_ticks(cycles)) == whole


def test_now_is_a_whole_number() -> None:
    """The clock shows an int at every step of a kernel."""
    engine, seen = Engine(), []

    async def kernel() -> None:
        for cycles in (0, 1, 7):
            await sleep(engine, cycles)
            seen.append(engine.now)

    engine.spawn("k", kernel())
    engine.run()
    assert seen == [0, 1, 8]
    assert all(type(time) is int for time in seen)


def test_events_of_one_cycle_happen_in_the_order_they_were_asked_for() -> None:
    """Same cycle: first asked, first served. Another cycle: the earlier first."""
    engine, seen = Engine(), []
    for time, name in ((5, "c"), (3, "a"), (5, "d"), (3, "b")):
        engine.at(time, lambda event: seen.append((engine.now, event.value)), name)
    engine.run()
    assert seen == [(3, "a"), (3, "b"), (5, "c"), (5, "d")]


def test_kernels_start_in_the_order_of_their_spawning() -> None:
    """At one cycle, kernels take their turns as they were spawned."""
    engine, seen = Engine(), []

    async def kernel(name: str) -> None:
        for _ in range(2):
            seen.append(name)
            await sleep(engine, 4)

    for name in "abc":
        engine.spawn(name, kernel(name))
    engine.run()
    assert seen == list("abcabc")


def test_two_engines_never_meet() -> None:
    """What one engine does moves neither the other's clock nor its kernels."""
    one, two = Engine(), Engine()
    seen: list[str] = []

    async def kernel(engine: Engine, name: str, cycles: int) -> None:
        await sleep(engine, cycles)
        seen.append(name)

    one.spawn("one", kernel(one, "one", 100))
    two.spawn("two", kernel(two, "two", 3))
    one.run()
    assert (one.now, two.now, seen) == (100, 0, ["one"])
    two.run()
    assert (one.now, two.now, seen) == (100, 3, ["one", "two"])


# -- failure ------------------------------------------------------------------------------------------------


class OddError(Exception):
    """Its constructor takes other arguments than its `args`."""

    def __init__(self, tiles: int, *, buffer: str) -> None:
        super().__init__(f"{buffer} has {tiles}")
        self.tiles = tiles


@pytest.mark.parametrize(
    "error", [ValueError("bad", 3), OddError(7, buffer="x_in"), SimulationError("s"), KeyError("k"), MemoryError()], ids=repr
)
def test_an_exception_in_a_kernel_is_the_programs_failure(error: Exception) -> None:
    """`run` raises a `SimulationError` with core, RISC, file and line: the kernel's own, or one whose cause is what it raised.

    Memory that runs out is the computer's failure.
    """
    engine = Engine()

    async def kernel() -> None:
        await sleep(engine, 2)
        raise error

    engine.spawn("core (1,2) NCRISC", kernel())
    args = error.args
    with pytest.raises((SimulationError, MemoryError)) as caught:
        engine.run()
    own = isinstance(error, SimulationError | MemoryError)
    assert (caught.value if own else caught.value.__cause__) is error
    assert own or str(caught.value) == f"{type(error).__name__}: {error}"
    assert error.args == args
    (note,) = caught.value.__notes__
    assert re.fullmatch(rf"in core \(1,2\) NCRISC at {re.escape(__file__)}:\d+", note)
    assert engine.now == 2


def test_an_error_says_where_it_is_and_from_where_that_was_called() -> None:
    """The innermost line of the kernel's own code first."""
    engine = Engine()

    def helper() -> None:
        raise IndexError("list index out of range")

    async def kernel() -> None:
        helper()

    engine.spawn("core (0,0) BRISC", kernel())
    with pytest.raises(SimulationError) as caught:
        engine.run()
    lines = [f"{function.__code__.co_filename}:{function.__code__.co_firstlineno + 1}" for function in (helper, kernel)]
    assert caught.value.__notes__ == [f"in core (0,0) BRISC at {lines[0]}, called from {lines[1]}"]


def test_the_first_failure_stops_the_clock() -> None:
    """Nothing happens after a kernel has failed, and only the first failure is raised."""
    engine = Engine()

    async def kernel(name: str, cycles: int) -> None:
        await sleep(engine, cycles)
        raise ValueError(name)

    engine.spawn("late", kernel("late", 9))
    engine.spawn("early", kernel("early", 4))
    engine.spawn("too late", kernel("too late", 4))
    with pytest.raises(SimulationError, match="ValueError: early"):
        engine.run()
    assert engine.now == 4


def test_kernels_that_wait_are_closed_when_another_fails() -> None:
    """A waiting kernel's `finally` runs at the failure and not when memory is collected."""
    engine, closed = Engine(), []

    async def waits() -> None:
        try:
            await happened(engine.event())
        finally:
            closed.append(engine.now)

    async def fails() -> None:
        await sleep(engine, 3)
        raise ValueError

    engine.spawn("a", waits())
    engine.spawn("b", fails())
    with pytest.raises(SimulationError):
        engine.run()
    assert closed == [3]


def test_a_kernel_that_fails_at_once_leaves_no_warning_behind() -> None:
    """Kernels that never came to their first step are closed silently: the failure alone is on the screen."""
    engine = Engine()

    async def fails() -> None:
        raise ValueError("first step")

    async def never_starts() -> None: ...

    engine.spawn("a", fails())
    engine.spawn("b", never_starts())
    with pytest.raises(SimulationError, match="ValueError: first step"):
        engine.run()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del engine
        gc.collect()
    assert [str(w.message) for w in caught] == []


def test_a_forgotten_await_is_a_warning() -> None:
    """A verb called without `await` warns that its coroutine never ran; pytest makes an error of it."""
    engine = Engine()

    async def verb() -> None: ...

    async def kernel() -> None:
        verb()

    engine.spawn("k", kernel())
    with pytest.warns(RuntimeWarning, match=r"verb' was never awaited"):
        engine.run()


# -- deadlock -----------------------------------------------------------------------------------------------


def stuck(engine: Engine, label: str, what: str, waits_for: str) -> None:
    """Spawn a kernel that waits for good."""

    async def kernel() -> None:
        await happened(engine.event())

    task = engine.spawn(label, kernel())
    task.blocked = lambda: Wait(what, (waits_for,) if waits_for else ())


def report(engine: Engine) -> list[str]:
    """Lines of the deadlock that `engine` runs into."""
    with pytest.raises(DeadlockError) as caught:
        engine.run()
    return str(caught.value).splitlines()


def test_a_wait_for_nothing_is_a_deadlock() -> None:
    """No event left and a kernel that waits: an error, with the cycle, the kernel, what it wants, the file and the line."""
    engine = Engine()
    engine.at(12, lambda _: None)
    stuck(engine, "core (0,0) NCRISC", "2 tiles in q", "")
    head, line = report(engine)
    assert head.startswith("deadlock at cycle 12: 1 kernels wait")
    assert re.search(rf"core \(0,0\) NCRISC waits for 2 tiles in q .*{re.escape(__file__)}:\d+$", line)


def test_the_wait_for_cycle_comes_first_and_in_order() -> None:
    """Who waits for whom: the kernels of the cycle, each followed by the one it waits for; bystanders after them."""
    engine = Engine()
    for label, waits_for in (("a", "b"), ("b", "c"), ("c", "b"), ("d", "a")):
        stuck(engine, label, f"{waits_for}'s tiles", waits_for)
    lines = report(engine)
    assert "each waits for the next, the last for the first" in lines[0]
    assert [line.split()[0] for line in lines[1:]] == ["b", "c", "also", "a", "d"]


def test_a_wait_for_a_kernel_that_has_ended_says_so() -> None:
    """A chain that ends at a finished kernel is no cycle, and the report does not claim one."""
    engine = Engine()

    async def ends() -> None: ...

    engine.spawn("gone", ends())
    stuck(engine, "a", "tiles", "gone")
    head, line = report(engine)
    assert head.endswith("it waits for a kernel that has ended: gone:")
    assert "a waits for tiles (from gone)" in line


def test_waits_are_followed_to_their_end() -> None:
    """Whoever is stuck first: the chain goes to the kernel that ended, which is the cause, and is told first."""
    engine = Engine()

    async def ends() -> None: ...

    engine.spawn("writer", ends())
    stuck(engine, "reader", "space", "compute")
    stuck(engine, "compute", "space in out", "writer")
    head, *lines = report(engine)
    assert head.endswith("each waits for the next, the last for a kernel that has ended: writer:")
    assert [line.split()[0] for line in lines] == ["reader", "compute"]


def test_kernels_that_are_alike_are_one_line() -> None:
    """Sixteen cores that stand the same way are told once, with how many more there are; what differs is told apart."""
    engine = Engine()
    for i in range(16):
        stuck(engine, f"core ({i},0) TRISC", "tiles" if i != 7 else "space", f"core ({i},0) BRISC")
    head, *lines = report(engine)
    assert "16 kernels wait" in head
    assert [line.split(" (from")[0].strip() for line in lines] == [
        "core (0,0) TRISC waits for tiles", "and 14 cores the same", "also waiting:", "core (7,0) TRISC waits for space",
    ]  # fmt: skip


def test_a_cycle_is_found_wherever_it_starts() -> None:
    """A first kernel that waits for one that has ended does not hide the cycle of others."""
    engine = Engine()
    for label, waits_for in (("a", "gone"), ("b", "c"), ("c", "b")):
        stuck(engine, label, "tiles", waits_for)
    lines = report(engine)
    assert "each waits for the next, the last for the first" in lines[0]
    assert [line.split()[0] for line in lines[1:]] == ["b", "c", "also", "a"]


def test_a_crowd_of_bystanders_is_counted() -> None:
    """The report stays readable with a hundred stuck kernels."""
    engine = Engine()
    for i in range(100):
        stuck(engine, f"k{i}", "tiles", "k0")
    lines = report(engine)
    assert len(lines) < 20
    assert lines[-1].strip() == "and 91 more"


# -- kernels that never end ---------------------------------------------------------------------------------


def test_a_kernel_that_runs_for_ever_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that waits for nothing ends with its core, RISC, file and line, and where the others stand meanwhile."""
    monkeypatch.setenv(VARIABLE, "0.2")
    monkeypatch.setattr(sys, "gettrace", lambda: None)  # coverage traces
    engine = Engine()

    async def polls() -> None:
        flag: list[int] = []
        while not flag:
            pass

    stuck(engine, "core (0,0) TRISC", "2 tiles in q", "core (0,0) NCRISC")
    task = engine.spawn("core (0,0) NCRISC", polls())
    task.queue = SimpleNamespace(given=[], issued=3)
    with pytest.raises(SimulationError, match="neither waits nor asks for anything") as caught:
        engine.run()
    assert "core (0,0) TRISC waits for 2 tiles in q" in str(caught.value)
    assert re.fullmatch(rf"in core \(0,0\) NCRISC at {re.escape(__file__)}:\d+", caught.value.__notes__[0])


@pytest.mark.parametrize(("given", "traced"), [("0", False), ("0.05", True)])
def test_a_slow_kernel_is_left_alone(given: str, traced: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a limit, and in a debugger."""
    monkeypatch.setenv(VARIABLE, given)
    monkeypatch.setattr(sys, "gettrace", lambda: print if traced else None)
    engine = Engine()

    async def sleeps() -> None:
        threading.Event().wait(0.3)

    engine.spawn("k", sleeps()).queue = SimpleNamespace(given=[], issued=0)
    engine.run()


@pytest.mark.parametrize("given", ["soon", "-1", "nan"])
def test_the_limit_is_seconds(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anything else is told as an error of whoever set it."""
    monkeypatch.setenv(VARIABLE, given)
    with pytest.raises(UsageError, match=f"{VARIABLE} is '{given}'"):
        Engine().run()
