"""Kernels broken on purpose: each fault ends in the right error, with the right names; none in silence or in a hang."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tensix_sim.arch import machine
from tensix_sim.hw import DeadlockError, SimulationError
from tensix_sim.kernel_api import Add, Compute, DataMovement, Kernel, Program, Tensor
from tensix_sim.kernels import eltwise_add

P100 = machine("p100a")
TILES = 4  # of each core
LAST = TILES - 1


@dataclass(frozen=True)
class Args(eltwise_add.Args):
    """Arguments of eltwise add, and what is wrong with this core's kernels."""

    fault: str = ""


async def reader(dm: DataMovement, a: Args) -> None:
    """The reader of eltwise add, with its faults."""
    x_in, y_in, out = dm.cbs("x_in", "y_in", "out")
    order = [(tensor, cb, tile) for tile in range(a.start, a.start + a.count) for tensor, cb in ((a.x, x_in), (a.y, y_in))]
    if a.fault == "all of x before y":
        order.sort(key=lambda step: step[0].name)
    if a.fault == "an output page read before it is written":
        order[-1] = (a.out, y_in, order[-1][2])
    for i, (tensor, cb, tile) in enumerate(order):
        if a.fault == "reserve of 3":
            await dm.reserve(cb, 3)
        elif a.fault == "reserve not awaited":
            dm.reserve(cb, 1)  # type: ignore[unused-coroutine]
        elif a.fault != "reserve dropped":
            await dm.reserve(cb, 1)
        if a.fault == "push before read":
            dm.push(cb, 1)
        if a.fault == "read not awaited":
            dm.read(tensor, [tile], cb, (1, 1))  # type: ignore[unused-coroutine]
        elif a.fault == "2 tiles read into 1":
            await dm.read(tensor, [tile, tile], cb, (1, 2))
        elif a.fault == "read into the wrong buffer":
            await dm.read(tensor, [tile], x_in if cb is y_in else y_in, (1, 1))
        else:
            await dm.read(tensor, [tile], cb, (1, 1))
        if not (a.fault == "push dropped" and cb is x_in and i == 2 * LAST):
            dm.push(cb, 1)
        if a.fault == "push twice":
            dm.push(cb, 1)
    if a.fault == "a tile too many":
        await dm.reserve(x_in, 1)
        await dm.read(a.x, [a.start], x_in, (1, 1))
        dm.push(x_in, 1)
    if a.fault == "a tile read and not pushed":
        await dm.reserve(x_in, 1)
        await dm.read(a.x, [a.start], x_in, (1, 1))
    if a.fault == "reader waits for its own tiles":
        await dm.wait(x_in, 1)
    if a.fault == "reader pops the writer's tile":
        dm.pop(out, 1)
    if a.fault == "semaphore never raised":
        await dm.semaphore_wait("go", 2)


async def compute(t: Compute, a: Args) -> None:
    """The compute kernel of eltwise add, with its faults."""
    x_in, y_in, out = map(t.matrix, ("x_in", "y_in", "out"))
    for i in range(a.count + (a.fault == "one add too many") - (a.fault == "one add too few")):
        if a.fault == "add not awaited":
            t.do(Add, x_in, y_in, out)  # type: ignore[unused-coroutine]
        elif a.fault == "operands swapped with the output":
            await t.do(Add, x_in, out, y_in)
        elif a.fault == "add of 3":
            await t.do(Add, *(t.matrix(name, 1, 3) for name in ("x_in", "y_in", "out")))
        else:
            await t.do(Add, x_in, y_in, out)
        if not (a.fault == "pop dropped" and i > 0) and not (a.fault == "last pop dropped" and i == LAST):
            t.pop(x_in)
        if a.fault == "pop twice":
            t.pop(x_in)
        t.pop(y_in)
        if a.fault == "compute pops the writer's tile":
            t.pop(out)
        if a.fault == "compute waits for the writer's tile":
            await t.wait(out)


async def writer(dm: DataMovement, a: Args) -> None:
    """The writer of eltwise add, with its faults."""
    x_in, out = dm.cbs("x_in", "out")
    if a.fault == "writer pushes into the reader's buffer":
        dm.push(x_in, 1)
    if a.fault == "writer reserves in the reader's buffer":
        await dm.reserve(x_in, 1)
    for i, tile in enumerate(range(a.start, a.start + a.count)):
        if a.fault == "wait not awaited":
            dm.wait(out, 1)  # type: ignore[unused-coroutine]
        elif a.fault == "wait for 3":
            await dm.wait(out, 3)
        elif a.fault != "wait dropped":
            await dm.wait(out, 1)
        if a.fault == "write not awaited":
            dm.write(out, a.out, [tile], (1, 1))  # type: ignore[unused-coroutine]
        elif a.fault == "2 tiles written of 1":
            await dm.write(out, a.out, [tile, tile], (1, 2))
        elif a.fault == "page beyond the end":
            await dm.write(out, a.out, [tile + a.out.pages], (1, 1))
        elif a.fault == "page written twice":
            await dm.write(out, a.out, [a.start], (1, 1))
        elif not (a.fault == "page left unwritten" and i == LAST):
            await dm.write(out, a.out, [tile], (1, 1))
        if a.fault != "output's pop dropped":
            dm.pop(out, 1)
        if a.fault == "output popped twice":
            dm.pop(out, 1)
        if a.fault == "semaphore never raised":
            dm.semaphore_increase((1, 0), "go")
            await dm.semaphore_wait("never", 1)


