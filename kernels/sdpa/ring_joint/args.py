"""What the kernels of ring joint attention are told: the slices in the order of their use, and each gather core's share of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tensix_sim.kernel_api import Tensor
from tensix_sim.kernels.sdpa.args import Args, ChainLink
from tensix_sim.kernels.sdpa.mask import NEG_INF, TILE, Mark, Marks, Mask
from tensix_sim.kernels.sdpa.ring_joint.semaphores import LANDED

QPlace = tuple[int, int, int]  # batch, head, Q chunk of the head


@dataclass(frozen=True, eq=False)
class KeyRows:
    """K and V of some rows: tile rows `row` on of a head's `head_rows`, of which a Q chunk sees what `mask` says."""

    k: Tensor
    v: Tensor
    head_rows: int
    row: int
    mask: Mask
    bar: int  # tile of the palette that hides the padding within the last tile of keys

    @property
    def rows(self) -> int:
        """Tile rows that are there."""
        return -(-self.mask.keys // TILE)


class KChunk(NamedTuple):
    """A K chunk of a slice, as a Q chunk meets it."""

    keys: KeyRows
    row: int  # first tile row, and how many there are
    rows: int
    n: int  # columns of scores to compute; 0: passed by
    marks: Marks


@dataclass(frozen=True, eq=False)
class Iteration:
    """A turn of the ring: which slice, what it waits for, and what of it Q chunks meet. Without `sources` it is passed by.

    In the `first` with any there is nothing running yet, in the `last` outputs are normalised. In one for `later` Q chunks only,
    those of a head's first half pass it by.
    """

    slice: int
    awaited: tuple[str, int] | None  # semaphore and value
    sources: tuple[KeyRows, ...]
    later: bool = False
    first: bool = False
    last: bool = False
    _known: dict[int, tuple[KChunk, ...]] = field(default_factory=dict, init=False, repr=False)

    def takes(self, q: int, q_chunks: int) -> bool:
        """Whether Q chunk `q` of a head's `q_chunks` meets any K chunk."""
        return not self.later or q >= q_chunks // 2

    def chunks(self, q: int) -> tuple[KChunk, ...]:
        """K chunks for Q chunk `q`. A causal slice is read to its end; what lies above the diagonal is passed by."""
        if q not in self._known:
            self._known[q] = tuple(chunk for keys in self.sources for chunk in _chunks(keys, q))
        return self._known[q]


def _chunks(keys: KeyRows, q: int) -> Iterator[KChunk]:
    mask, N = keys.mask, keys.mask.N
    row = q * mask.M if mask.causal else 0
    visited = mask.k_range(row)
    for j in range(-(-keys.rows // N)):
        rows = min(N, keys.rows - j * N)
        n = mask.active(row, j) if j in visited else 0
        if mask.narrow:
            n = min(n, rows)
        yield KChunk(keys, keys.row + j * N, rows, n, _marks(keys, row, j, rows, n) if n else ())


def _marks(keys: KeyRows, row: int, j: int, rows: int, n: int) -> Marks:
    """Stamps on the `n` columns of K chunk `j`, of which `rows` are there; a diagonal leaves padding to rows that are padding too."""
    mask = keys.mask
    marks = mask.marks(row, j)
    if not mask.causal:
        return tuple((keys.bar if mark else mark, i, cols) for mark, i, cols in marks)
    cut = mask.keys % TILE > 0 and j * mask.N + rows == keys.rows
    made: list[Mark] = []
    for i in range(mask.M):
        made += [(mark, i, range(cols.start, min(cols.stop, n))) for mark, at, cols in marks if at == i and cols.start < n]
        made += [(keys.bar, i, range(rows - 1, rows))] if cut and rows <= n else []
        padding = range(rows, min(row + i - j * mask.N + 1, n))
        made += [(NEG_INF, i, padding)] if padding else []
    return tuple(made)


@dataclass(frozen=True, slots=True)
class RingArgs:
    """Arguments of a compute core. `own` is attention of the chip's own rows, `joint` that of the rows behind all, if any."""

    own: Args
    joint: Args | None
    iterations: tuple[Iteration, ...]
    local_chunks: int  # Q chunks of a head's own rows; those of joint rows follow
    causal: bool
    palette: int
    bars: tuple[int, ...]  # keys that each bar of the palette leaves in its tile
    statistics: Tensor  # of each head running maxima, [all tile rows, 1], then running sums; or log-sum-exps
    row: "CoreRow | None" = None  # of one K/V head for all
    merges: bool = False  # the legacy kernel's way

    @property
    def many(self) -> bool:
        """Whether what a Q chunk has so far waits in DRAM: where a core has several, or merges; else it stays in L1."""
        return self.merges or self.own.share.count > 1

    def of(self, q: int) -> tuple[Args, int]:
        """Where Q chunk `q` of a head belongs, and its number there."""
        if self.joint is None or q < self.local_chunks:
            return self.own, q
        return self.joint, q - self.local_chunks

    def met(self, it: Iteration, q: int) -> list[KChunk]:
        """K chunks that Q chunk `q` of a head computes in an iteration."""
        return [chunk for chunk in it.chunks(q) if chunk.n] if it.takes(q, self.own.heads.q_chunks) else []

    def turns(self, it: Iteration) -> list[QPlace]:
        """The core's Q chunks that an iteration has something to do for, the last one for all."""
        return [place for place in self.own.chunks() if it.last or it.takes(place[2], self.own.heads.q_chunks)]

    def merged(self, it: Iteration) -> list[QPlace]:
        """The core's Q chunks that meet anything in an iteration."""
        return [place for place in self.own.chunks() if it.sources and self.met(it, place[2])]

    def padding(self, it: Iteration) -> int:
        """Turns in which the core only takes part in what its row does, for others have more Q chunks."""
        if self.row is None or not it.sources:
            return 0
        mine = sum(it.takes(place[2], self.own.heads.q_chunks) for place in self.own.chunks())
        return self.row.turns // (2 if it.later else 1) - mine

    def chain(self, kv_head: int, turn: int, later: bool) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
        """For the `turn`-th Q chunk of a KV head that the core meets in an iteration: who sends it K and V, and to whom it does."""
        link: ChainLink | None = self.own.share.link
        if link is None or kv_head != link.head:
            return None, None
        return link.before, link.after if turn < link.after_chunks // (2 if later else 1) else None


class CoreRow(NamedTuple):
    """A row of cores that share all K and V: one reads and sends them to the `others`, as often as the busiest has Q chunks."""

    sender: tuple[int, int] | None  # none: this core
    others: tuple[tuple[int, int], ...]
    turns: int


class HeadShare(NamedTuple):
    """A link's share of a head's K or V in a slice: so many pages of a chip's tensor, and where they go on the next chip."""

    source: Tensor
    page: int
    target: Tensor
    place: int
    pages: int


class PacketRun(NamedTuple):
    """Packets that are read, sent and landed one after the other: pages of a chip's tensor, and where they go on the next chip."""

    source: Tensor
    pages: Sequence[int]
    target: Tensor
    places: Sequence[int]


@dataclass(frozen=True, slots=True)
class GatherArgs:
    """A gather core's part: its link and direction, and of each slice that it sends its packets.

    It sends `step`, 1 to the next chip and -1 to the one before: its own slice and what has come from behind, but the last of
    `receives`. The first link's core, `first`, tells the `told` cores of the chip when it and the `others` have a slice.
    """

    step: int
    link: int
    sent: tuple[tuple[HeadShare, ...], ...]  # a slice each
    receives: int
    packet_tiles: int
    run_tiles: int
    in_flight: int
    first: tuple[int, int]
    others: tuple[tuple[int, int], ...]
    counts: str  # semaphore of the `told`
    told: tuple[tuple[int, int], ...]
    counts_own: bool  # whether its own slice counts as one, when it has been sent
    landed: str = LANDED  # semaphore that lives on from call to call; one call must not use that of the call before

    def packets(self, k: int) -> Iterator[PacketRun]:
        """The k-th slice that is sent, if so many are, in runs."""
        for share in self.sent[k] if k < len(self.sent) else ():
            for done in range(0, share.pages, self.run_tiles):
                end = min(done + self.run_tiles, share.pages)
                yield PacketRun(
                    share.source,
                    range(share.page + done, share.page + end),
                    share.target,
                    range(share.place + done, share.place + end),
                )
