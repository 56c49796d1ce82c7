"""BRISC: brings back from DRAM what is running of a Q chunk, takes it away a slice later, and writes what is finished."""

from typing import NamedTuple

import numpy as np

from tensix_sim.kernel_api import BFLOAT16, CircularBuffer, DataMovement, to_format
from tensix_sim.kernels.sdpa.mask import palette
from tensix_sim.kernels.sdpa.ring_joint.args import Iteration, QPlace, RingArgs
from tensix_sim.kernels.sdpa.writer import constants, drain, make_constant

Turn = tuple[Iteration, QPlace]


class Buffers(NamedTuple):
    """Those between compute and writer: what is running, on its way out and back, and the page that says when."""

    signal: CircularBuffer
    out: CircularBuffer
    max_out: CircularBuffer
    sum_out: CircularBuffer
    prev_out: CircularBuffer
    max_in: CircularBuffer
    sum_in: CircularBuffer


async def writer(dm: DataMovement, a: RingArgs) -> None:
    """Saves lag behind: one is written during the next Q chunk, whose K and V the reads of a bunch of saves would hold up."""
    await make_constants(dm, a)
    turns = [(it, place) for it in a.iterations if it.sources for place in a.turns(it)]
    if not a.many:
        for it, place in turns:
            if it.last:
                await write_out(dm, a, dm.cbs("out")[0], place)
        return
    cbs = Buffers(*dm.cbs(*Buffers._fields))
    saving: list[QPlace] = []  # whose save is due, one at most
    there: Turn | None = None  # whose running values are on their way in
    for now, following in zip(turns, [*turns[1:], None], strict=True):
        it, place = now
        if not it.first:
            if there is not now:
                await flush(dm, a, cbs, saving)
                await restore(dm, a, cbs, place)
            push_restored(dm, a, cbs)
        if following and not following[0].first and following[1] != place:
            if following[1] in saving or len(a.met(it, place[2])) <= 1:
                await flush(dm, a, cbs, saving)
            await restore(dm, a, cbs, following[1])
            there = following
        await flush(dm, a, cbs, saving)
        await dm.wait(cbs.signal, 1)
        dm.pop(cbs.signal, 1)
        if it.last:
            await write_out(dm, a, cbs.out, place)
        else:
            saving.append(place)


async def make_constants(dm: DataMovement, a: RingArgs) -> None:
    """The scale, the scaler, the column of ones and the palette."""
    await make_constant(dm, "scale_in", to_format(np.full((1, 32, 1, 32), a.own.scale, np.float32), BFLOAT16))
    await constants(dm)
    if a.palette:
        await make_constant(dm, "mask_in", palette(a.causal, a.bars))


async def write_out(dm: DataMovement, a: RingArgs, out: CircularBuffer, place: QPlace) -> None:
    """M x E tiles to the output, of the own rows or of the joint ones."""
    b, head, _ = place
    part, q = a.of(place[2])
    await drain(dm, part, out, b * part.heads.q + head, q * part.chunk.M)


async def flush(dm: DataMovement, a: RingArgs, cbs: Buffers, saving: list[QPlace]) -> None:
    """O to the output, which nobody reads yet, m and l to the statistics, of the Q chunk whose save is due, if one's is."""
    M = a.own.chunk.M
    while saving:
        place = saving.pop()
        await write_out(dm, a, cbs.out, place)                                             # O [M, E]
        for cb, pages in zip((cbs.max_out, cbs.sum_out), statistics(a, place), strict=True):
            await dm.wait(cb, M)
            await dm.write(cb, a.statistics, pages, (len(pages), 1))                       # m, l [M, 1]
            dm.pop(cb, M)


async def restore(dm: DataMovement, a: RingArgs, cbs: Buffers, place: QPlace) -> None:
    """O, m and l of a Q chunk, into space that the one before it has given back."""
    M = a.own.chunk.M
    await read_back(dm, a, cbs.prev_out, place)                                               # O [M, E]
    for cb, pages in zip((cbs.max_in, cbs.sum_in), statistics(a, place), strict=True):
        await dm.reserve(cb, M)
        await dm.read(a.statistics, pages, cb, (M, 1))                                        # m, l [M, 1]


async def read_back(dm: DataMovement, a: RingArgs, cb: CircularBuffer, place: QPlace) -> None:
    """M x E tiles from the output, where they have waited."""
    b, head, _ = place
    part, q = a.of(place[2])
    M, _, _, E = part.chunk
    rows = min(M, part.heads.out_rows - q * M)
    row = (b * part.heads.q + head) * part.heads.out_rows + q * M
    await dm.reserve(cb, M * E)
    await dm.read(part.tensors.out, range(row * E, (row + rows) * E), cb, (M, E))


def push_restored(dm: DataMovement, a: RingArgs, cbs: Buffers) -> None:
    """Hand them to compute."""
    M, _, _, E = a.own.chunk
    dm.push(cbs.prev_out, M * E)
    dm.push(cbs.max_in, M)
    dm.push(cbs.sum_in, M)


def statistics(a: RingArgs, place: QPlace, columns: int = 2) -> tuple[range, ...]:
    """Pages of a Q chunk in so many columns, its maxima and its sums: of each head its own rows, then the joint ones."""
    b, head, _ = place
    part, q = a.of(place[2])
    own_rows, M = a.own.heads.out_rows, part.chunk.M
    all_rows = own_rows + (a.joint.heads.out_rows if a.joint else 0)
    first = columns * (b * a.own.heads.q + head) * all_rows + (own_rows if part is a.joint else 0) + q * M
    rows = min(M, part.heads.out_rows - q * M)
    return tuple(range(first + i * all_rows, first + i * all_rows + rows) for i in range(columns))
