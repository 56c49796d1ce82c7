"""Kernels broken on purpose: each fault ends in the right error, with the right names; none in silence or in a hang."""

import re
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from programs import tensor

from tensix_sim.arch import machine
from tensix_sim.hw import DeadlockError, SimulationError
from tensix_sim.kernel_api import Kernel, Program
from tensix_sim.kernels import eltwise_add

P100 = machine("p100a")
TILES = 4  # of each core
SOURCE = Path(eltwise_add.__file__)

# Lines of eltwise add that faults replace. The core at fault has tiles 4 to 7.
EACH_TILE, EACH_TENSOR = "for tile in range(a.start, a.start + a.count):", "for tensor, cb in ((a.x, x_in), (a.y, y_in)):"
RESERVE, READ, PUSH = "await dm.reserve(cb, 1)", "await dm.read(tensor, [tile], cb, (1, 1))", "dm.push(cb, 1)"
EACH_SUM, ADD = "for _ in range(a.count):", "await t.do(Add, x, y, out)"
POP_X, POP_Y = "t.pop(x)", "t.pop(y)"
WAIT, WRITE, POP = "await dm.wait(out, 1)", "await dm.write(out, a.out, [tile], (1, 1))", "dm.pop(out, 1)"


class Line(NamedTuple):
    """A line of a kernel, and what stands in its place."""

    role: str
    right: str
    wrong: str


class Fault(NamedTuple):
    """What is wrong with the kernels; what the message must hold, of which error, and whose note it carries."""

    lines: tuple[Line, ...]
    says: tuple[str, ...]
    who: str = ""
    error: type[SimulationError] = SimulationError
    forgotten: str = ""  # the verb that nobody awaits


READER, COMPUTE, WRITER = (rf"core \(1,0\) {risc}" for risc in ("NCRISC", "TRISC", "BRISC"))
FILE = re.escape(str(SOURCE)) + r":\d+"


def waits(who: str, what: str, for_whom: str) -> str:
    """A line of a deadlock report."""
    return rf"{who} waits for {what} \(from {for_whom}, which (has )?(pushed|popped) (none|last at {FILE})\) at {FILE}"


def cb(name: str, what: str) -> str:
    """The start of a buffer's message."""
    return rf"core \(1,0\) {name}: {what}"


def in_reader(right: str, wrong: str, *says: str, **more: Any) -> Fault:
    """A fault of the reader, which its note names."""
    return Fault((Line("reader", right, wrong),), says, **{"who": READER} | more)


def in_compute(right: str, wrong: str, *says: str, **more: Any) -> Fault:
    """A fault of the compute kernel, which its note names."""
    return Fault((Line("compute", right, wrong),), says, **{"who": COMPUTE} | more)


def in_writer(right: str, wrong: str, *says: str, **more: Any) -> Fault:
    """A fault of the writer, which its note names."""
    return Fault((Line("writer", right, wrong),), says, **{"who": WRITER} | more)


DEADLOCK: dict[str, Any] = {"error": DeadlockError, "who": ""}
AT_THE_END: dict[str, Any] = {"who": ""}  # found when all kernels have ended

