"""Multicasts: a block and a semaphore to several cores at once, and what they cost."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest

from tensix_sim.arch import machine
from tensix_sim.formats import BFLOAT16
from tensix_sim.hw import Chip
from tensix_sim.kernel_api import BufferSpec, DataMovement, Kernel, Program, SimulationError, run
from tensix_sim.kernel_api.running import last_end
from tensix_sim.trace import Trace

TILES = 4


@dataclass(frozen=True)
class Part:
    """What a core does: send blocks to others, or receive them from the first core."""

    receivers: tuple[tuple[int, int], ...] = ()
    blocks: int = 1
    tells: bool = True


async def share(dm: DataMovement, a: Part) -> None:
    """Blocks of tiles from the first core to all others, with the hand-shake of ready and valid."""
    (cb,) = dm.cbs("x")
    for _ in range(a.blocks):
        await dm.reserve(cb, TILES)
        if a.receivers:
            dm.fill(cb, TILES, None)
            await dm.semaphore_wait("ready", len(a.receivers) if a.tells else 0)
            dm.semaphore_set("ready", 0)
            await dm.multicast(cb, TILES, a.receivers)
            dm.semaphore_multicast(a.receivers, "valid")
        else:
            dm.semaphore_set("valid", 0)
            dm.semaphore_increase((0, 0), "ready")
            await dm.semaphore_wait("valid", 1)
        dm.push(cb, TILES)
        await dm.wait(cb, TILES)
        dm.pop(cb, TILES)


def shared(columns: int, noc: int = 0, blocks: int = 1, board: str = "n150", tells: bool = True, **numbers: Any) -> Chip:
    """A row of cores of which the first sends to the others, run to its end."""
    others = tuple((x, 0) for x in range(1, columns))
    args = [Part(others, blocks, tells), *[Part((), blocks)] * len(others)]
    kernel = Kernel("reader", share, args, [noc] * columns)
    buffers = (BufferSpec("x", 2 * TILES, BFLOAT16, "reader", "reader"),)
    program = Program((columns, 1), buffers, (kernel,), (), semaphores=("ready", "valid"))
    chip = Chip(machine(board).override(numbers), program, Trace("off"))
    contexts = run(chip)[0]
    chip.ended = last_end(contexts)  # type: ignore[attr-defined]
    return chip


def cycles(*given: Any, **named: Any) -> int:
    """Cycle at which all have the last block."""
    ended: int = shared(*given, **named).ended  # type: ignore[attr-defined]
    return ended


@pytest.mark.parametrize("noc", [0, 1])
def test_each_link_carries_a_multicast_once(noc: int) -> None:
    """To seven cores as many bytes on the links as to the farthest alone; unicasts to each would take several times that."""
    from tensix_sim.hw.figures import link_bytes

    moved = link_bytes(shared(8, noc).hardware.routes)
    packets = -(-TILES * 2048 // 1024) * (1024 + 32)
    farthest = 8 if noc == 0 else 9  # columns 1 to 9; the other way past column 0
    assert set(moved.values()) == {packets}
    assert len(moved) == farthest


def test_more_receivers_take_no_more_than_the_way_to_them() -> None:
    """One more column is a hop farther: 9 cycles, two where the DRAM column lies between; the data take the same."""
    times = [cycles(columns) for columns in range(2, 9)]
    steps = [later - earlier for earlier, later in pairwise(times)]
    assert max(steps) <= 4 * 9
    assert min(steps) >= 0


def test_a_block_pays_for_the_way_once_and_for_its_bytes() -> None:
    """Reserving the ways dearer by 100 cycles makes each block of several 100 later; half the rate costs its bytes again."""
    base = cycles(8, blocks=5)
    assert cycles(8, blocks=5, **{"noc.multicast_cycles": 277}) == base + 5 * 100
    slower = cycles(8, blocks=5, **{"noc.niu_rate": 28.1 / 2})
    assert slower - base == pytest.approx(5 * TILES * 2048 / 28.1, rel=0.05)


def test_a_sender_that_does_not_wait_for_space_is_told() -> None:
    """A write to space that nobody has told of is an error, whatever the timing."""
    with pytest.raises(SimulationError, match=r"reserved|told|set|raise"):
        shared(3, tells=False)


def test_kernels_may_choose_their_noc() -> None:
    """A NoC for each core, or the program cannot start."""
    kernel = Kernel("reader", share, [Part(), Part()], [0])
    program = Program((2, 1), (), (kernel,), (), semaphores=("ready", "valid"))
    assert program.check(machine("n150")) == ["the reader has NoCs for 1 cores; the grid has 2"]
