"""What a config makes of a product: who computes what, in which steps, in which circular buffers. Sizes are in tiles."""

from dataclasses import dataclass
from functools import cached_property

from tensix_sim.arch.model import Coord
from tensix_sim.formats import BFLOAT16, FLOAT32
from tensix_sim.kernels.matmul.args import Block, ComputeArgs, Corner
from tensix_sim.matmul.choice import chosen
from tensix_sim.matmul.spec import MatmulConfig, MatmulSpec
from tensix_sim.program import BufferSpec


@dataclass(frozen=True)
class MatmulGeometry:
    """A spec with its config, given or chosen."""

    spec: MatmulSpec
    config: MatmulConfig

    @classmethod
    def of(cls, spec: MatmulSpec) -> "MatmulGeometry":
        """The geometry of a spec."""
        return cls(spec, spec.program_config or chosen(spec))

    # -- the product ---------------------------------------------------------------------------------------------------

    @property
    def fused(self) -> bool:
        """Whether the batches of A are one matrix."""
        return self.config.kind in ("2d", "1d") and self.config.fuse_batch

    @property
    def rows(self) -> int:
        """Rows of a matrix that the kernels see: all batches of A if fused or dealt out, else one."""
        whole = self.fused or self.config.kind == "reuse"
        return self.spec.tiles[0] * (self.spec.batch if whole else 1)

    @property
    def inner(self) -> int:
        """Inner tiles."""
        return self.spec.tiles[1]

    @property
    def cols(self) -> int:
        """Columns."""
        return self.spec.tiles[2]

    @property
    def batches(self) -> int:
        """Matrices that the kernels walk, one after the other."""
        whole = self.fused or self.config.kind == "reuse"
        return 1 if whole else max(self.spec.batch, self.spec.b_batch)

    @property
    def block(self) -> Block:
        """A block and its subblocks."""
        c = self.config
        h, w = c.out_block if c.kind in ("2d", "1d") else (c.per_core_M, c.per_core_N)
        return Block(h, w, c.in0_block_w, c.out_subblock_h, c.out_subblock_w)

    @property
    def steps(self) -> int:
        """Blocks of inner tiles."""
        return self.inner // self.config.in0_block_w

    # -- who computes what -----------------------------------------------------------------------------------------------

    @property
    def down(self) -> int:
        """Parts of `per_core_M` rows."""
        return -(-self.rows // self.config.per_core_M)

    @property
    def across(self) -> int:
        """Parts of `per_core_N` columns."""
        return -(-self.cols // self.config.per_core_N)

    @cached_property
    def shares(self) -> dict[Coord, tuple[Corner, ...]]:
        """The blocks of C of each core that has any, in order."""
        c, (gx, gy) = self.config, self.config.compute_with_storage_grid_size
        if c.kind == "2d":
            return {(x, y): self._corners(y, x) for y in range(self.down) for x in range(self.across)}
        parts = [(row, col) for row in range(self.down) for col in range(self.across)]
        each, more = divmod(len(parts), gx * gy) if c.kind == "reuse" else (0, len(parts))
        shares, first = {}, 0
        for i in range(min(len(parts), gx * gy)):
            last = first + each + (i < more)
            shares[i % gx, i // gx] = tuple(corner for part in parts[first:last] for corner in self._corners(*part))
            first = last
        return shares

    def _corners(self, part_row: int, part_col: int) -> tuple[Corner, ...]:
        """The blocks of one part of C: batch by batch, row by row."""
        c, spec, (oh, ow, *_) = self.config, self.spec, self.block
        corners = []
        for batch in range(self.batches):
            for row in range(part_row * c.per_core_M, (part_row + 1) * c.per_core_M, oh):
                for col in range(part_col * c.per_core_N, (part_col + 1) * c.per_core_N, ow):
                    a_batch = batch if spec.batch > 1 else 0
                    b_batch = row // spec.tiles[0] if c.kind == "reuse" else batch
                    there = max(0, min(oh, self.rows - row)), max(0, min(ow, self.cols - col))
                    corners.append(Corner(a_batch, b_batch % spec.b_batch, batch, row, col, *there))
        return tuple(corners)

    @property
    def outputs(self) -> int:
        """Blocks of C of the core with most."""
        return max(map(len, self.shares.values()))

    def compute_args(self, corners: tuple[Corner, ...]) -> ComputeArgs:
        """What a core computes."""
        spec = self.spec
        again = len({corner.col for corner in corners}) > 1
        return ComputeArgs(
            self.block, self.steps, len(corners), spec.compute.packer_l1_acc, spec.transpose_a, spec.transpose_b,
            spec.bias, again, spec.activation == "relu",
        )  # fmt: skip

    # -- L1 ----------------------------------------------------------------------------------------------------------------

    @cached_property
    def buffers(self) -> tuple[BufferSpec, ...]:
        """The circular buffers, the same on all cores. Where formats agree, partial sums lie where the output will."""
        spec, (oh, ow, bw, *_) = self.spec, self.block
        a, b, out = spec.formats
        if self.config.kind == "multi_core":
            return (
                BufferSpec("in0", 2, a, "reader", "compute"),
                BufferSpec("in1", 2, b, "reader", "compute"),
                BufferSpec("out", 2, out, "compute", "writer"),
            )
        twice = 2 if self.steps * self.batches > 1 else 1
        wide = spec.compute.fp32_dest_acc_en
        added = spec.compute.packer_l1_acc and self.steps > (1 if spec.bias else 2)
        sums = FLOAT32 if wide else BFLOAT16 if added else out
        buffers = [
            BufferSpec("in0", twice * oh * bw, a, "reader", "compute"),
            BufferSpec("in1", twice * ow * bw, b, "writer", "compute"),
            BufferSpec("out", oh * ow, out, "compute", "writer"),
            BufferSpec("partials", oh * ow, sums, "compute", "compute", within="out" if sums is out else None),
        ]
        if spec.bias:
            buffers.append(BufferSpec("bias", ow, b, "writer", "compute", resident=True))
        if spec.transpose_a:
            buffers.append(BufferSpec("in0 transposed", twice * oh * bw, a, "compute", "compute"))
        return tuple(buffers)
