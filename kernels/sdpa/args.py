"""What the three kernels are told: tensors, shapes, windows, the mask, the phases, and each core's range of Q chunks."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tensix_sim.kernel_api import Tensor
from tensix_sim.kernels.sdpa.mask import Mask

# Semaphores, named by whom a core waits for: the next core, until it wants a chunk, and the one before, until its chunk is there
NEXT, BEFORE = "next in K/V chain", "before in K/V chain"


class Tensors(NamedTuple):
    """What lies in DRAM."""

    q: Tensor
    k: Tensor
    v: Tensor
    out: Tensor


class Paging(NamedTuple):
    """Where K and V lie in a paged cache."""

    table: Tensor
    blocks: int  # pages that a row of the table names
    block_rows: int  # tile rows of a page


class GivenMask(NamedTuple):
    """A mask in DRAM, of some batches and heads: 1, or as many as Q has."""

    tensor: Tensor
    batches: int
    heads: int
    rows: int  # tile rows of a head
    band: int  # rows of a chunk that are handed over together

    def first_row(self, b: int, head: int) -> int:
        """Tile row at which the mask of a query head begins."""
        return (b % self.batches * self.heads + head % self.heads) * self.rows


class Sink(NamedTuple):
    """A tile a head in DRAM, the head's sink."""

    tensor: Tensor
    copies: int  # of it that compute takes
    each_chunk: bool  # read for each Q chunk, or for each head


class Chunk(NamedTuple):
    """A Q chunk has M x D tiles, a K chunk N x D, a V chunk N x E; scores are M x N, outputs M x E."""

    M: int
    N: int
    D: int
    E: int


class Heads(NamedTuple):
    """Query and key heads, and the shape of each in memory."""

    q: int
    kv: int
    q_rows: int  # tile rows of a head of Q
    kv_rows: int  # tile rows of a head of K and V
    out_rows: int  # tile rows of a head of the output
    q_chunks: int  # Q chunks of a head in a phase

    def kv_of(self, head: int) -> int:
        """The K/V head that a query head shares."""
        return head // (self.q // self.kv)


class Dst(NamedTuple):
    """What goes into a DST half, in tiles."""

    qk: tuple[int, int]  # subblock of Q K^T
    pv: tuple[int, int]  # subblock of P V
    pv_rows: int  # rows of the output that P V finishes at a time
    out_rows: int  # rows of the output that the writer takes at a time
    maxima: int  # row maxima
    exps: int  # exponentials of a row
    scaled: int  # outputs of a row that are scaled by a column
    sums: int  # row sums
    stamps: int  # copies of a tile of the mask


class Phase(NamedTuple):
    """One pass over a core's Q chunks: where its slab of Q, in sequence order, begins."""

    q_offset: int  # absolute index of the slab's first Q chunk
    read_row: int  # tile row of Q where the slab begins
    write_row: int  # tile row of the output where it goes


class ChainLink(NamedTuple):
    """A core's part in a chain of cores that pass the K and V of a head on, from the one that reads them to the last."""

    head: int  # of all batches
    before: tuple[int, int] | None  # the core that sends to this one; none: this one reads from memory
    after: tuple[int, int] | None  # the core that this one sends to
    after_chunks: int  # Q chunks of the head that the core after has


@dataclass(frozen=True, slots=True)
class Share:
    """A core's Q chunks, of those of all heads."""

    start: int
    count: int
    link: ChainLink | None = None


@dataclass(frozen=True, slots=True)
class Args:
    """Arguments of one core. Sizes are in tiles unless the name says chunks."""

    tensors: Tensors
    paging: Paging | None
    chunk: Chunk
    heads: Heads
    dst: Dst
    mask: Mask
    scale: float
    exp_approx: bool  # of the factors between K chunks
    barrier: int  # reads or writes in flight
    phases: tuple[Phase, ...]
    share: Share
    attn_mask: GivenMask | None = None
    sink: Sink | None = None
    start: Tensor | None = None  # of a chunk, where kernels are told it by a tensor
    windows: Tensor | None = None  # of tokens

    def chunks(self) -> Iterator[tuple[int, int, int]]:
        """(batch, head, Q chunk) of this core's range; light and heavy chunks in turn where the mask is causal."""
        for index in range(self.share.start, self.share.start + self.share.count):
            head, q = place(index, self.heads.q_chunks, self.mask.causal)
            yield head // self.heads.q, head % self.heads.q, q

    def neighbours(self, head: int, turn: int) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
        """For the core's `turn`-th Q chunk of `head` (of all batches): who sends it K and V, and to whom it sends them."""
        link = self.share.link
        if link is None or head != link.head:
            return None, None
        return link.before, link.after if turn < link.after_chunks else None


def place(index: int, chunks: int, alternate: bool) -> tuple[int, int]:
    """(head, Q chunk) of the index-th Q chunk of all heads; with `alternate` light and heavy chunks take turns."""
    head, position = divmod(index, chunks)
    return head, zigzag(position, chunks) if alternate else position


def zigzag(position: int, chunks: int) -> int:
    """The Q chunk at `position` of a head: 0, last, 1, last but one, ... so that neighbours add up to equal work."""
    return chunks - 1 - position // 2 if position % 2 else position // 2