READER, COMPUTE, WRITER = (rf"core \(1,0\) {risc}" for risc in ("NCRISC", "TRISC", "BRISC"))
FILE = re.escape(__file__) + r":\d+"


def waits(who: str, what: str, for_whom: str) -> str:
    """A line of a deadlock report."""
    return rf"{who} waits for {what} \(from {for_whom}\) at {FILE}"


def cb(name: str, what: str) -> str:
    """The start of a buffer's message."""
    return rf"core \(1,0\) {name}: {what}"


# fault: kind of error, what its message must hold, and whose note it carries
FAULTS: dict[str, tuple[type[Exception], list[str], str]] = {
    # reader
    "reserve dropped": (SimulationError, [cb("x_in", ".* of 1 tiles; 0 .*reserved")], READER),
    "reserve of 3": (SimulationError, [cb("x_in", "reserve of 3 tiles of a buffer that holds 2; ask for 1 to 2")], READER),
    "push before read": (SimulationError, [cb("x_in", "push of 1 tiles; only 0 of them were written")], READER),
    "2 tiles read into 1": (SimulationError, [r"core \(1,0\) x_in"], READER),
    "read into the wrong buffer": (SimulationError, [r"core \(1,0\) [xy]_in"], READER),
    "push twice": (SimulationError, [cb("x_in", "push of 1 tiles; 0 are reserved")], READER),
    "push dropped": (
        DeadlockError,
        [waits(COMPUTE, "1 tiles in x_in, which has 0", READER), waits(WRITER, "1 tiles in out, which has 0", COMPUTE)],
        "",
    ),
    "all of x before y": (
        DeadlockError,
        [
            "each waits for the next, the last for the first",
            waits(READER, "space for 1 tiles in x_in, which has 0 of 2 free", COMPUTE)
            + r"\n  "
            + waits(COMPUTE, "1 tiles in y_in, which has 0", READER),
            rf"also waiting:\n  {waits(WRITER, '1 tiles in out, which has 0', COMPUTE)}",
        ],
        "",
    ),
    "an output page read before it is written": (
        SimulationError,
        ["read of page 7 of out, which nothing has written yet"],
        READER,
    ),
    "a tile too many": (SimulationError, [cb("x_in", "1 tiles left over; its compute kernel popped 4 of 5")], ""),
    "a tile read and not pushed": (SimulationError, [r"core \(1,0\) x_in"], ""),
    "reader waits for its own tiles": (
        SimulationError,
        [cb("x_in", "wait by the reader; this end belongs to the compute")],
        READER,
    ),
    "reader pops the writer's tile": (SimulationError, [cb("out", "pop by the reader; this end belongs to the writer")], READER),
    "semaphore never raised": (
        DeadlockError,
        [rf"{READER} waits for semaphore go to reach 2; it is 1 .*{FILE}", rf"{WRITER} waits for semaphore never"],
        "",
    ),
    # compute
    "one add too many": (
        DeadlockError,
        ["waits for a kernel that has ended", waits(COMPUTE, "1 tiles in x_in, which has 0", READER)],
        "",
    ),
    "one add too few": (
        DeadlockError,
        ["waits for a kernel that has ended", waits(WRITER, "1 tiles in out, which has 0", COMPUTE)],
        "",
    ),
    "add of 3": (SimulationError, [cb("x_in", "wait for 3 tiles of a buffer that holds 2; ask for 1 to 2")], COMPUTE),
    "operands swapped with the output": (
        SimulationError,
        [cb("out", "wait by the compute kernel; this end belongs to the writer")],
        COMPUTE,
    ),
    "pop dropped": (
        DeadlockError,
        [
            waits(COMPUTE, "1 tiles in y_in, which has 0", READER),
            waits(READER, "space for 1 tiles in x_in, which has 0 of 2 free", COMPUTE),
        ],
        "",
    ),
    "last pop dropped": (SimulationError, [cb("x_in", "1 tiles left over; its compute kernel popped 3 of 4")], ""),
    "pop twice": (SimulationError, [cb("x_in", "pop of 1 tiles; 0 are there")], COMPUTE),
    "compute pops the writer's tile": (
        SimulationError,
        [cb("out", "pop by the compute kernel; this end belongs to the writer")],
        COMPUTE,
    ),
    "compute waits for the writer's tile": (
        SimulationError,
        [cb("out", "wait by the compute kernel; this end belongs to the writer")],
        COMPUTE,
    ),
    # writer
    "writer pushes into the reader's buffer": (
        SimulationError,
        [cb("x_in", "push by the writer; this end belongs to the reader")],
        WRITER,
    ),
    "writer reserves in the reader's buffer": (
        SimulationError,
        [cb("x_in", "reserve by the writer; this end belongs to the reader")],
        WRITER,
    ),
    "wait for 3": (SimulationError, [cb("out", "wait for 3 tiles of a buffer that holds 2; ask for 1 to 2")], WRITER),
    "wait dropped": (SimulationError, [r"core \(1,0\) out: .*\b0 "], WRITER),
    "2 tiles written of 1": (SimulationError, [r"core \(1,0\) out"], WRITER),
    "page beyond the end": (SimulationError, ["write to page 12 of out, which has 8"], WRITER),
    "page written twice": (SimulationError, ["tensor out: 3 of 8 pages were never written, the first is page 5"], ""),
    "page left unwritten": (SimulationError, ["tensor out: 1 of 8 pages were never written, the first is page 7"], ""),
    "output's pop dropped": (DeadlockError, [waits(COMPUTE, "space for 1 tiles in out, which has 0 of 2 free", WRITER)], ""),
    "output popped twice": (SimulationError, [cb("out", "pop of 1 tiles; 0 are there")], WRITER),
}
FORGOTTEN: dict[str, tuple[str, list[str], str]] = {
    "reserve not awaited": ("DataMovement.reserve", [cb("x_in", ".* of 1 tiles; 0 .*reserved")], READER),
    "read not awaited": ("DataMovement.read", [cb("x_in", "push of 1 tiles; only 0 of them were written")], READER),
    "add not awaited": ("Compute.do", [cb("x_in", "pop of 1 tiles; 0 are there")], COMPUTE),
    "wait not awaited": ("DataMovement.wait", [r"core \(1,0\) out: .*\b0 "], WRITER),
    "write not awaited": ("DataMovement.write", ["tensor out: 4 of 8 pages were never written, the first is page 4"], ""),
}


