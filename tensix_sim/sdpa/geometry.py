"""Shapes of the SDPA ops: how a legal spec becomes tiles, chunks and shares of cores.

The letters are those of the kernels. In tiles: a Q chunk is M x D, a K chunk N x D, a V chunk N x E. A device has
its queries in slabs of `Sqt` tile rows: two of the ring's 2R, a phase each, or the whole sequence as one. A slab is
`nq` Q chunks, K and V `valid_Skt` tile rows or `nk` K chunks; the last chunk of either may over-hang.
"""

from dataclasses import dataclass, replace
from functools import cached_property

from tensix_sim.arch import Machine, machine
from tensix_sim.arch.model import Coord
from tensix_sim.config import OP_CHUNK_SIZE, RunSpec, SDPAProgramConfig, WhatIf
from tensix_sim.files import open_array
from tensix_sim.formats import BFLOAT16, FORMATS, TILE, Format
from tensix_sim.kernels.sdpa import Mask
from tensix_sim.kernels.sdpa.barrier import barrier_threshold
from tensix_sim.program import BufferSpec, ComputeConfig
from tensix_sim.sdpa.blocks import INT32, Blocks
from tensix_sim.sdpa.chains import Chain, chains
from tensix_sim.sdpa.deal import Deal
from tensix_sim.sdpa.op import Op, compute_kernel

ENTRY_BYTES = 4
AS_BUILT = WhatIf()
PEAK_FLOPS_PER_CYCLE = 4096  # of one core at LoFi


def spec_machine(spec: RunSpec) -> Machine:
    """Make the spec's board, with the spec's what-ifs.

    Raises:
        UnknownNameError: no such board, or no such number of the machine.
        ValidationError: a number that does not fit the rest of the machine.

    """
    return machine(spec.board).override(spec.machine)


def program_config(spec: RunSpec, on: Machine) -> SDPAProgramConfig:
    """Take the given program config, or the op's own where there is none."""
    return spec.program_config or own_program_config(on)


def own_program_config(on: Machine) -> SDPAProgramConfig:
    """The op's own program config: the smallest chunks on the full grid."""
    return SDPAProgramConfig(compute_with_storage_grid_size=on.grid, q_chunk_size=OP_CHUNK_SIZE, k_chunk_size=OP_CHUNK_SIZE)


def compute_config(spec: RunSpec) -> ComputeConfig:
    """Take the part of the compute-kernel config that the kernels use."""
    config = spec.effective_compute_config
    exact = spec.numerics == "exact"
    return ComputeConfig(config.math_fidelity, config.fp32_dest_acc_en, config.math_approx_mode, exact)


