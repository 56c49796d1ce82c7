"""What semaphores order: an operation that may come before or after another one is an error, however it went this time."""

import inspect
import sys
from collections.abc import Awaitable, Callable
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
from programs import run
from specs import PLAIN, raw

from tensix_sim.arch import machine
from tensix_sim.formats import BFLOAT16
from tensix_sim.gather.all_gather import AllGather
from tensix_sim.gather.run import run_collective
from tensix_sim.hw import SimulationError
from tensix_sim.kernel_api import BufferSpec, DataMovement, Kernel, Program
from tensix_sim.kernels import all_gather
from tensix_sim.kernels.sdpa import reader
from tensix_sim.kernels.sdpa import streaming as stream
from tensix_sim.simulation import simulate

sdpa_reader = sys.modules[reader.__module__]
P100 = machine("p100a")
FIRST, SECOND = (0, 0), (1, 0)
Reader = Callable[[DataMovement, int], Awaitable[None]]


def two_cores(reader: Reader, writer: Reader | None = None) -> None:
    """Run kernels on two cores, whose argument is the core, with semaphores `asked` and `sent` and a buffer from each to each."""
    kernels = [Kernel("reader", reader, [0, 1]), *([Kernel("writer", writer, [0, 1])] if writer else [])]
    buffers = (BufferSpec("x", 2, BFLOAT16, "reader", "writer"),) if writer else ()
    run(P100, Program((2, 1), buffers, tuple(kernels), (), semaphores=("asked", "sent")))


def asks(in_order: bool) -> Reader:
    """The second core asks the first for something, and hears that it is sent; `sent` is lowered before it asks, or after."""

    async def reader(dm: DataMovement, core: int) -> None:
        for _ in range(2):
            if core == 0:
                await dm.semaphore_wait("asked", 1)
                dm.semaphore_set("asked", 0)
                dm.semaphore_increase(SECOND, "sent")
                continue
            if in_order:
                dm.semaphore_set("sent", 0)
            dm.semaphore_increase(FIRST, "asked")
            if not in_order:
                dm.semaphore_set("sent", 0)
            await dm.semaphore_wait("sent", 1)

    return reader


def test_who_lowers_before_it_asks_cannot_lose_the_answer() -> None:
    """Each raise is known to whom sets, or the set to whom raises."""
    two_cores(asks(in_order=True))


def test_who_lowers_after_it_asks_may_lose_the_answer() -> None:
    """An error with both places, though this time nothing was lost."""
    with pytest.raises(
        SimulationError, match=r"semaphore sent: set to 0 by core \(1,0\) NCRISC at .*, and raised by core \(0,0\) NCRISC"
    ):
        two_cores(asks(in_order=False))


def test_a_push_tells_what_its_kernel_knows() -> None:
    """The second core's reader lowers and pushes; its writer, which has seen that, may ask for the next raise."""

    async def reader(dm: DataMovement, core: int) -> None:
        if core == 0:
            await dm.semaphore_wait("asked", 1)
            dm.semaphore_increase(SECOND, "sent")
            return
        dm.semaphore_set("sent", 0)
        (x,) = dm.cbs("x")
        await dm.reserve(x, 1)
        dm.fill(x, 1, None)
        dm.push(x, 1)
        await dm.semaphore_wait("sent", 1)

    async def writer(dm: DataMovement, core: int) -> None:
        if core == 1:
            (x,) = dm.cbs("x")
            await dm.wait(x, 1)
            dm.pop(x, 1)
            dm.semaphore_increase(FIRST, "asked")

    two_cores(reader, writer)


def test_what_is_raised_is_waited_for() -> None:
    """A program that ends with a raise that nobody waited for has lost a wait: an error with who raised it, where."""

    async def reader(dm: DataMovement, core: int) -> None:
        if core == 0:
            dm.semaphore_increase(SECOND, "sent", 2)
        else:
            await dm.semaphore_wait("sent", 1)

    with pytest.raises(
        SimulationError, match=r"core \(1,0\) semaphore sent: raised to 2 by core \(0,0\) .*; nobody waited for more than 1"
    ):
        two_cores(reader)


