"""C = A B, one block of C after another: each core walks its share of the blocks and streams what they need."""

from dataclasses import dataclass

from tensix_sim.kernel_api import BufferSpec, Compute, ComputeConfig, DataMovement, Kernel, Matmul, Program, Tensor

HIFI2 = ComputeConfig()


@dataclass(frozen=True)
class Args:
    """A core's tensors, the block size m x n in tiles, and its range of blocks, counted row by row of C."""

    a: Tensor
    b: Tensor
    c: Tensor
    m: int
    n: int
    start: int
    count: int

    def blocks(self) -> list[tuple[int, int]]:
        """First tile row and column of each of the core's blocks."""
        across = self.c.tile_cols // self.n
        return [(i // across * self.m, i % across * self.n) for i in range(self.start, self.start + self.count)]


async def reader(dm: DataMovement, args: Args) -> None:
    """M whole rows of A and n whole columns of B for each block of C."""
    A, B = dm.cbs("a_in", "b_in")
    k, n = args.a.tile_cols, args.n
    for row, col in args.blocks():
        await dm.reserve(A, args.m * k)
        await dm.read(args.a, range(row * k, (row + args.m) * k), A, (args.m, k))
        dm.push(A, args.m * k)
        await dm.reserve(B, k * n)
        await dm.read(args.b, [i * args.b.tile_cols + col + j for i in range(k) for j in range(n)], B, (k, n))
        dm.push(B, k * n)


async def compute(t: Compute, args: Args) -> None:
    """One block product at a time."""
    m, n, k = args.m, args.n, args.a.tile_cols
    A, B, C = t.matrix("a_in", m, k), t.matrix("b_in", k, n), t.matrix("out", m, n)
    for _ in range(args.count):
        await t.do(Matmul, A, B, C, (1, 1))  # C = A B [m, n]
        t.pop(A)
        t.pop(B)


async def writer(dm: DataMovement, args: Args) -> None:
    """Write each block of C."""
    (C,) = dm.cbs("out")
    m, n = args.m, args.n
    for row, col in args.blocks():
        await dm.wait(C, m * n)
        await dm.write(C, args.c, [(row + i) * args.c.tile_cols + col + j for i in range(m) for j in range(n)], (m, n))
        dm.pop(C, m * n)


def program(a: Tensor, b: Tensor, c: Tensor, grid: tuple[int, int], m: int, n: int, config: ComputeConfig = HIFI2) -> Program:
    """Deal the m x n blocks of C to the cores of `grid`."""
    if a.tile_cols != b.tile_rows or (c.tile_rows, c.tile_cols) != (a.tile_rows, b.tile_cols):
        raise ValueError(f"{a.tile_rows}x{a.tile_cols} by {b.tile_rows}x{b.tile_cols} tiles do not make {c.tile_rows}x{c.tile_cols}")
    if c.tile_rows % m or c.tile_cols % n:
        raise ValueError(f"blocks of {m}x{n} tiles do not divide C's {c.tile_rows}x{c.tile_cols}")
    cores, blocks, k = grid[0] * grid[1], (c.tile_rows // m) * (c.tile_cols // n), a.tile_cols
    share = -(-blocks // cores)
    args = [Args(a, b, c, m, n, i * share, max(0, min(share, blocks - i * share))) for i in range(cores)]
    return Program(
        grid=grid,
        buffers=(
            BufferSpec("a_in", 2 * m * k, a.format, "reader", "compute"),
            BufferSpec("b_in", 2 * k * n, b.format, "reader", "compute"),
            BufferSpec("out", 2 * m * n, c.format, "compute", "writer"),
        ),
        kernels=(Kernel("reader", reader, args), Kernel("compute", compute, args), Kernel("writer", writer, args)),
        tensors=(a, b, c),
        compute=config,
    )