FAULTS: dict[str, Fault] = {
    # reader
    "reserve dropped": in_reader(RESERVE, "pass", cb("x_in", ".* of 1 tiles; 0 .*reserved")),
    "reserve of 3": in_reader(
        RESERVE, "await dm.reserve(cb, 3)", cb("x_in", "reserve of 3 tiles of a buffer that holds 2; ask for 1 to 2")
    ),
    "push before read": in_reader(READ, f"{PUSH}; {READ}", cb("x_in", "push of 1 tiles; only 0 of them were written")),
    "2 tiles read into 1": in_reader(READ, "await dm.read(tensor, [tile, tile], cb, (1, 2))", r"core \(1,0\) x_in"),
    "read into the wrong buffer": in_reader(
        READ, "await dm.read(tensor, [tile], x_in if cb is y_in else y_in, (1, 1))", r"core \(1,0\) [xy]_in"
    ),
    "push twice": in_reader(PUSH, f"{PUSH}; {PUSH}", cb("x_in", "push of 1 tiles; 0 are reserved")),
    "push dropped": in_reader(
        PUSH,
        f"if cb is y_in or tile < 7: {PUSH}",
        waits(COMPUTE, "1 tiles in x_in, which has 0", READER),
        waits(WRITER, "1 tiles in out, which has 0", COMPUTE),
        **DEADLOCK,
    ),
    "all of x before y": in_reader(
        EACH_TENSOR,
        "for tensor, cb, tile in [(t, c, i) for t, c in ((a.x, x_in), (a.y, y_in)) for i in range(4, 8)]:",
        "each waits for the next, the last for the first",
        waits(READER, "space for 1 tiles in x_in, which has 0 of 2 free", COMPUTE)
        + r"\n  "
        + waits(COMPUTE, "1 tiles in y_in, which has 0", READER),
        rf"also waiting:\n  {waits(WRITER, '1 tiles in out, which has 0', COMPUTE)}",
        **DEADLOCK,
    ),
    "an output page read before it is written": in_reader(
        READ,
        "await dm.read(a.out if cb is y_in and tile == 7 else tensor, [tile], cb, (1, 1))",
        "read of page 7 of out, which nothing has written yet",
    ),
    "a tile too many": in_reader(
        EACH_TILE,
        "for tile in [4, 5, 6, 7, 4]:",
        rf"1 tiles left over; its compute kernel popped 4 of 5: TRISC popped last at {FILE}, NCRISC pushed last at {FILE}",
        **AT_THE_END,
    ),
    "a tile read and not pushed": in_reader(
        PUSH,
        f"{PUSH}; tile == 7 and cb is y_in and (await dm.reserve(x_in, 1), await dm.read(a.x, [4], x_in, (1, 1)))",
        r"core \(1,0\) x_in",
        **AT_THE_END,
    ),
    "reader waits for its own tiles": in_reader(
        RESERVE, "await dm.wait(cb, 1)", cb("x_in", "wait by the reader; this end belongs to the compute")
    ),
    "reader pops the writer's tile": in_reader(
        PUSH, "dm.pop(*dm.cbs('out'), 1)", cb("out", "pop by the reader; this end belongs to the writer")
    ),
    "semaphore never raised": Fault(
        (
            Line("reader", PUSH, f"{PUSH}; cb is y_in and await dm.semaphore_wait('go', 2)"),
            Line("writer", POP, f"{POP}; dm.semaphore_increase((1, 0), 'go'); await dm.semaphore_wait('never', 1)"),
        ),
        (rf"{READER} waits for semaphore go to reach 2; it is 1 .*{FILE}", rf"{WRITER} waits for semaphore never"),
        **DEADLOCK,
    ),
    "an exception of Python": in_reader(
        RESERVE, "await dm.reserve(cb, [1, 1][tile // 6 * 2])", "IndexError: list index out of range"
    ),
    "a buffer that is not there": in_reader(
        PUSH, "dm.push(*dm.cbs('x_inn'), 1)", "unknown circular buffer 'x_inn'; nearest: x_in", who=READER
    ),
    "a semaphore that is not there": in_reader(
        PUSH, f"{PUSH}; dm.semaphore_set('gone', 0)", r"core \(1,0\): unknown semaphore 'gone'; nearest: go"
    ),
    "a raise by nothing": in_reader(
        PUSH, f"{PUSH}; dm.semaphore_increase((1, 0), 'go', 0)", "semaphore go raised by 0; by at least 1"
    ),
    "push of no tiles": in_reader(
        PUSH, "dm.push(cb, 0)", cb("x_in", "push of 0 tiles; ask for a whole number of them, at least 1")
    ),
    "half a tile": in_reader(RESERVE, "await dm.reserve(cb, 1.5)", cb("x_in", "reserve of 1.5 tiles; ask for a whole number")),
    "no pages": in_reader(READ, "await dm.read(tensor, [], cb, (1, 1))", "read of 0 pages of x into 1x1 tiles"),
    # compute
    "one add too many": in_compute(
        EACH_SUM,
        "for _ in range(a.count + 1):",
        "waits for a kernel that has ended",
        waits(COMPUTE, "1 tiles in x_in, which has 0", READER),
        **DEADLOCK,
    ),
    "one add too few": in_compute(
        EACH_SUM,
        "for _ in range(a.count - 1):",
        "waits for a kernel that has ended",
        waits(WRITER, "1 tiles in out, which has 0", COMPUTE),
        **DEADLOCK,
    ),
    "add of 3": in_compute(
        ADD,
        "await t.do(Add, *(t.matrix(name, 1, 3) for name in ('x_in', 'y_in', 'out')))",
        cb("x_in", "wait for 3 tiles of a buffer that holds 2; ask for 1 to 2"),
    ),
    "operands swapped with the output": in_compute(
        ADD, ADD.replace("y, out", "out, y"), cb("out", "wait by the compute kernel; this end belongs to the writer")
    ),
    "pop dropped": in_compute(
        POP_X,
        f"if _ == 0: {POP_X}",
        waits(COMPUTE, "1 tiles in y_in, which has 0", READER),
        waits(READER, "space for 1 tiles in x_in, which has 0 of 2 free", COMPUTE),
        **DEADLOCK,
    ),
    "last pop dropped": in_compute(
        POP_X, f"if _ < 3: {POP_X}", cb("x_in", "1 tiles left over; its compute kernel popped 3 of 4"), **AT_THE_END
    ),
    "pop twice": in_compute(POP_X, f"{POP_X}; {POP_X}", cb("x_in", "pop of 1 tiles; 0 were waited for")),
    "compute pops the writer's tile": in_compute(
        POP_Y, f"{POP_Y}; t.pop(out)", cb("out", "pop by the compute kernel; this end belongs to the writer")
    ),
    "compute waits for the writer's tile": in_compute(
        POP_Y, f"{POP_Y}; await t.wait(out)", cb("out", "wait by the compute kernel; this end belongs to the writer")
    ),
    # writer
    "writer pushes into the reader's buffer": in_writer(
        WAIT, "dm.push(*dm.cbs('x_in'), 1)", cb("x_in", "push by the writer; this end belongs to the reader")
    ),
    "writer reserves in the reader's buffer": in_writer(
        WAIT, "await dm.reserve(*dm.cbs('x_in'), 1)", cb("x_in", "reserve by the writer; this end belongs to the reader")
    ),
    "wait for 3": in_writer(
        WAIT, "await dm.wait(out, 3)", cb("out", "wait for 3 tiles of a buffer that holds 2; ask for 1 to 2")
    ),
    "wait dropped": in_writer(WAIT, "pass", r"core \(1,0\) out: .*\b0 "),
    "2 tiles written of 1": in_writer(WRITE, "await dm.write(out, a.out, [tile, tile], (1, 2))", r"core \(1,0\) out"),
    "page beyond the end": in_writer(
        WRITE, "await dm.write(out, a.out, [tile + a.out.pages], (1, 1))", "write to page 12 of out, which has 8"
    ),
    "page written twice": in_writer(
        WRITE,
        "await dm.write(out, a.out, [a.start], (1, 1))",
        rf"tensor out: 3 of 8 pages were never written, the first is page 5; core \(0,0\) BRISC and 1 more .*{FILE}",
        **AT_THE_END,
    ),
    "no page": in_writer(
        WRITE, "await dm.write(out, a.out, [], (0, 1))", cb("out", "write of 0x1 tiles to 0 pages of out; .* at least 1")
    ),
    "another core's page": in_writer(
        WRITE,
        f"{WRITE}; await dm.write(out, a.out, [tile - 4], (1, 1))",
        rf"page \d of out is written by core \([01],0\) BRISC at {FILE} and by core \([01],0\) BRISC at {FILE}; either may come",
        who=r"core \([01],0\) BRISC",
    ),
    "page left unwritten": in_writer(
        WRITE, f"if tile < 7: {WRITE}", "tensor out: 1 of 8 pages were never written, the first is page 7", **AT_THE_END
    ),
    "output's pop dropped": in_writer(
        POP, "pass", waits(COMPUTE, "space for 1 tiles in out, which has 0 of 2 free", WRITER), **DEADLOCK
    ),
    "output popped twice": in_writer(POP, f"{POP}; {POP}", cb("out", "pop of 1 tiles; 0 were waited for")),
    # nobody awaits
    "reserve not awaited": in_reader(
        RESERVE, RESERVE.removeprefix("await "), cb("x_in", ".* of 1 tiles; 0 .*reserved"), forgotten="DataMovement.reserve"
    ),
    "read not awaited": in_reader(
        READ,
        READ.removeprefix("await "),
        cb("x_in", "push of 1 tiles; only 0 of them were written"),
        forgotten="DataMovement.read",
    ),
    "add not awaited": in_compute(
        ADD, ADD.removeprefix("await "), cb("x_in", "pop of 1 tiles; 0 were waited for"), forgotten="Compute.do"
    ),
    "wait not awaited": in_writer(WAIT, WAIT.removeprefix("await "), r"core \(1,0\) out: .*\b0 ", forgotten="DataMovement.wait"),
    "write not awaited": in_writer(
        WRITE,
        WRITE.removeprefix("await "),
        "tensor out: 4 of 8 pages were never written, the first is page 4",
        forgotten="DataMovement.write",
        **AT_THE_END,
    ),
}


