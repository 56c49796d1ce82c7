"""All-gather: every chip of a line or ring gets the slices of all, each slice from its owner over the chips between.

A worker core serves one direction of one link: its reader reads the core's share of the slice, its writer sends it, packet
by packet, and one of the two directions also writes it to the chip's own output. The routers pass packets on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tensix_sim.kernel_api import BufferSpec, DataMovement, Kernel, Program, Tensor


class PageRun(NamedTuple):
    """Packets that are read, sent and written one after the other: their pages of the slice and of the output, and how far."""

    source: Sequence[int]
    target: Sequence[int]
    hops: int


@dataclass(frozen=True)
class Args:
    """A worker's share of the slice, and its link.

    Before it sends, it waits until the `hops` chips ahead are ready, of which the workers of the `opposite` direction there
    tell it; before it ends, until the packets of the `senders` behind it have come.
    """

    slice: Tensor
    out: Tensor
    runs: Sequence[PageRun]
    packet_tiles: int
    run_tiles: int  # of the longest run
    step: int
    link: int
    keeps: bool  # writes its share to the chip's own output
    hops: int  # to the last chip that it sends anything to
    senders: int
    opposite: tuple[int, int]  # core that serves the other direction of the link


async def reader(dm: DataMovement, a: Args) -> None:
    """The share, with a barrier after each packet."""
    (cb,) = dm.cbs("packets")
    for run in a.runs:
        await dm.reserve(cb, a.run_tiles)
        await dm.read(a.slice, run.source, cb, (a.run_tiles, 1), a.packet_tiles)
        dm.push(cb, a.run_tiles)


async def writer(dm: DataMovement, a: Args) -> None:
    """Each packet to the neighbour; done when all that comes this way is there."""
    (cb,) = dm.cbs("packets")
    if a.hops:
        await dm.connect()
        dm.signal("ready", a.step, a.link, a.hops, a.opposite)
        await dm.semaphore_wait("ready", a.hops)
    for run in a.runs:
        await dm.wait(cb, a.run_tiles)
        if run.hops:
            await dm.send(cb, a.out, run.target, a.step, a.link, run.hops, a.packet_tiles)
        if a.keeps:
            await dm.write(cb, a.out, run.target, (len(run.target), 1), a.packet_tiles, answered=True)
        dm.pop(cb, a.run_tiles)
    if a.hops:
        dm.signal("done", a.step, a.link, a.hops, dm.core.logical)
    await dm.semaphore_wait("done", a.senders)
    if a.hops:
        await dm.connect()


def program(slice_: Tensor, out: Tensor, workers: Sequence[Args], buffer_tiles: int, columns: int) -> Program:
    """A worker a core, row by row of `columns` cores."""
    grid = (columns, -(-len(workers) // columns))
    idle = Args(slice_, out, (), 1, 1, 1, 0, False, 0, 0, (0, 0))
    args = [*workers, *[idle] * (grid[0] * grid[1] - len(workers))]
    return Program(
        grid=grid,
        buffers=(BufferSpec("packets", buffer_tiles, slice_.format, "reader", "writer"),),
        kernels=(Kernel("reader", reader, args), Kernel("writer", writer, args, ethernet=True)),
        tensors=(slice_, out),
        semaphores=("ready", "done"),
    )
