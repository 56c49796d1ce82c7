"""out = x + y, tile by tile: the smallest program with a reader, a compute kernel and a writer."""

from dataclasses import dataclass

from tensix_sim.kernel_api import Add, BufferSpec, Compute, DataMovement, Kernel, Program, Tensor


@dataclass(frozen=True)
class Args:
    """A core's tensors and its range of tiles."""

    x: Tensor
    y: Tensor
    out: Tensor
    start: int
    count: int


async def reader(dm: DataMovement, a: Args) -> None:
    """One tile of x and one of y at a time."""
    x_in, y_in = dm.cbs("x_in", "y_in")
    for tile in range(a.start, a.start + a.count):
        for tensor, cb in ((a.x, x_in), (a.y, y_in)):
            await dm.reserve(cb, 1)
            await dm.read(tensor, [tile], cb, (1, 1))
            dm.push(cb, 1)


async def compute(t: Compute, a: Args) -> None:
    """Add the two tiles in front."""
    x, y, out = map(t.matrix, ("x_in", "y_in", "out"))
    for _ in range(a.count):
        await t.do(Add, x, y, out)
        t.pop(x)
        t.pop(y)


async def writer(dm: DataMovement, a: Args) -> None:
    """Write each sum where its operands lay."""
    (out,) = dm.cbs("out")
    for tile in range(a.start, a.start + a.count):
        await dm.wait(out, 1)
        await dm.write(out, a.out, [tile], (1, 1))
        dm.pop(out, 1)


def program(x: Tensor, y: Tensor, out: Tensor, grid: tuple[int, int]) -> Program:
    """Deal the tiles of `out` to the cores of `grid`, in order; double buffers everywhere."""
    shapes = {(t.tile_rows, t.tile_cols) for t in (x, y, out)}
    if len(shapes) > 1:
        raise ValueError(f"x, y and out have different shapes in tiles: {sorted(shapes)}")
    cores = grid[0] * grid[1]
    share = -(-out.pages // cores)
    args = [Args(x, y, out, i * share, max(0, min(share, out.pages - i * share))) for i in range(cores)]
    return Program(
        grid=grid,
        buffers=(
            BufferSpec("x_in", 2, x.format, "reader", "compute"),
            BufferSpec("y_in", 2, y.format, "reader", "compute"),
            BufferSpec("out", 2, out.format, "compute", "writer"),
        ),
        kernels=(Kernel("reader", reader, args), Kernel("compute", compute, args), Kernel("writer", writer, args)),
        tensors=(x, y, out),
    )