def kernels(*lines: Line) -> dict[str, Callable[..., Any]]:
    """The kernels of eltwise add with other lines in place of some; all lines keep their numbers."""
    source = SOURCE.read_text()
    for role, right, wrong in lines:
        before, kernel, after = re.split(rf"(?s)(async def {role}\(.*?\n)(?=\n\n)", source)
        assert kernel.count(f" {right}\n") == 1, f"{role} has no line {right}"
        source = before + kernel.replace(f" {right}\n", f" {wrong}\n") + after
    made: dict[str, Any] = {"__name__": "broken"}
    exec(compile(source, str(SOURCE), "exec"), made)
    return {role: made[role] for role in ("reader", "compute", "writer")}


def broken(fault: Fault, values: bool) -> Program:
    """Eltwise add on two cores, of which the second has the fault."""
    x, y, out = (tensor(name, 2, TILES, output=name == "out", values=values) for name in ("x", "y", "out"))
    program = eltwise_add.program(x, y, out, (2, 1))
    wrong = kernels(*fault.lines)

    def either(kernel: Kernel) -> Kernel:
        return replace(kernel, function=lambda t, a: (wrong[kernel.role] if a.start else kernel.function)(t, a))

    return replace(program, kernels=tuple(map(either, program.kernels)), semaphores=("go", "never"))


