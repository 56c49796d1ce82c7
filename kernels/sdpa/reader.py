"""NCRISC: reads Q, K and V chunks from memory, and the mask's where one is given; where cores form a chain, K and V come from the core before."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from tensix_sim.kernel_api import CircularBuffer, DataMovement, Tensor
from tensix_sim.kernels.sdpa.args import BEFORE, NEXT, Args, GivenMask, Heads, Paging, Phase, Sink

Neighbours = tuple[tuple[int, int] | None, tuple[int, int] | None]  # the cores before and after this one


async def reader(dm: DataMovement, a: Args) -> None:
    """For each Q chunk: the first K, Q, the first V, then K and V in turn as far as the chunk sees."""
    Q, K, V = dm.cbs("q_in", "k_in", "v_in")
    M, N, _, _ = a.chunk
    h = a.dst.qk[0]
    if a.start:
        await read_start(dm, a.start)
    if a.windows:
        await read_windows(dm, a.windows, "windows_reader")
    for phase in a.phases:
        batch = sinks_of = None
        turns: Counter[int] = Counter()
        kv_rows = rows_of_kv(a, phase)
        for b, head, q in a.chunks():
            if a.paging and b != batch:
                await turn_page_table(dm, a.paging.table, b, batch is not None)
                batch = b
            if a.windows:
                await tell_range(dm)
            if a.sink and (a.sink.each_chunk or (b, head) != sinks_of):
                await read_sink(dm, a.sink, head)
                sinks_of = b, head
            chain = a.neighbours(b * a.heads.q + head, turns[b * a.heads.q + head])
            turns[b * a.heads.q + head] += 1
            if h == M:
                await read_q(dm, a, phase, Q, (b, head, q), 0, M)                    # Q          [M, D]
            visited = a.mask.k_range((phase.q_offset + q) * M)
            for j in visited:
                rows = min(N, kv_rows - j * N)
                await read_kv(dm, a, a.tensors.k, K, (b, head), j * N, rows, chain, True)     # K, by columns [D, N]
                if a.attn_mask:
                    await read_mask(dm, a, a.attn_mask, (b, head, q), j)              # the mask, band by band [band, N]
                if j == visited.start and h < M:
                    for i in range(0, M, h):
                        await read_q(dm, a, phase, Q, (b, head, q), i, h)             # Q, band by band [h, D]
                await read_kv(dm, a, a.tensors.v, V, (b, head), j * N, rows, chain)           # V          [N, E]
        if a.windows:
            (windows,) = dm.cbs("windows_reader")
            dm.pop(windows, 1)
        if batch is not None:
            (table,) = dm.cbs("page_table")
            dm.pop(table, 1)


async def read_start(dm: DataMovement, start: Tensor) -> None:
    """A chunk's start from its tensor, once for each of the other two kernels."""
    for cb in dm.cbs("chunk_start_compute", "chunk_start_writer"):
        await dm.reserve(cb, 1)
        await dm.read(start, [0], cb, (1, 1))
        dm.push(cb, 1)


async def read_windows(dm: DataMovement, windows: Tensor, name: str) -> None:
    """Where the windows of tokens begin, into a buffer of the kernel's own."""
    (cb,) = dm.cbs(name)
    await dm.reserve(cb, 1)
    await dm.read(windows, [0], cb, (1, 1))
    dm.push(cb, 1)


async def tell_range(dm: DataMovement) -> None:
    """Let the compute kernel know which K chunks a Q chunk visits."""
    (cb,) = dm.cbs("k_range")
    await dm.reserve(cb, 1)
    dm.fill(cb, 1, None)
    dm.push(cb, 1)


def rows_of_kv(a: Args, phase: Phase) -> int:
    """Tile row at which reading K and V ends: past the tensor by the slab's offset, as upstream, but not past the page table.

    With a start from a tensor it is where the new rows end.
    """
    rows = (a.heads.q_rows if a.start else a.heads.kv_rows) + phase.q_offset * a.chunk.M
    return min(rows, a.paging.blocks * a.paging.block_rows) if a.paging else rows


async def read_q(dm: DataMovement, a: Args, phase: Phase, Q: CircularBuffer, chunk: tuple[int, int, int], i: int, rows: int) -> None:
    """Rows i to i + `rows` of a Q chunk; zeros beyond the sequence."""
    b, head, q = chunk
    D, q_rows = a.chunk.D, a.heads.q_rows
    first = phase.read_row + q * a.chunk.M + i
    present = min(rows, q_rows - first)
    start = (b * a.heads.q + head) * q_rows + first
    await dm.reserve(Q, rows * D)
    if present > 0:
        await dm.read(a.tensors.q, range(start * D, (start + present) * D), Q, (rows, D), a.barrier)
    else:
        dm.fill(Q, rows * D, np.zeros((rows, 32, D, 32), np.float32))
    dm.push(Q, rows * D)


