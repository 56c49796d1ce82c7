"""Shapes of ring-distributed SDPA: how a legal spec becomes tiles, chunks, shares of cores and circular buffers.

The letters are those of the kernels. In tiles: a Q chunk is M x D, a K chunk N x D, a V chunk N x E, a local slab
of Q `Sqt` rows, K and V `valid_Skt` rows that pad to `Skt`. A slab is `nq` Q chunks; the whole sequence `nk` K chunks.
"""

from dataclasses import dataclass
from functools import cached_property

from tensix_sim.arch import Machine, machine
from tensix_sim.config import OP_CHUNK_SIZE, RunSpec, SDPAProgramConfig, open_array
from tensix_sim.formats import FORMATS, TILE, Format
from tensix_sim.kernels.sdpa import zigzag
from tensix_sim.program import CircularBuffer, ComputeConfig, Role

PAGE_TABLE_ENTRY_BYTES = 4
PEAK_FLOPS_PER_CYCLE = 4096  # of one core at LoFi
SUBBLOCKS = (
    (2, 4), (4, 2), (1, 8), (8, 1), (1, 7), (7, 1), (2, 3), (3, 2), (1, 6), (6, 1),
    (1, 5), (5, 1), (2, 2), (1, 4), (4, 1), (1, 3), (3, 1), (1, 2), (2, 1), (1, 1),
)  # fmt: skip


def largest_subblock(height: int, width: int, dst: int) -> tuple[int, int]:
    """Choose the first of the factory's subblocks that fits `dst` tiles and divides a block of `height` x `width`."""
    return next((h, w) for h, w in SUBBLOCKS if h * w <= dst and height % h == 0 and width % w == 0)


def granularity(tiles: int, cap: int) -> int:
    """Find the largest divisor of `tiles` that is at most `cap`."""
    return next(g for g in range(min(tiles, cap), 0, -1) if tiles % g == 0)


def spec_machine(spec: RunSpec) -> Machine:
    """Make the spec's board, with the spec's what-ifs.

    Raises:
        UnknownNameError: no such board, or no such number of the machine.
        ValidationError: a number that does not fit the rest of the machine.

    """
    return machine(spec.board).override(spec.machine)


def program_config(spec: RunSpec, on: Machine) -> SDPAProgramConfig:
    """Take the given program config, or the op's own where there is none: the smallest chunks on the full grid."""
    return spec.program_config or SDPAProgramConfig(
        compute_with_storage_grid_size=on.grid, q_chunk_size=OP_CHUNK_SIZE, k_chunk_size=OP_CHUNK_SIZE
    )


