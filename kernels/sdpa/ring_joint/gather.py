"""Gather cores: K and V of each slice, packet by packet, from the chip behind to the chip ahead, over one link in one direction.

A slice is read from where it lies on the chip, its own or one that has come, and lands in the next chip's DRAM at its place.
Behind its last packet goes a signal. When it has come over all links, the chip's compute cores are told, and all send it on.
"""

from tensix_sim.kernel_api import DataMovement
from tensix_sim.kernels.sdpa.ring_joint.args import GatherArgs
from tensix_sim.kernels.sdpa.ring_joint.semaphores import MET, RELEASED


async def gather_reader(dm: DataMovement, a: GatherArgs) -> None:
    """BRISC: the own slice at once, each other one when it has landed. The next call counts from 0 again."""
    await read_slice(dm, a, 0)
    for k in range(1, a.receives + 1):
        await dm.semaphore_wait(a.landed, k)
        await meet(dm, a, k)
        await read_slice(dm, a, k)
    dm.semaphore_set(a.landed, 0)


async def meet(dm: DataMovement, a: GatherArgs, k: int) -> None:
    """The cores of all links wait for each other at the first one's, which tells of the slice."""
    if dm.core.logical == a.first:
        await dm.semaphore_wait(MET, k * len(a.others))
        tell(dm, a)
        for core in a.others:
            dm.semaphore_increase(core, RELEASED)
    else:
        dm.semaphore_increase(a.first, MET)
        await dm.semaphore_wait(RELEASED, k)


async def read_slice(dm: DataMovement, a: GatherArgs, k: int) -> None:
    """The k-th slice that is sent, if so many are."""
    (cb,) = dm.cbs("packets")
    for run in a.packets(k):
        await dm.reserve(cb, a.run_tiles)
        await dm.read(run.source, run.pages, cb, (a.run_tiles, 1), a.in_flight)
        dm.push(cb, a.run_tiles)


async def gather_writer(dm: DataMovement, a: GatherArgs) -> None:
    """NCRISC: packets to the neighbour, and a signal behind the last of each slice."""
    (cb,) = dm.cbs("packets")
    if a.sent:
        await dm.connect()
    for k in range(len(a.sent)):
        for run in a.packets(k):
            await dm.wait(cb, a.run_tiles)
            await dm.send(cb, run.target, run.places, a.step, a.link, 1, a.packet_tiles)
            dm.pop(cb, a.run_tiles)
        dm.signal(a.landed, a.step, a.link, 1, dm.core.logical)
        if k == 0 and a.counts_own:
            tell(dm, a)
    if a.sent:
        await dm.connect()
    elif a.counts_own:
        tell(dm, a)


def tell(dm: DataMovement, a: GatherArgs) -> None:
    """One slice more is there."""
    for core in a.told:
        dm.semaphore_increase(core, a.counts)
