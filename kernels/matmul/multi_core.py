"""A product without reuse: each core makes its tiles of C one after the other, and reads a tile of A and of B for each product."""

from dataclasses import dataclass

from tensix_sim.kernel_api import Compute, DataMovement, Matrix
from tensix_sim.kernels.matmul.args import Operand
from tensix_sim.kernels.matmul.verbs import MatmulTile, Sum


@dataclass(frozen=True)
class TileArgs:
    """A core's tiles of C: (batch of A, batch of B, batch of C, row, column) each."""

    a: Operand
    b: Operand
    c: Operand
    tiles: tuple[tuple[int, int, int, int, int], ...]


async def reader(dm: DataMovement, a: TileArgs) -> None:
    """NCRISC: a barrier for each tile."""
    A, B = dm.cbs("in0", "in1")
    for a_batch, b_batch, _, row, col in a.tiles:
        for k in range(a.a.cols):
            await dm.reserve(A, 1)
            await dm.read(a.a.tensor, [a.a.page(a_batch, row, k)], A, (1, 1))          # A[row, k]
            dm.push(A, 1)
            await dm.reserve(B, 1)
            await dm.read(a.b.tensor, [a.b.page(b_batch, k, col)], B, (1, 1))          # B[k, col]
            dm.push(B, 1)


async def compute(t: Compute, a: TileArgs) -> None:
    """TRISCs: the products of a tile add up in DST."""
    A, B, C, dst = t.matrix("in0"), t.matrix("in1", transposed=a.b.transposed), t.matrix("out"), Sum()
    for _ in a.tiles:
        await t.repeat(tile, A, B, C, dst, a.a.cols)


async def tile(t: Compute, A: Matrix, B: Matrix, C: Matrix, dst: Sum, steps: int) -> None:
    """One tile of C."""
    for k in range(steps):
        await t.do(MatmulTile, A, B, C, dst, k == 0, k == steps - 1)                   # C += A[row, k] B[k, col]
        t.pop(A)
        t.pop(B)


async def writer(dm: DataMovement, a: TileArgs) -> None:
    """BRISC: each tile of C."""
    (C,) = dm.cbs("out")
    for _, _, batch, row, col in a.tiles:
        await dm.wait(C, 1)
        await dm.write(C, a.c.tensor, [a.c.page(batch, row, col)], (1, 1))             # C[row, col]
        dm.pop(C, 1)
