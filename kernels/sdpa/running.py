"""The buffers of flash attention, and what it carries in them from one K chunk to the next."""

from typing import NamedTuple

from tensix_sim.kernel_api import Compute, Matrix
from tensix_sim.kernels.sdpa.args import Args, Chunk


class Matrices(NamedTuple):
    """The other buffers."""

    Q: Matrix       # [M, D]
    Kt: Matrix      # [D, N]
    V: Matrix       # [N, E]
    S: Matrix       # scores, then probabilities P [M, N]
    alpha: Matrix   # factors between K chunks     [M, 1]
    out: Matrix     # what the writer takes at a time
    scaler: Matrix
    ones: Matrix
    mask: Matrix | None   # palette
    given: Matrix | None = None    # what is added to scores [M, N]
    sink: Matrix | None = None
    k_range: Matrix | None = None  # which K chunks a Q chunk visits, where the reader tells it


class Running(NamedTuple):
    """One set of the statistics; two sets change roles after each K chunk."""

    m: Matrix  # row maxima                       [M, 1]
    l: Matrix  # row sums, in 32 partial columns  [M, 1]
    O: Matrix  # outputs, not yet normalised      [M, E]


def matrices(t: Compute, a: Args, out_rows: int) -> Matrices:
    """Those of a core, whose writer takes so many rows of tiles at a time."""
    M, N, D, E = a.chunk
    return Matrices(
        t.matrix("q_in", M, D), t.matrix("k_in", D, N, transposed=True), t.matrix("v_in", N, E), t.matrix("qk_im", M, N),
        t.column("exp_max_diff", M), t.matrix("out", out_rows, E), t.matrix("identity_scale"), t.matrix("col_identity"),
        t.matrix("mask_in", 1, a.mask.palette) if a.mask.palette else None,
        t.matrix("mask_in", M, N) if a.mask.given else None,
        t.matrix("attention_sink", a.sink.copies) if a.sink else None,
        t.matrix("k_range") if a.windows else None,
    )  # fmt: skip


async def learn_start(t: Compute, a: Args) -> None:
    """Wait for a chunk's start, where the reader has it from a tensor."""
    if a.start:
        start = t.matrix("chunk_start_compute")
        await t.wait(start)
        t.pop(start)


async def learn_range(t: Compute, x: Matrices) -> None:
    """Wait for the K chunks of a Q chunk, where the reader has them from a tensor of windows."""
    if x.k_range:
        await t.wait(x.k_range)
        t.pop(x.k_range)


def running(t: Compute, chunk: Chunk) -> tuple[Running, Running]:
    """Sets A and B."""
    M, _, _, E = chunk
    A, B = (Running(t.column(f"max_{x}", M), t.matrix(f"sum_{x}", M), t.matrix(f"out_im_{x}", M, E)) for x in "AB")
    return A, B
