"""How a core cuts chunks into DST windows, and what it keeps in L1: the circular buffers of every SDPA kernel."""

from dataclasses import dataclass
from functools import cached_property

from tensix_sim.formats import BFLOAT4_B, BFLOAT16, FLOAT32, Format
from tensix_sim.kernels.sdpa import Dst
from tensix_sim.program import BufferSpec

SUBBLOCKS = (
    (2, 4), (4, 2), (1, 8), (8, 1), (1, 7), (7, 1), (2, 3), (3, 2), (1, 6), (6, 1),
    (1, 5), (5, 1), (2, 2), (1, 4), (4, 1), (1, 3), (3, 1), (1, 2), (2, 1), (1, 1),
)  # fmt: skip
STREAMING_PV_HEIGHT = 2
INT32 = Format("int32", 32, 32, False, 0)  # 4 B, in a buffer's page of 32 (the op's program factory)


def largest_subblock(height: int, width: int, dst: int, max_height: int = 8) -> tuple[int, int]:
    """Choose the first of the factory's subblocks that fits `dst` tiles and divides a block of `height` x `width`."""
    fits = ((h, w) for h, w in SUBBLOCKS if h * w <= dst and h <= max_height)
    return next((h, w) for h, w in fits if height % h == 0 and width % w == 0)


def granularity(tiles: int, cap: int) -> int:
    """Find the largest divisor of `tiles` that is at most `cap`."""
    return next(g for g in range(min(tiles, cap), 0, -1) if tiles % g == 0)


@dataclass(frozen=True)
class Blocks:
    """The chunks of a core in tiles: a Q chunk is M x D, a K chunk N x D, a V chunk N x E.

    `dst` is the tiles of a DST half. With `wide_scores` scores and row sums are float32 in L1.
    """

    M: int
    N: int
    D: int
    E: int
    dst: int
    streaming: bool
    q: Format  # of Q and the output
    k: Format
    v: Format
    wide_scores: bool = False

    @cached_property
    def qk_subblock(self) -> tuple[int, int]:
        """Height and width of a DST window of Q x K."""
        return largest_subblock(self.M, self.N, self.dst)

    @cached_property
    def pv_subblock(self) -> tuple[int, int]:
        """Height and width of a DST window of P x V."""
        return largest_subblock(self.M, self.E, self.dst, STREAMING_PV_HEIGHT if self.streaming else self.dst)

    @property
    def pv_rows(self) -> int:
        """Rows of the output that are finished together: all, or a row group of the streaming kernel."""
        if not self.streaming:
            return self.M
        height, width = self.pv_subblock
        return 2 if height == 1 and 2 * width <= self.dst and self.M >= 2 else height

    @property
    def out_band(self) -> int:
        """Rows of the output that the writer drains at a time."""
        return self.pv_subblock[0] if self.streaming else self.M

    @property
    def stats(self) -> int:
        """Row sums in a DST window."""
        return granularity(self.M, self.dst)

    @property
    def sub_exp(self) -> int:
        """Scores in a DST window of the exponential."""
        return granularity(self.N, self.dst)

    @property
    def dht(self) -> int:
        """Output tiles in a DST window of their scaling."""
        return granularity(self.D, self.dst)

    @property
    def reduce(self) -> int:
        """Row maxima in a DST window."""
        return granularity(self.M, self.dst // 2)

    @cached_property
    def in_dst(self) -> Dst:
        """What the compute kernel puts into a DST half."""
        subblocks = self.qk_subblock, self.pv_subblock, self.pv_rows, self.out_band
        return Dst(*subblocks, maxima=self.reduce, exps=self.sub_exp, scaled=self.dht, sums=self.stats, stamps=self.dst)

    def buffers(
        self,
        q_chunks: int,
        palette: int,
        page_table_stick_bytes: int,
        dense_mask: bool = False,
        attn_mask: Format | None = None,
        sink: Format | None = None,
        start: Format | None = None,
        windows: Format | None = None,
    ) -> tuple[BufferSpec, ...]:
        """List the circular buffers of every core in the order of their indices.

        `q_chunks` is the Q chunks held at a time, `palette` the tiles of the mask, in bfloat4_b where it is dense. `attn_mask`,
        `sink`, `start` and `windows` are the formats of those that come in tensors. What the compute kernel keeps for itself is
        bfloat16 whatever the inputs are.
        """
        m, n, d, e = self.M, self.N, self.D, self.E
        scores = FLOAT32 if self.wide_scores else BFLOAT16
        stick = Format("int32 row", page_table_stick_bytes, page_table_stick_bytes, False, 0)

        def inner(name: str, tiles: int, fmt: Format = BFLOAT16) -> BufferSpec:
            return BufferSpec(name, tiles, fmt, "compute", "compute")

        def constant(name: str, tiles: int, fmt: Format = BFLOAT16) -> BufferSpec:
            return BufferSpec(name, tiles, fmt, "writer", "compute", resident=True)

        return (
            BufferSpec("q_in", q_chunks * m * d, self.q, "reader", "compute"),
            BufferSpec("k_in", 2 * n * d, self.k, "reader", "compute"),
            BufferSpec("v_in", 2 * n * e, self.v, "reader", "compute"),
            *([constant("mask_in", palette, BFLOAT4_B if dense_mask else BFLOAT16)] if palette else []),
            *([BufferSpec("mask_in", 2 * m * n, attn_mask, "reader", "compute")] if attn_mask else []),
            *([BufferSpec("mask_in", 2 * m * n, BFLOAT16, "writer", "compute")] if windows else []),
            *([BufferSpec("attention_sink", 1 if self.streaming else m, sink, "reader", "compute")] if sink else []),
            constant("identity_scale", 1),
            constant("col_identity", 1),
            *([BufferSpec("page_table", 1, stick, "reader", "reader")] if page_table_stick_bytes else []),
            *([BufferSpec("chunk_start_compute", 1, start, "reader", "compute")] if start else []),
            *([BufferSpec("chunk_start_writer", 1, start, "reader", "writer")] if start else []),
            *(
                [
                    BufferSpec("windows_reader", 1, windows, "reader", "reader"),
                    BufferSpec("windows_writer", 1, windows, "writer", "writer"),
                    BufferSpec("k_range", 1, INT32, "reader", "compute"),
                ]
                if windows
                else []
            ),
            *([inner("recip_scratch", 1)] if self.streaming else []),
            inner("qk_im", m * n, scores),
            inner("out_im_A", m * e),
            inner("out_im_B", m * e),
            inner("max_A", m),
            inner("max_B", m),
            inner("sum_A", m, scores),
            inner("sum_B", m, scores),
            inner("exp_max_diff", m),
            BufferSpec("out", 2 * self.pv_rows * e if self.streaming else m * e, self.q, "compute", "writer"),
        )

    def moved_at_once(self, buffer: BufferSpec) -> int:
        """Tiles of one of `buffers` that are waited for together: its size must be a multiple, for the wrap rule."""
        out_rows = self.pv_rows if self.streaming else self.M
        at_once = {"q_in": self.M * self.D, "k_in": self.N * self.D, "v_in": self.N * self.E, "out": out_rows * self.E}
        if not buffer.resident:
            at_once["mask_in"] = self.M * self.N
        return at_once.get(buffer.name, buffer.tiles)
