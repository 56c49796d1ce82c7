"""What the three kernels are told: the shapes, the phases, the mask, and each core's range of Q chunks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tensix_sim.kernel_api import Tensor
from tensix_sim.kernels.sdpa.mask import Mark, Mask

# Semaphores, named by whom a core waits for: the next core, until it wants a chunk, and the one before, until its chunk is there
NEXT, BEFORE = "next in K/V chain", "before in K/V chain"


@dataclass(frozen=True, slots=True)
class Phase:
    """One pass over a core's Q chunks: where its slab of Q, in sequence order, begins."""

    q_offset: int  # absolute index of the slab's first Q chunk
    read_row: int  # tile row of Q where the slab begins
    write_row: int  # tile row of the output where it goes


@dataclass(frozen=True, slots=True)
class ChainLink:
    """A core's part in a chain of cores that pass the K and V of a head on, from the one that reads them to the last."""

    head: int  # of all batches
    before: tuple[int, int] | None  # the core that sends to this one; none: this one reads from memory
    after: tuple[int, int] | None  # the core that this one sends to,
    after_chunks: int  # which has so many Q chunks of the head


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
    mask: Mask
    streaming: bool
    qk_subblock: tuple[int, int]
    pv_subblock: tuple[int, int]
    pv_rows: int  # of the output that P V finishes at a time
    out_band: int  # rows of the output that the writer takes at a time
    stats: int  # tiles in a DST half: for the row sums,
    sub_exp: int  # the exponential,
    dht: int  # the scaling by a column,
    reduce: int  # the row maxima,
    stamps: int  # the mask
    scale: float
    exp_approx: bool  # of the factors between K chunks
    barrier: int  # reads or writes in flight
    phases: tuple[Phase, ...]
    start: int
    count: int
    link: ChainLink | None = None

    def chunks(self) -> Iterator[tuple[int, int, int]]:
        """(batch, head, Q chunk) of this core's range; light and heavy chunks in turn where the mask is causal."""
        for index in range(self.start, self.start + self.count):
            head, q = place(index, self.q_chunks, self.mask.causal)
            yield head // self.NQH, head % self.NQH, q

    def k_range(self, row: int) -> range:
        """K chunks that the Q chunk starting at absolute tile row `row` visits."""
        return self.mask.k_range(row)

    def active(self, row: int, j: int) -> int:
        """Score columns of K chunk `j` that are computed: all N, or those that the Q chunk at `row` sees any of."""
        return self.mask.active(row, j)

    def marks(self, row: int, j: int) -> list[Mark]:
        """Stamps of the mask on the scores of the Q chunk at `row` and K chunk `j`: (palette tile, row, columns)."""
        return self.mask.marks(row, j)

    def neighbours(self, head: int, turn: int) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
        """For the core's `turn`-th Q chunk of `head` (of all batches): who sends it K and V, and to whom it sends them."""
        link = self.link
        if link is None or head != link.head:
            return None, None
        return link.before, link.after if turn < link.after_chunks else None

    @property
    def palette(self) -> int:
        """Tiles in mask_in; 0: there is no such buffer."""
        return self.mask.palette

    @property
    def bracket(self) -> bool:
        """Whether the set-up of the mask is paid on every chunk, stamped or not."""
        return self.streaming and self.mask.right is not None

    def kv_head(self, head: int) -> int:
        """The K/V head that a query head shares."""
        return head // (self.NQH // self.NKH)


def place(index: int, chunks: int, alternate: bool) -> tuple[int, int]:
    """(head, Q chunk) of the index-th Q chunk of all heads; with `alternate` light and heavy chunks take turns."""
    head, position = divmod(index, chunks)
    return head, zigzag(position, chunks) if alternate else position


def zigzag(position: int, chunks: int) -> int:
    """The Q chunk at `position` of a head: 0, last, 1, last but one, ... so that neighbours add up to equal work."""
    return chunks - 1 - position // 2 if position % 2 else position // 2