@pytest.mark.parametrize("told", [True, False])
def test_space_on_another_core_is_written_once_it_is_told(told: bool) -> None:
    """Of space that is reserved a forward must know by a semaphore that was raised after that."""

    async def reader(dm: DataMovement, core: int) -> None:
        (x,) = dm.cbs("x")
        if core == 1 and not told:
            dm.semaphore_increase(FIRST, "asked")
        await dm.reserve(x, 1)
        if core == 1:
            if told:
                dm.semaphore_increase(FIRST, "asked")
            await dm.semaphore_wait("sent", 1)
        else:
            dm.fill(x, 1, None)
            await dm.semaphore_wait("asked", 1)
            await dm.forward(x, 1, SECOND)
            dm.semaphore_increase(SECOND, "sent")
        dm.push(x, 1)

    async def writer(dm: DataMovement, _: int) -> None:
        (x,) = dm.cbs("x")
        await dm.wait(x, 1)
        dm.pop(x, 1)

    if told:
        two_cores(reader, writer)
    else:
        with pytest.raises(SimulationError, match=r"core \(1,0\) x: core \(0,0\) NCRISC writes here, .* has not told it"):
            two_cores(reader, writer)


# -- the kernels that use them, each with a line dropped or moved ----------------------------------------------------------


def chain() -> None:
    """Cores that pass K and V on."""
    simulate(raw(PLAIN, is_causal=False))


def streaming() -> None:
    """The streaming kernel."""
    simulate(raw(PLAIN, kernel="streaming"))


def row_groups() -> None:
    """The streaming kernel with two groups of rows, so that the exponentials of one are made beside the other's scores."""
    simulate(raw(PLAIN, kernel="streaming", q=128, k=128))


def gather() -> None:
    """An all-gather of values on a line of four."""
    slices = [np.ones((1, 1, 64, 96), np.float32)] * 4
    run_collective(AllGather(4, (1, 1, 64, 96), 2, "bfloat16", "line", 1), machine("t3000"), slices)


ASK, LOWER = "dm.semaphore_increase(before, NEXT)", "dm.semaphore_set(BEFORE, 0)"


@pytest.mark.parametrize(
    ("run_it", "kernel", "right", "wrong", "says"),
    [
        (chain, sdpa_reader.receive, f"{LOWER}\n    {ASK}", f"{ASK}\n    {LOWER}", "either may come first"),
        (chain, sdpa_reader.receive, LOWER, "pass", "has not told it|only 0 of them were written"),
        (chain, sdpa_reader.send, "await dm.semaphore_wait(NEXT, 1)", "pass", "either may come first|has not told it|are left"),
        (chain, sdpa_reader.send, "dm.semaphore_set(NEXT, 0)", "pass", "has not told it|are left"),
        (streaming, stream.scores, "await t.reserve(cur.l)", "pass", "sum_.: push of . tiles; 0 are reserved"),
        (streaming, stream.outputs, "await t.reserve(cur.O)", "pass", "out_im_.: push of .* tiles; 0 are reserved"),
        (row_groups, stream.outputs, "    t.hand_over()", "    pass", "qk_im: rows 2 to 3 are read, which the packer changes"),
        (streaming, stream.outputs, "hand_over=serial", "hand_over=not serial", "qk_im: the product of row 0 reads .* beside it"),
        (gather, all_gather.writer, 'await dm.semaphore_wait("done", a.senders)', "pass", "done: raised to .* nobody waited"),
        (gather, all_gather.writer, 'await dm.semaphore_wait("ready", a.hops)', "pass", "ready: raised to .* nobody waited"),
    ],
)  # fmt: skip
def test_a_kernel_that_leaves_out_a_step_is_found(
    run_it: Callable[[], None], kernel: Any, right: str, wrong: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the timing, and though the numbers are right."""
    source = dedent(inspect.getsource(kernel))
    assert source.count(right) == 1
    made = dict(kernel.__globals__)
    exec(compile(source.replace(right, wrong), kernel.__code__.co_filename, "exec"), made)
    monkeypatch.setattr(kernel, "__code__", made[kernel.__name__].__code__)
    with pytest.raises(SimulationError, match=says):
        run_it()
