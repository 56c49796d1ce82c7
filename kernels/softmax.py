"""out = softmax of each row of x: a program with a verb of its own, written beside its kernel as a user would."""

from dataclasses import dataclass
from math import ceil
from typing import ClassVar

import numpy as np

from tensix_sim.kernel_api import (
    COLUMN_FACES,
    EACH,
    BufferSpec,
    Compute,
    Costs,
    DataMovement,
    Kernel,
    Matmul,
    Matrix,
    MulColumn,
    Program,
    Pushes,
    Reads,
    RowMax,
    Tensor,
    Units,
    Windows,
    one_by_one,
    window,
)
from tensix_sim.kernels.sdpa.verbs import Reciprocal


@dataclass(frozen=True, eq=False, slots=True)
class Exp:
    """out [m, n] = relu(exp(x - column)), the column [m, 1] broadcast, by the fast approximation, a tile a window."""

    x: Matrix
    column: Matrix
    out: Matrix

    name: ClassVar = "exp"
    unit: ClassVar = "sfpu"

    def reads(self) -> Reads:
        """All of x and of the column."""
        return Reads(self.x, ((self.x, self.x.tiles), (self.column, self.x.rows)))

    def makes(self) -> tuple[Pushes, ...]:
        """Each tile, when it is packed."""
        return (Pushes(self.out, self.out.tiles, EACH),)

    def windows(self, c: Costs) -> Windows:
        """The FPU subtracts, then the math thread has the SFPU work on the tile in DST."""
        fpu, math = c.eltwise(1)
        sfpu = ceil(c.spec.exp_approx_cycles)
        unpack = c.unpack(self.x.format, 1, self.column.format, 1, COLUMN_FACES)
        made = window(unpack, 1, fpu, math + c.spec.sfpu_start_cycles + sfpu, c.pack(self.out.format, 1), sfpu)
        return Windows(one_by_one(c, made, self.out.tiles), c.spec.eltwise_halves)

    def values(self, units: Units) -> None:
        """The same by the units of the chip."""
        on, e = units(self, self.out), self.x.whole().copy()
        on.subtract(e, self.x.format, self.column.block(), self.column.format)
        on.exp_fast(e, 1.0, self.out.format)
        self.out.keep(e)


@dataclass(frozen=True)
class Args:
    """A core's tensors and its range of tile rows."""

    x: Tensor
    out: Tensor
    start: int
    count: int


async def reader(dm: DataMovement, a: Args) -> None:
    """One tile row of x at a time."""
    (x,) = dm.cbs("x_in")
    n = a.x.tile_cols
    for row in range(a.start, a.start + a.count):
        await dm.reserve(x, n)
        await dm.read(a.x, range(row * n, (row + 1) * n), x, (1, n))
        dm.push(x, n)


async def compute(t: Compute, a: Args) -> None:
    """exp(x - m) / l of a tile row at a time."""
    n = a.x.tile_cols
    x, e, out = t.matrix("x_in", 1, n), t.matrix("exps", 1, n), t.matrix("out", 1, n)
    m, l = t.column("maxima", 1), t.matrix("sums")
    scaler, ones = t.matrix("scaler"), t.matrix("ones", n, 1)
    for _ in range(a.count):
        await t.do(RowMax, x, scaler, m, 1)      # m = rowmax x              [1, 1]
        await t.do(Exp, x, m, e)                 # e = exp(x - m)            [1, n]
        t.pop(x)
        t.pop(m)
        await t.do(Matmul, e, ones, l, (1, 1))   # l = sum e, in column 0    [1, 1]
        await t.do(Reciprocal, l)                # 1 / l
        await t.do(MulColumn, e, l, out, 1)      # e / l                     [1, n]
        t.pop(e)
        t.pop(l)


async def writer(dm: DataMovement, a: Args) -> None:
    """Make the constants, then write each tile row."""
    scaler, ones, out = dm.cbs("scaler", "ones", "out")
    n = a.x.tile_cols
    for cb, tiles, block in (
        (scaler, 1, np.ones((1, 32, 1, 32), np.float32)),
        (ones, n, np.eye(1, 32, dtype=np.float32).repeat(32 * n, axis=0).reshape(n, 32, 1, 32)),
    ):
        await dm.reserve(cb, tiles)
        dm.fill(cb, tiles, block)
        dm.push(cb, tiles)
    for row in range(a.start, a.start + a.count):
        await dm.wait(out, n)
        await dm.write(out, a.out, range(row * n, (row + 1) * n), (1, n))
        dm.pop(out, n)


def program(x: Tensor, out: Tensor, grid: tuple[int, int]) -> Program:
    """Deal the tile rows of x to the cores of `grid`, in order."""
    if (x.tile_rows, x.tile_cols) != (out.tile_rows, out.tile_cols):
        raise ValueError(f"x has {x.tile_rows}x{x.tile_cols} tiles, out {out.tile_rows}x{out.tile_cols}; they must be the same")
    cores, n, fmt = grid[0] * grid[1], x.tile_cols, x.format
    share = -(-x.tile_rows // cores)
    args = [Args(x, out, i * share, max(0, min(share, x.tile_rows - i * share))) for i in range(cores)]
    return Program(
        grid=grid,
        buffers=(
            BufferSpec("x_in", 2 * n, fmt, "reader", "compute"),
            BufferSpec("scaler", 1, fmt, "writer", "compute", resident=True),
            BufferSpec("ones", n, fmt, "writer", "compute", resident=True),
            BufferSpec("maxima", 1, fmt, "compute", "compute"),
            BufferSpec("exps", n, fmt, "compute", "compute"),
            BufferSpec("sums", 1, fmt, "compute", "compute"),
            BufferSpec("out", 2 * n, fmt, "compute", "writer"),
        ),
        kernels=(Kernel("reader", reader, args), Kernel("compute", compute, args), Kernel("writer", writer, args)),
        tensors=(x, out),
    )