def page_table_row_bytes(spec: RunSpec, on: Machine) -> int:
    """Count the bytes of one batch's row of the page table as DRAM holds it, or 0 where K and V are dense."""
    if spec.paged_kv is None or spec.chunk_start_idx is None:
        return 0
    if path := spec.paged_kv.page_table_file:
        pages: int = open_array(path, rank=2, kind="i").shape[1]
    else:
        pages = (spec.prefix + spec.inputs.seq_len) // spec.paged_kv.block_size
    alignment = on.chip.dram.page_alignment
    return -(-pages * PAGE_TABLE_ENTRY_BYTES // alignment) * alignment


def circular_buffers(m: int, n: int, d: int, e: int, tensor: Format, page_table_stick_bytes: int) -> tuple[CircularBuffer, ...]:
    """List the circular buffers of every core in the order of their indices.

    What the compute kernel keeps for itself is bfloat16 whatever the inputs and DST are.
    """
    bf16 = FORMATS["bfloat16"]
    stick = Format("int32 row", page_table_stick_bytes, page_table_stick_bytes, False, 0)

    def inner(name: str, tiles: int) -> CircularBuffer:
        return CircularBuffer(name, tiles, bf16, "compute", "compute")

    def constant(name: str, tiles: int) -> CircularBuffer:
        return CircularBuffer(name, tiles, bf16, "writer", "compute", resident=True)

    def chunks(name: str, tiles: int, count: int, producer: Role, consumer: Role) -> CircularBuffer:
        return CircularBuffer(name, count * tiles, tensor, producer, consumer)

    paged = (CircularBuffer("page_table", 1, stick, "reader", "reader"),) if page_table_stick_bytes else ()
    return (
        chunks("q_in", m * d, 2, "reader", "compute"),
        chunks("k_in", n * d, 2, "reader", "compute"),
        chunks("v_in", n * e, 2, "reader", "compute"),
        constant("mask_in", 2),
        constant("identity_scale", 1),
        constant("col_identity", 1),
        *paged,
        inner("qk_im", m * n),
        inner("out_im_A", m * e),
        inner("out_im_B", m * e),
        inner("max_A", m),
        inner("max_B", m),
        inner("sum_A", m),
        inner("sum_B", m),
        inner("exp_max_diff", m),
        chunks("out", m * e, 1, "compute", "writer"),
    )


@dataclass(frozen=True)
class Geometry:
    """A legal spec in tiles and chunks."""

    B: int
    NQH: int
    NKH: int
    R: int
    S: int
    prefix: int
    M: int
    N: int
    D: int
    E: int
    dst: int  # tiles of a DST half
    grid: tuple[int, int]
    scale: float
    format: Format  # of Q, K, V and the output
    fidelity_phases: int
    block_rows: int  # tile rows of a K/V page, 0 where K and V are dense
    page_table_stick_bytes: int

    @classmethod
    def of(cls, spec: RunSpec) -> "Geometry":
        """Work out the geometry of a spec that `check` has passed."""
        on = spec_machine(spec)
        program, given = program_config(spec, on), spec.inputs
        compute = ComputeConfig(spec.effective_compute_config.math_fidelity, spec.effective_compute_config.fp32_dest_acc_en)
        paged = spec.paged_kv if spec.chunk_start_idx is not None else None
        return cls(
            B=given.batch,
            NQH=given.q_heads,
            NKH=given.kv_heads,
            R=spec.ring_size,
            S=given.seq_len,
            prefix=spec.prefix,
            M=program.q_chunk_size // TILE,
            N=program.k_chunk_size // TILE,
            D=given.head_dim // TILE,
            E=given.head_dim // TILE,
            dst=compute.dst_tiles,
            grid=program.compute_with_storage_grid_size,
            scale=given.head_dim**-0.5 if spec.scale is None else spec.scale,
            format=FORMATS[given.dtype],
            fidelity_phases=compute.phases,
            block_rows=paged.block_size // TILE if paged else 0,
            page_table_stick_bytes=page_table_row_bytes(spec, on),
        )

    # -- sizes ------------------------------------------------------------------------------------------

    @property
    def Sc(self) -> int:  # noqa: N802
        """Rows of one of a device's two slabs."""
        return self.S // (2 * self.R)

    @property
    def Sqt(self) -> int:  # noqa: N802
        """Tile rows of a slab."""
        return self.Sc // TILE

    @property
    def Sk(self) -> int:  # noqa: N802
        """Rows of K and V."""
        return self.prefix + self.S

    @property
    def valid_Skt(self) -> int:  # noqa: N802
        """Tile rows that K and V have."""
        return -(-self.Sk // TILE)

    @property
    def Skt(self) -> int:  # noqa: N802
        """Tile rows of K and V up to the end of the last K chunk, which may over-hang."""
        return self.nk * self.N

    @property
    def nq(self) -> int:
        """Q chunks of a slab."""
        return self.Sqt // self.M

    @property
    def nk(self) -> int:
        """K chunks."""
        return -(-self.valid_Skt // self.N)

    # -- how a core computes ----------------------------------------------------------------------------

    @cached_property
    def qk_subblock(self) -> tuple[int, int]:
        """Height and width of a DST window of Q x K."""
        return largest_subblock(self.M, self.N, self.dst)

    @cached_property
    def pv_subblock(self) -> tuple[int, int]:
        """Height and width of a DST window of P x V."""
        return largest_subblock(self.M, self.E, self.dst)

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

    def barrier_threshold(self, tile_bytes: int) -> int:
        """Tiles that a core moves before it waits for all of them; 0 is no such wait."""
        return 512 // self.cores * 1152 // tile_bytes

    @cached_property
    def buffers(self) -> tuple[CircularBuffer, ...]:
        """The circular buffers of every core, in the order of their indices."""
        return circular_buffers(self.M, self.N, self.D, self.E, self.format, self.page_table_stick_bytes)

    # -- who computes what ------------------------------------------------------------------------------

    @property
    def cores(self) -> int:
        """Cores of the grid, idle ones too."""
        return self.grid[0] * self.grid[1]

    @property
    def total(self) -> int:
        """Q chunks of all batches and heads in one slab."""
        return self.B * self.NQH * self.nq

    @cached_property
    def _deal(self) -> tuple[int, int, int]:
        """What every core gets, how many get more, and how much more: two at a time where a head pairs up."""
        hand = 1 if self.nq % 2 else 2
        each, extra = divmod(self.total // hand, self.cores)
        return each * hand, extra, hand

    def start(self, i: int) -> int:
        """First Q chunk of core `i`, in each of the two phases."""
        each, extra, hand = self._deal
        return i * each + min(i, extra) * hand

    def count(self, i: int) -> int:
        """Q chunks of core `i`, in each of the two phases."""
        each, extra, hand = self._deal
        return each + hand * (i < extra)

    @property
    def active_cores(self) -> int:
        """Cores that get any Q chunk: the first ones."""
        each, extra, _ = self._deal
        return self.cores if each else extra

    def decode(self, index: int) -> tuple[int, int, int]:
        """(batch, head, Q chunk) of a place in the deal: in a head come chunk 0, the last, 1, the last but one."""
        head, position = divmod(index, self.nq)
        return *divmod(head, self.NQH), zigzag(position, self.nq)

    def q_offsets(self, ring_id: int) -> tuple[int, int]:
        """Absolute index of the first Q chunk of the device's two slabs."""
        first, second = ring_id, 2 * self.R - 1 - ring_id
        chunk = self.M * TILE
        return (first * self.Sc + self.prefix) // chunk, (second * self.Sc + self.prefix) // chunk

    def k_chunks(self, a: int) -> int:
        """K chunks that absolute Q chunk `a` can see."""
        return -(-min((a + 1) * self.M, self.Skt) // self.N)

    def masked(self, a: int, j: int) -> bool:
        """Whether K chunk `j` reaches the diagonal of absolute Q chunk `a`."""
        return a * self.M < (j + 1) * self.N

    def chunks(self, i: int, ring_id: int) -> list[int]:
        """Absolute Q chunks of core `i` in order, both phases."""
        mine = [self.decode(index)[2] for index in range(self.start(i), self.start(i) + self.count(i))]
        return [offset + q for offset in self.q_offsets(ring_id) for q in mine]

    def steps(self, i: int, ring_id: int) -> int:
        """Pairs of a Q chunk and a K chunk that core `i` computes."""
        return sum(self.k_chunks(a) for a in self.chunks(i, ring_id))

    def masked_steps(self, i: int, ring_id: int) -> int:
        """Those of core `i`'s steps that stamp the causal mask."""
        return sum(self.k_chunks(a) - a * self.M // self.N for a in self.chunks(i, ring_id))

    @property
    def ideal_cycles(self) -> int:
        """Cycles of ttnn's performance model: all cores multiply at peak, and half the scores are causal."""
        flops = 4 * self.D * TILE * (self.S // self.R) * self.Sk * self.NQH * self.B // 2
        return -(-flops * self.fidelity_phases // (self.cores * PEAK_FLOPS_PER_CYCLE))