VALUES = pytest.mark.parametrize("values", [True, False], ids=["values", "shapes"])


@VALUES
def test_without_a_fault_the_kernels_are_right(run: Any, values: bool) -> None:
    """They add, when no line is another."""
    assert run(P100, broken(Fault((), ()), values)).cycles > 0


@VALUES
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_an_error_that_names_it(run: Any, name: str, values: bool) -> None:
    """The right kind of error, with core, buffer and numbers; a deadlock has who waits for whom, at which file and line.

    Where an await is forgotten, Python says of which verb, too.
    """
    fault = FAULTS[name]
    told = pytest.warns(RuntimeWarning, match=f"{fault.forgotten}' was never awaited") if fault.forgotten else nullcontext()
    with told, pytest.raises(SimulationError) as caught:
        run(P100, broken(fault, values))
    assert type(caught.value) is fault.error
    for part in fault.says:
        assert re.search(part, str(caught.value)), f"{part!r} is not in:\n{caught.value}"
    notes = getattr(caught.value, "__notes__", [])
    assert len(notes) == bool(fault.who)
    assert not fault.who or re.fullmatch(f"in {fault.who} at {FILE}", notes[0])


def test_the_line_is_the_kernels_own(run: Any) -> None:
    """A deadlock points at the `await` in the kernel, not at the verb's inside."""
    with pytest.raises(DeadlockError) as caught:
        run(P100, broken(FAULTS["all of x before y"], False))
    source = SOURCE.read_text().splitlines()
    lines = {risc: int(line) for risc, line in re.findall(r"\(1,0\) (\w+) waits .*:(\d+)$", str(caught.value), re.MULTILINE)}
    assert {risc: source[line - 1].strip() for risc, line in lines.items()} == {"NCRISC": RESERVE, "TRISC": ADD, "BRISC": WAIT}