def broken(tensor: Callable[..., Tensor], fault: str, values: bool) -> Program:
    """Eltwise add on two cores, of which the second has the fault."""
    x, y, out = (tensor(name, 2, TILES, output=name == "out", values=values) for name in ("x", "y", "out"))
    program = eltwise_add.program(x, y, out, (2, 1))
    plain = program.kernels[0].args
    args = [Args(**vars(a), fault=fault if i == 1 else "") for i, a in enumerate(plain)]
    kernels = (Kernel("reader", reader, args), Kernel("compute", compute, args), Kernel("writer", writer, args))
    return replace(program, kernels=kernels, semaphores=("go", "never"))


def check(error: BaseException, parts: list[str], note: str) -> None:
    """The message holds every part, and the note, if one is due, names core and RISC."""
    for part in parts:
        assert re.search(part, str(error)), f"{part!r} is not in:\n{error}"
    notes = getattr(error, "__notes__", [])
    assert len(notes) == bool(note)
    assert not note or re.fullmatch(f"in {note}", notes[0])


VALUES = pytest.mark.parametrize("values", [True, False], ids=["values", "shapes"])


@VALUES
def test_without_a_fault_the_kernels_are_right(run: Any, tensor: Any, values: bool) -> None:
    """The kernels of this file add, when nothing is wrong with them."""
    assert run(P100, broken(tensor, "", values)).cycles > 0


@VALUES
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_an_error_that_names_it(run: Any, tensor: Any, fault: str, values: bool) -> None:
    """The right kind of error, with core, buffer and numbers; a deadlock has who waits for whom, at which file and line."""
    kind, parts, note = FAULTS[fault]
    with pytest.raises(SimulationError) as caught:
        run(P100, broken(tensor, fault, values))
    assert type(caught.value) is kind
    check(caught.value, parts, note)


@VALUES
@pytest.mark.parametrize("fault", FORGOTTEN)
def test_a_forgotten_await_is_an_error_and_a_warning(run: Any, tensor: Any, fault: str, values: bool) -> None:
    """The simulation fails for what the verb did not do, and Python says which verb was not awaited."""
    verb, parts, note = FORGOTTEN[fault]
    with pytest.warns(RuntimeWarning, match=f"{verb}' was never awaited"), pytest.raises(SimulationError) as caught:
        run(P100, broken(tensor, fault, values))
    check(caught.value, parts, note)


def test_the_line_is_the_kernels_own(run: Any, tensor: Any) -> None:
    """A deadlock points at the `await` in the kernel, not at the verb's inside."""
    with pytest.raises(DeadlockError) as caught:
        run(P100, broken(tensor, "all of x before y", False))
    source = Path(__file__).read_text().splitlines()
    lines = {risc: int(line) for risc, line in re.findall(r"\(1,0\) (\w+) waits .*:(\d+)$", str(caught.value), re.MULTILINE)}
    assert {risc: source[line - 1].strip() for risc, line in lines.items()} == {
        "NCRISC": "await dm.reserve(cb, 1)",
        "TRISC": "await t.do(Add, x_in, y_in, out)",
        "BRISC": "await dm.wait(out, 1)",
    }


def test_every_fault_is_tested() -> None:
    """A fault that the kernels know and the tables do not would go unseen."""
    assert set(re.findall(r'a\.fault [!=]= "([^"]+)"', Path(__file__).read_text())) == set(FAULTS) | set(FORGOTTEN)
