"""What the kernels of a matrix product are given. All sizes are in tiles."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tensix_sim.kernel_api import Tensor


class Block(NamedTuple):
    """A block of C, oh x ow, made of products of bw inner tiles, in subblocks sh x sw of DST; upstream's names."""

    oh: int
    ow: int
    bw: int
    sh: int
    sw: int


class Corner(NamedTuple):
    """Where a block of C begins, and how much of it is there; what is beyond is computed, and neither read nor written."""

    a_batch: int
    b_batch: int
    c_batch: int
    row: int
    col: int
    rows: int
    cols: int


class Operand(NamedTuple):
    """A, B or C: so many rows and columns a batch; a `transposed` one lies the other way round in memory."""

    tensor: Tensor
    rows: int  # of a batch, as it is multiplied
    cols: int
    transposed: bool

    def page(self, batch: int, row: int, col: int) -> int:
        """Where a tile of the operand lies."""
        first = batch * self.rows * self.cols
        return first + (col * self.rows + row if self.transposed else row * self.cols + col)

    def pages(self, batch: int, rows: range, cols: range) -> list[int]:
        """A block of it, row by row."""
        return [self.page(batch, row, col) for row in rows for col in cols]


class Way(NamedTuple):
    """How a core comes by the blocks of an operand: from memory, or from a `sender`; and who gets them from it."""

    sender: tuple[int, int] | None = None
    receivers: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class MoverArgs:
    """A core's share of C, block by block, for both data-movement kernels."""

    a: Operand
    b: Operand
    bias: Operand | None
    c: Operand
    block: Block
    corners: tuple[Corner, ...]
    a_way: Way
    b_way: Way

    @property
    def steps(self) -> range:
        """Blocks of inner tiles."""
        return range(self.a.cols // self.block.bw)

    @property
    def bias_again(self) -> bool:
        """Whether each block of C needs another part of the bias."""
        return len({corner.col for corner in self.corners}) > 1

    def inner(self, k: int) -> range:
        """The inner tiles of a step."""
        return range(k * self.block.bw, (k + 1) * self.block.bw)


class ComputeArgs(NamedTuple):
    """What a core computes; cores with equal arguments do equal things."""

    block: Block
    steps: int
    outputs: int  # blocks of C
    l1_acc: bool
    transpose_a: bool
    transpose_b: bool
    bias: bool
    bias_again: bool
    relu: bool


class InnerStep(NamedTuple):
    """What becomes of the partial sums in one step of the inner dimension."""

    reload: bool  # they come back into DST first
    accumulate: bool  # the packer adds to them
    last: bool  # they go to the output
    first: bool  # they are the first of several
    keep: bool  # they stay in front of their buffer, to be reloaded


def steps(a: ComputeArgs) -> Iterator[InnerStep]:
    """The steps of a block of C.

    Where the packer adds up, it does from the second step on; the last one reloads, unless a bias is added in a pass of its own.
    That takes more than two steps, or with a bias more than one.
    """
    l1_acc = a.l1_acc and a.steps > (1 if a.bias else 2)
    for k in range(a.steps):
        last = k == a.steps - 1
        reload = k > 0 and (not l1_acc or (last and not a.bias))
        before_reload = not l1_acc or (k == a.steps - 2 and not a.bias)
        yield InnerStep(
            reload=reload,
            accumulate=k > 0 and not reload,
            last=last and not a.bias,
            first=k == 0 and a.steps > 1,
            keep=last or before_reload,
        )
