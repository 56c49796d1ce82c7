"""NCRISC: reads Q, K and V chunks from DRAM. Each core streams its own K and V; nothing is shared or forwarded."""

from tensix_sim.kernel_api import DataMovement, Fifo, Tensor
from tensix_sim.kernels.sdpa.args import Args, Phase


async def reader(dm: DataMovement, a: Args) -> None:
    """For each Q chunk: K0, Q, V0, then K and V in turn up to the diagonal."""
    Q, K, V = dm.cbs("q_in", "k_in", "v_in")
    M, N = a.M, a.N
    h = a.qk_subblock[0]
    for phase in a.phases:
        batch = None
        kv_bound = a.kv_rows + phase.q_offset * M
        for b, head, q in a.chunks():
            if a.page_table is not None and b != batch:
                await turn_page_table(dm, a, b, batch is not None)
                batch = b
            if h == M:
                await read_q(dm, a, phase, Q, (b, head, q), 0, M)                    # Q          [M, D]
            for j in range(a.k_chunks((phase.q_offset + q) * M)):
                rows = min(N, kv_bound - j * N)
                await read_kv(dm, a, a.k, K, (b, head), j * N, rows, transpose=True)  # K, by columns [D, N]
                if j == 0 and h < M:
                    for i in range(0, M, h):
                        await read_q(dm, a, phase, Q, (b, head, q), i, h)             # Q, band by band [h, D]
                await read_kv(dm, a, a.v, V, (b, head), j * N, rows)                  # V          [N, E]
        if batch is not None:
            (table,) = dm.cbs("page_table")
            dm.pop(table, 1)


async def read_q(dm: DataMovement, a: Args, phase: Phase, Q: Fifo, chunk: tuple[int, int, int], i: int, rows: int) -> None:
    """Rows i to i + `rows` of a Q chunk."""
    b, head, q = chunk
    row = (b * a.NQH + head) * a.q_rows + phase.read_row + q * a.M + i
    await dm.reserve(Q, rows * a.D)
    await dm.read(a.q, range(row * a.D, (row + rows) * a.D), Q, (rows, a.D), a.barrier)
    dm.push(Q, rows * a.D)


async def read_kv(
    dm: DataMovement, a: Args, tensor: Tensor, cb: Fifo, head: tuple[int, int], row: int, rows: int, transpose: bool = False
) -> None:
    """The K or V chunk from tile row `row`: `rows` rows of it, the rest zeros. `transpose` lays its tiles down by columns."""
    cols = tensor.tile_cols
    b, kv_head = head[0], a.kv_head(head[1])
    if a.page_table is None:
        first = (b * a.NKH + kv_head) * a.kv_rows + row
        pages: range | list[int] = range(first * cols, (first + rows) * cols)
    else:
        pages = [p for t in range(row, row + rows) for p in row_pages(a, b, kv_head, t, cols)]
    await dm.reserve(cb, a.N * cols)
    await dm.read(tensor, pages, cb, (a.N, cols), a.barrier, transpose)
    dm.push(cb, a.N * cols)


def row_pages(a: Args, b: int, kv_head: int, t: int, cols: int) -> range:
    """Pages of tile row `t` of a head, looked up in the page table."""
    block = a.pages[b][t // a.block_rows]
    first = ((block * a.NKH + kv_head) * a.block_rows + t % a.block_rows) * cols
    return range(first, first + cols)


async def turn_page_table(dm: DataMovement, a: Args, b: int, again: bool) -> None:
    """Replace the batch's row of the page table in L1."""
    (table,) = dm.cbs("page_table")
    if again:
        dm.pop(table, 1)
    assert a.page_table is not None
    await dm.reserve(table, 1)
    await dm.read(a.page_table, [b], table, (1, 1))
    dm.push(table, 1)