async def read_kv(
    dm: DataMovement, a: Args, tensor: Tensor, cb: CircularBuffer, head: tuple[int, int], row: int, rows: int, chain: Neighbours, transpose: bool = False
) -> None:
    """The K or V chunk from tile row `row`: `rows` rows of it, the rest zeros. `transpose` lays its tiles down by columns."""
    cols, in_flight = tensor.tile_cols, 0 if chain[1] else a.barrier                  # the first of a chain: no limit
    await fetch(dm, tensor, kv_pages(dm, a, head, cols, row, rows), cb, (a.chunk.N, cols), chain, in_flight, transpose)


async def fetch(
    dm: DataMovement, tensor: Tensor, pages: Sequence[int], cb: CircularBuffer, shape: tuple[int, int], chain: Neighbours, in_flight: int, transpose: bool
) -> None:
    """A chunk from the core before or from memory; to the core after, then to compute."""
    before, after = chain
    tiles = shape[0] * shape[1]
    await dm.reserve(cb, tiles)
    if before:
        await receive(dm, before)
    else:
        await dm.read(tensor, pages, cb, shape, in_flight, transpose)
    if after:
        await send(dm, cb, tiles, after)
    dm.push(cb, tiles)
    if after:
        dm.semaphore_increase(after, BEFORE)


async def read_mask(dm: DataMovement, a: Args, mask: GivenMask, chunk: tuple[int, int, int], j: int) -> None:
    """The mask of a Q chunk and K chunk `j`; beyond the sequence it hides all, and is not read."""
    b, head, q = chunk
    (cb,) = dm.cbs("mask_in")
    (M, N, _, _), width = a.chunk, mask.tensor.tile_cols
    cols = min(N, width - j * N)
    together = mask.band if cols == N else 1  # rows that lie in L1 as one grid
    for i in range(q * M, (q + 1) * M, mask.band):
        rows = range(i, min(i + mask.band, mask.rows))
        await dm.reserve(cb, mask.band * N)
        for part in (rows[r : r + together] for r in range(0, len(rows), together)):
            firsts = ((mask.first_row(b, head) + r) * width + j * N for r in part)
            pages = [page for first in firsts for page in range(first, first + cols)]
            await dm.read(mask.tensor, pages, cb, (len(part), cols), a.barrier)
            hide(dm, cb, N - cols)
        hide(dm, cb, (mask.band - len(rows)) * N)
        dm.push(cb, mask.band * N)


async def read_sink(dm: DataMovement, sink: Sink, head: int) -> None:
    """The tile of a head; the RISC makes the copies, at cycles that are not modelled."""
    (cb,) = dm.cbs("attention_sink")
    await dm.reserve(cb, sink.copies)
    await dm.read(sink.tensor, [head], cb, (1, 1))
    if more := sink.copies - 1:
        tiles = sink.tensor.tiles
        dm.fill(cb, more, None if tiles is None else tiles[[head] * more])
    dm.push(cb, sink.copies)


def hide(dm: DataMovement, cb: CircularBuffer, tiles: int) -> None:
    """Tiles in which nothing is seen."""
    if tiles:
        dm.fill(cb, tiles, np.full((1, 32, tiles, 32), -np.inf, np.float32))


async def receive(dm: DataMovement, before: tuple[int, int]) -> None:
    """Ask the core before for its chunk, which it writes into the space reserved here."""
    dm.semaphore_set(BEFORE, 0)
    dm.semaphore_increase(before, NEXT)
    await dm.semaphore_wait(BEFORE, 1)


async def send(dm: DataMovement, cb: CircularBuffer, tiles: int, after: tuple[int, int]) -> None:
    """Wait until the next core has space, and copy the chunk there."""
    await dm.semaphore_wait(NEXT, 1)
    dm.semaphore_set(NEXT, 0)
    await dm.forward(cb, tiles, after)


def kv_pages(dm: DataMovement, a: Args, head: tuple[int, int], cols: int, row: int, rows: int) -> Sequence[int]:
    """Pages of `rows` tile rows of a query head's K or V."""
    b, kv_head = head[0], a.heads.kv_of(head[1])
    if a.paging is None:
        first = (b * a.heads.kv + kv_head) * a.heads.kv_rows + row
        return range(first * cols, (first + rows) * cols)
    blocks = dm.words(*dm.cbs("page_table"))
    return [page for t in range(row, row + rows) for page in row_pages(a.paging, a.heads, blocks, kv_head, t, cols)]


def row_pages(paging: Paging, heads: Heads, blocks: Sequence[int], kv_head: int, t: int, cols: int) -> range:
    """Pages of tile row `t` of a head, looked up in its batch's row of the page table."""
    block = blocks[t // paging.block_rows]
    first = ((block * heads.kv + kv_head) * paging.block_rows + t % paging.block_rows) * cols
    return range(first, first + cols)


async def turn_page_table(dm: DataMovement, rows: Tensor, b: int, again: bool) -> None:
    """Replace the batch's row of the page table in L1."""
    (table,) = dm.cbs("page_table")
    if again:
        dm.pop(table, 1)
    await dm.reserve(table, 1)
    await dm.read(rows, [b], table, (1, 1))
    dm.push(table, 1)
