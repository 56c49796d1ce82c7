"""What a product of matrices is asked for: shapes, formats, places, and a program config, as ttnn's `linear` has them."""

from functools import cached_property
from typing import Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from tensix_sim.arch import Machine, machine
from tensix_sim.config import ComputeKernelConfig, Pair, Strict
from tensix_sim.formats import FORMATS, TILE, Format

MatmulFormat = Literal["bfloat16", "bfloat8_b", "bfloat4_b", "float32"]
Memory = Literal["dram", "l1"]
ProgramKind = Literal["2d", "1d", "reuse", "multi_core"]

UPSTREAM: dict[ProgramKind, str] = {
    "2d": "MatmulMultiCoreReuseMultiCastProgramConfig",
    "1d": "MatmulMultiCoreReuseMultiCast1DProgramConfig",
    "reuse": "MatmulMultiCoreReuseProgramConfig",
    "multi_core": "MatmulMultiCoreProgramConfig",
}


class MatmulConfig(Strict):
    """A program config of ttnn's products, all kinds in one: fields that a kind does not have keep their defaults.

    Sizes are in tiles. `multi_core` has no blocks: its fields other than the grid count for nothing.
    """

    kind: ProgramKind = Field(description="Which program: " + ", ".join(f"{kind} is {name}" for kind, name in UPSTREAM.items()))
    compute_with_storage_grid_size: Pair = Field(description="Columns and rows of cores.")
    in0_block_w: PositiveInt = Field(default=1, description="Inner tiles of a block.")
    out_subblock_h: PositiveInt = Field(default=1, description="Rows of a subblock, which DST holds.")
    out_subblock_w: PositiveInt = Field(default=1, description="Columns of a subblock.")
    per_core_M: PositiveInt = Field(default=1, description="Rows of the output on a core.")  # noqa: N815
    per_core_N: PositiveInt = Field(default=1, description="Columns of the output on a core.")  # noqa: N815
    out_block_h: PositiveInt | None = Field(default=None, description="Rows that a core has in L1 at a time; null: all.")
    out_block_w: PositiveInt | None = Field(default=None, description="Columns that a core has in L1 at a time; null: all.")
    transpose_mcast: bool = Field(default=False, description="Rows and columns of cores change their roles. Not modelled.")
    fuse_batch: bool = Field(default=False, description="The batches of A are one matrix; takes one of B.")
    mcast_in0: bool = Field(
        default=True, description="1d: A is multicast and each core has columns of B, or the other way round."
    )

    @property
    def out_block(self) -> tuple[int, int]:
        """Rows and columns that a core has in L1 at a time."""
        return self.out_block_h or self.per_core_M, self.out_block_w or self.per_core_N


class MatmulSpec(Strict):
    """C = A B, plus a bias: A [batch, m, k], B [b_batch, k, n], C [the larger batch, m, n], the bias [n]."""

    board: str = Field(default="n150", description="A board by name: `tensix-sim boards`.")
    m: PositiveInt = Field(description="Rows of A.")
    k: PositiveInt = Field(description="Columns of A, rows of B.")
    n: PositiveInt = Field(description="Columns of B.")
    batch: PositiveInt = Field(default=1, description="Matrices A.")
    b_batch: PositiveInt = Field(default=1, description="Matrices B: one for all, or one for each.")
    in0_dtype: MatmulFormat = Field(default="bfloat16", description="Of A.")
    in1_dtype: MatmulFormat = Field(default="bfloat16", description="Of B, and of the bias.")
    out_dtype: MatmulFormat | None = Field(default=None, description="Of C; null: as A.")
    in0_memory: Memory = Field(default="dram", description="Where A lies, interleaved.")
    in1_memory: Memory = Field(default="dram", description="Where B lies.")
    out_memory: Memory = Field(default="dram", description="Where C goes.")
    transpose_a: bool = Field(default=False, description="A is stored as [k, m].")
    transpose_b: bool = Field(default=False, description="B is stored as [n, k].")
    bias: bool = Field(default=False, description="A row is added to each row of C.")
    activation: Literal["relu"] | None = Field(default=None, description="What is done to C at last.")
    program_config: MatmulConfig | None = Field(default=None, description="null: the op's own choice.")
    core_grid: Pair | None = Field(default=None, description="A grid for that choice, columns and rows; not beside a config.")
    compute_kernel_config: ComputeKernelConfig | None = Field(default=None, description="null: the op's own.")
    numerics: Literal["off", "fast", "exact"] = Field(default="off", description="As in a run spec.")
    launch: Literal["modelled", "none"] = Field(default="none", description="As in a run spec.")
    seed: NonNegativeInt = Field(default=1234, description="A, B and the bias are drawn from N(0, 1) with it.")
    machine: dict[str, Any] = Field(default={}, description="Numbers of the machine to replace.")

    @cached_property
    def on(self) -> Machine:
        """The board with its numbers replaced."""
        board = machine(self.board)
        return board.override(self.machine) if self.machine else board

    @property
    def compute(self) -> ComputeKernelConfig:
        """The given compute config, or the op's own: HiFi2, LoFi where blocks or cores are given (#55889)."""
        if self.compute_kernel_config is not None:
            return self.compute_kernel_config
        wide = self.in0_dtype == "float32"
        fidelity: Literal["LoFi", "HiFi2"] = "LoFi" if self.program_config or self.core_grid else "HiFi2"
        return ComputeKernelConfig(math_fidelity=fidelity, math_approx_mode=False, fp32_dest_acc_en=wide, packer_l1_acc=not wide)

    @property
    def formats(self) -> tuple[Format, Format, Format]:
        """Formats of A, B and C."""
        return FORMATS[self.in0_dtype], FORMATS[self.in1_dtype], FORMATS[self.out_dtype or self.in0_dtype]

    @property
    def tiles(self) -> tuple[int, int, int]:
        """Rows of A, inner tiles, columns of B, in tiles, padded."""
        return -(-self.m // TILE), -(-self.k // TILE), -(-self.n // TILE)

    @property
    def l1_tensor_bytes(self) -> int:
        """What A, B and C take of a core's L1."""
        mt, kt, nt = self.tiles
        batches = self.batch, self.b_batch, max(self.batch, self.b_batch)
        memories = self.in0_memory, self.in1_memory, self.out_memory
        each = zip(memories, (mt * kt, kt * nt, mt * nt), batches, self.formats, strict=True)
        return sum(-(-tiles * count // self.on.cores) * f.tile_bytes for memory, tiles, count, f in each if memory == "l1")

    @property
    def l1_room(self) -> int:
        """Bytes of a core's L1 that are left for circular buffers."""
        l1 = self.on.chip.l1
        return l1.limit - l1.base - self.l1_tensor_bytes
