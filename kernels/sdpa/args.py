"""What the three kernels are told: the shapes, the phases, and each core's range of Q chunks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tensix_sim.kernel_api import Tensor

NEG_INF, DIAGONAL = 0, 1  # the two tiles of mask_in


@dataclass(frozen=True, slots=True)
class Phase:
    """One pass over a core's Q chunks: where its slab of Q, in sequence order, begins."""

    q_offset: int  # absolute index of the slab's first Q chunk
    read_row: int  # tile row of Q where the slab begins
    write_row: int  # tile row of the output where it goes


@dataclass(frozen=True, slots=True)
class Args:
    """Arguments of one core. Sizes are in tiles unless the name says chunks."""

    q: Tensor
    k: Tensor
    v: Tensor
    out: Tensor
    page_table: Tensor | None
    pages: Sequence[Sequence[int]]  # page_table's rows, one a batch
    block_rows: int  # tile rows of a K/V page
    NQH: int
    NKH: int
    q_rows: int  # tile rows of one head of Q,
    kv_rows: int  # of K and V,
    out_rows: int  # of the output
    M: int
    N: int
    D: int
    E: int
    q_chunks: int  # of one head, in one phase
    Skt: int
    qk_subblock: tuple[int, int]
    pv_subblock: tuple[int, int]
    stats: int  # tiles in a DST half: for the row sums,
    sub_exp: int  # the exponential,
    dht: int  # the scaling by a column,
    reduce: int  # the row maxima,
    stamps: int  # the causal mask
    scale: float
    barrier: int  # reads or writes in flight
    phases: tuple[Phase, ...]
    start: int
    count: int

    def chunks(self) -> Iterator[tuple[int, int, int]]:
        """(batch, head, Q chunk) of this core's range, light and heavy chunks in turn."""
        for index in range(self.start, self.start + self.count):
            head = index // self.q_chunks
            yield head // self.NQH, head % self.NQH, zigzag(index % self.q_chunks, self.q_chunks)

    def k_chunks(self, row: int) -> int:
        """K chunks that the Q chunk starting at absolute tile row `row` can see."""
        return -(-min(row + self.M, self.Skt) // self.N)

    def kv_head(self, head: int) -> int:
        """The K/V head that a query head shares."""
        return head // (self.NQH // self.NKH)


def zigzag(position: int, chunks: int) -> int:
    """The Q chunk at `position` of a head: 0, last, 1, last but one, ... so that neighbours add up to equal work."""
    return chunks - 1 - position // 2 if position % 2 else position // 2
