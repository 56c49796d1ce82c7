"""NCRISC: waits for each slice, and reads Q, K and V chunks as the plain reader does; K and V may come from the core before."""

from collections import Counter

import numpy as np

from tensix_sim.kernel_api import CircularBuffer, DataMovement, Tensor
from tensix_sim.kernels.multicast import send_to_all
from tensix_sim.kernels.sdpa.args import BEFORE, NEXT
from tensix_sim.kernels.sdpa.reader import Neighbours, fetch, read_q, receive
from tensix_sim.kernels.sdpa.ring_joint.args import Iteration, KChunk, QPlace, RingArgs

NOBODY: Neighbours = (None, None)


async def reader(dm: DataMovement, a: RingArgs) -> None:
    """For each slice and Q chunk: the first K, Q, the first V, then K and V in turn. One Q chunk alone is read once."""
    K, V = dm.cbs("k_in", "v_in")
    for it in a.iterations:
        if it.awaited:
            await dm.semaphore_wait(*it.awaited)
        pushed = 0
        turns: Counter[int] = Counter()
        for b, head, q in a.own.chunks() if it.sources else ():
            if it.takes(q, a.own.heads.q_chunks):
                kv_head = b * a.own.heads.kv + a.own.heads.kv_of(head)
                chain = a.chain(kv_head, turns[kv_head], it.later)
                turns[kv_head] += 1
                pushed += await read_chunks(dm, a, it, (b, head, q), chain)
        for _ in range(a.padding(it)):
            pushed += await read_chunks(dm, a, it, None, NOBODY)
        if pushed and pushed % 2 == 0:                    # a chunk is sent to where it lies here: all buffers keep in phase
            for cb, cols in ((K, a.own.chunk.D), (V, a.own.chunk.E)):
                tiles = a.own.chunk.N * cols
                await dm.reserve(cb, tiles)
                dm.fill(cb, tiles, np.zeros((1, 32, tiles, 32), np.float32) if dm.values else None)
                dm.push(cb, tiles)


async def read_chunks(dm: DataMovement, a: RingArgs, it: Iteration, place: QPlace | None, chain: Neighbours) -> int:
    """K and V of a slice for a Q chunk, and Q behind the first K where it is not there yet; how many chunks."""
    Q, K, V = dm.cbs("q_in", "k_in", "v_in")
    chunks = it.chunks(place[2] if place else 0)
    for i, chunk in enumerate(chunks):
        await read_kv(dm, a, chunk, chunk.keys.k, K, place, chain, True)    # K, by columns [D, N]
        if i == 0 and place and (a.many or it.first):
            await read_query(dm, a, Q, place)                                 # Q, band by band [h, D]
        await read_kv(dm, a, chunk, chunk.keys.v, V, place, chain)          # V          [N, E]
    return len(chunks)


async def read_query(dm: DataMovement, a: RingArgs, Q: CircularBuffer, place: QPlace) -> None:
    """Q in bands of a subblock's rows, from the own rows or the joint ones."""
    part, q = a.of(place[2])
    M, h = part.chunk.M, part.dst.qk[0]
    for i in range(0, M, h):
        await read_q(dm, part, part.phases[0], Q, (*place[:2], q), i, h)


async def read_kv(
    dm: DataMovement, a: RingArgs, chunk: KChunk, tensor: Tensor, cb: CircularBuffer, place: QPlace | None, chain: Neighbours, transpose: bool = False
) -> None:
    """A K or V chunk, all of it in flight at once; rows beyond the slice are zeros."""
    (b, head, _), heads, cols = place or (0, 0, 0), a.own.heads, tensor.tile_cols
    first = (b * heads.kv + heads.kv_of(head)) * chunk.keys.head_rows + chunk.row
    pages = range(first * cols, (first + chunk.rows) * cols)
    if a.row is None:
        await fetch(dm, tensor, pages, cb, (a.own.chunk.N, cols), chain, 0, transpose)
        return
    await dm.reserve(cb, a.own.chunk.N * cols)
    if a.row.sender:
        await receive(dm, a.row.sender)
    else:
        await dm.read(tensor, pages, cb, (a.own.chunk.N, cols), 0, transpose)
        await send_to_all(dm, cb, a.own.chunk.N * cols, a.row.others, NEXT, BEFORE)
    dm.push(cb, a.own.chunk.N * cols)