def pages(spec: RunSpec) -> int:
    """Count the K/V pages of one batch, or 0 where K and V are dense."""
    if spec.paged_kv is None or spec.chunk_start_idx is None:
        return 0
    return -(-spec.kv_len // spec.paged_kv.block_size)


def page_table_row_bytes(spec: RunSpec, on: Machine) -> int:
    """Count the bytes of one batch's row of the page table as DRAM holds it, or 0 where K and V are dense."""
    entries = pages(spec)
    if entries and spec.paged_kv and (path := spec.paged_kv.page_table_file):
        entries = open_array(path, rank=2, kind="i").shape[1]
    return row_bytes(entries, on)


def row_bytes(entries: int, on: Machine) -> int:
    """Count the bytes of a row of 32-bit integers as DRAM holds it."""
    alignment = on.chip.dram.page_alignment
    return -(-entries * ENTRY_BYTES // alignment) * alignment


def blocks(spec: RunSpec, program: SDPAProgramConfig) -> Blocks:
    """Work out the blocks of a core."""
    given, compute = spec.inputs, compute_config(spec)
    tiles = given.head_dim // TILE
    q, k, v = (FORMATS[dtype] for dtype in given.dtypes)
    return Blocks(
        M=program.q_chunk_size // TILE,
        N=program.k_chunk_size // TILE,
        D=tiles,
        E=tiles,
        dst=compute.dst_tiles,
        streaming=compute_kernel(spec).row_groups,
        q=q,
        k=k,
        v=v,
        wide_scores=compute.fp32_dest_acc_en and Op.of(spec).wide_scores,
    )


@dataclass(frozen=True)
class Geometry:
    """A legal spec in tiles and chunks."""

    B: int
    NQH: int
    NKH: int
    R: int  # devices that share the queries
    phases: int  # slabs of a device
    S: int
    Sk: int
    prefix: int
    causal: bool
    window: int | None
    blocks: Blocks
    grid: tuple[int, int]
    scale: float
    exp_approx: bool
    fidelity_phases: int
    block_rows: int  # tile rows of a K/V page, 0 where K and V are dense
    page_table_stick_bytes: int
    in_dram: tuple[bool, bool, bool] = (True, True, True)  # Q, K, V
    output_in_dram: bool = True
    what_if: WhatIf = AS_BUILT
    attn_mask: Format | None = None  # of a mask of the user's,
    mask_heads: tuple[int, int] = (1, 1)  # and the batches and heads that it tells apart
    sink: Format | None = None
    start: Format | None = None  # of the tensor that has the chunk's start, if one has
    windows: tuple[int, ...] | None = None
    windows_bytes: int = 0  # of their tensor

    @classmethod
    def of(cls, spec: RunSpec, on: Machine | None = None) -> "Geometry":
        """Work out the geometry of a spec that `check` has passed, on another machine than the spec's if one is given."""
        on = on or spec_machine(spec)
        program, given, op = program_config(spec, on), spec.inputs, Op.of(spec)
        paged = spec.paged_kv if spec.chunk_start_idx is not None else None
        return cls(
            B=given.batch,
            NQH=given.q_heads,
            NKH=given.kv_heads,
            R=spec.ring_size if op.ring else 1,
            phases=op.slabs,
            S=given.seq_len,
            Sk=spec.kv_len,
            prefix=spec.prefix,
            causal=spec.is_causal,
            window=spec.sliding_window_size,
            blocks=blocks(spec, program),
            grid=program.compute_with_storage_grid_size,
            scale=given.head_dim**-0.5 if spec.scale is None else spec.scale,
            exp_approx=program.exp_approx_mode is not False,
            fidelity_phases=compute_config(spec).phases,
            block_rows=paged.block_size // TILE if paged else 0,
            page_table_stick_bytes=page_table_row_bytes(spec, on),
            in_dram=given.in_dram,
            output_in_dram=spec.memory_config.startswith("dram"),
            what_if=spec.what_if,
            attn_mask=FORMATS[given.attn_mask_dtype] if given.attn_mask else None,
            mask_heads=(given.attn_mask_batch, given.attn_mask_heads),
            windows=spec.cu_window_seqlens,
            windows_bytes=row_bytes(len(spec.cu_window_seqlens or ()), on),
            start=INT32 if spec.chunk_start_idx_tensor and paged else None,
            sink=FORMATS[given.attention_sink_dtype] if given.attention_sink else None,
        )

    # -- sizes ------------------------------------------------------------------------------------------

    @property
    def M(self) -> int:  # noqa: N802
        """Tile rows of a Q chunk."""
        return self.blocks.M

    @property
    def N(self) -> int:  # noqa: N802
        """Tile rows of a K chunk."""
        return self.blocks.N

    @property
    def D(self) -> int:  # noqa: N802
        """Tile columns of Q and K."""
        return self.blocks.D

    @property
    def E(self) -> int:  # noqa: N802
        """Tile columns of V and the output."""
        return self.blocks.E

    @property
    def Sc(self) -> int:  # noqa: N802
        """Rows of a slab."""
        return self.S // (self.R * self.phases)

    @property
    def Sqt(self) -> int:  # noqa: N802
        """Tile rows of a slab."""
        return -(-self.Sc // TILE)

    @property
    def valid_Skt(self) -> int:  # noqa: N802
        """Tile rows that K and V have."""
        return -(-self.Sk // TILE)

    @property
    def nq(self) -> int:
        """Q chunks of a slab."""
        return -(-self.Sqt // self.M)

    @property
    def nk(self) -> int:
        """K chunks."""
        return -(-self.valid_Skt // self.N)

    @cached_property
    def mask(self) -> Mask:
        """What the Q chunks see of K."""
        chunk = TILE * self.M, TILE * self.N
        padded = self.Sc % chunk[0] > 0 or self.Sk % chunk[1] > 0
        narrow, dense = self.blocks.streaming, self.R > 1 and self.window is not None
        given, windows = self.attn_mask is not None or self.windows is not None, self.windows
        return Mask(self.M, self.N, self.Sk, self.causal, self.window, narrow, padded, self.what_if.mask, dense, given, windows)

    def barrier_threshold(self, tile_bytes: int) -> int:
        """Tiles that a core moves before it waits for all of them; 0 is no such wait."""
        if self.what_if.barrier_tiles is not None:
            return self.what_if.barrier_tiles
        return barrier_threshold(self.cores, tile_bytes)

    @property
    def of_windows(self) -> Format | None:
        """Format of the tensor of windows."""
        return Format("int32 row", self.windows_bytes, self.windows_bytes, False, 0) if self.windows else None

    @property
    def added(self) -> Format | None:
        """Format of the mask that is added to every K chunk: the user's, or what the writer makes of windows."""
        return BFLOAT16 if self.windows else self.attn_mask

    @property
    def q_chunks_held(self) -> int:
        """Q chunks that L1 has room for: a second one where it can be fetched ahead."""
        return 2 if self.R > 1 or self.deal.count(0) > 1 else 1

    @cached_property
    def buffers(self) -> tuple[BufferSpec, ...]:
        """The circular buffers of every core, in the order of their indices."""
        mask, changed = self.mask, self.what_if.buffers
        sizes = self.q_chunks_held, mask.palette, self.page_table_stick_bytes
        buffers = self.blocks.buffers(*sizes, mask.dense, self.attn_mask, self.sink, self.start, self.of_windows)
        return tuple(replace(b, tiles=changed[b.name]) if b.name in changed else b for b in buffers)

    # -- what a query sees, by the spec: never by a kernel's mask, which it is held to ------------------------

    @property
    def left(self) -> int | None:
        """Keys that a query sees before its own; None: all."""
        if self.window is None:
            return None
        return self.window - 1 if self.causal else self.window // 2

    @property
    def right(self) -> int | None:
        """Keys that a query sees after its own; None: all."""
        if self.causal:
            return 0
        return None if self.window is None else self.window // 2

    # -- who computes what ------------------------------------------------------------------------------

    @property
    def chained(self) -> bool:
        """Whether cores may pass K and V on: where all Q chunks of a head see the same, in dense tensors."""
        return self.may_chain and self.what_if.chains != "none"

    @property
    def may_chain(self) -> bool:
        """Whether the op passes K and V on, what-ifs aside."""
        return not self.causal and self.window is None and not self.block_rows and self.windows is None

    @cached_property
    def chains(self) -> list[Chain]:
        """The chains of cores that pass K and V on."""
        return chains(self.deal, self.what_if.chains) if self.chained else []

    @property
    def cores(self) -> int:
        """Cores of the grid, idle ones too."""
        return self.grid[0] * self.grid[1]

    @cached_property
    def core_places(self) -> list[Coord]:
        """Logical cores that compute, row by row."""
        columns, rows = self.grid
        return [(x, y) for y in range(rows) for x in range(columns)]

    @cached_property
    def deal(self) -> Deal:
        """The Q chunks of each core, the same in every phase."""
        return Deal(self.B * self.NQH, self.nq, self.cores, self.causal, self.what_if.deal)

    def slabs(self, ring_id: int = 0) -> tuple[slice, ...]:
        """Rows of the sequence that a device computes: a slab from the front and its mirror image from the back, or all."""
        first = (ring_id, 2 * self.R - 1 - ring_id)[: self.phases]
        return tuple(slice(slab * self.Sc, (slab + 1) * self.Sc) for slab in first)

    def runs_of_chunks(self, ring_id: int) -> tuple[int, ...]:
        """Where a device's Q chunks of a head stand among those of the whole sequence, by runs of `nq`."""
        return tuple(rows.start // self.Sc for rows in self.slabs(ring_id))

    @property
    def chunk_rows(self) -> tuple[int, ...]:
        """Tile rows of each Q chunk of a slab that are there."""
        return tuple(min(self.M, self.Sqt - i * self.M) for i in range(self.nq))

    def q_offsets(self, ring_id: int = 0) -> tuple[int, ...]:
        """Absolute index of the first Q chunk of each of the device's slabs."""
        return tuple((rows.start + self.prefix) // (self.M * TILE) for rows in self.slabs(ring_id))

    def k_chunks(self, a: int) -> int:
        """K chunks that absolute Q chunk `a` visits."""
        return len(self.mask.k_range(a * self.M))

    def chunks(self, i: int, ring_id: int = 0) -> list[int]:
        """Absolute Q chunks of core `i` in order, phase after phase."""
        mine = [q for _, q in self.deal.places(i)]
        return [offset + q for offset in self.q_offsets(ring_id) for q in mine]

    def steps(self, i: int, ring_id: int = 0) -> int:
        """Pairs of a Q chunk and a K chunk that core `i` computes."""
        return sum(self.k_chunks(a) for a in self.chunks(i, ring_id))

    def masked_steps(self, i: int, ring_id: int = 0) -> int:
        """Those of core `i`'s steps that stamp the mask, or add one that is given."""
        return sum(self._masked(a) for a in self.chunks(i, ring_id))

    def _masked(self, a: int) -> int:
        count = self._masked_steps.get(a)
        if count is None:
            row = a * self.M
            count = self._masked_steps[a] = sum(bool(self.mask.given or self.mask.marks(row, j)) for j in self.mask.k_range(row))
        return count

    @cached_property
    def _masked_steps(self) -> dict[int, int]:
        """Masked steps of absolute Q chunks, which are the same in every head."""
        return {}

    @property
    def ideal_cycles(self) -> int:
        """Cycles of ttnn's performance model: all cores multiply at peak, and half of causal scores count."""
        return self._at_peak(self.S // self.R, self.Sk)

    def _at_peak(self, rows: int, keys: int) -> int:
        """Cycles of so many query rows of a device against so many keys."""
        flops = 4 * self.D * TILE * rows * keys * self.NQH * self.B // (2 if self.causal else 1)
        return -(-flops * self.fidelity_phases // (self.cores * PEAK_FLOPS_PER_CYCLE))
