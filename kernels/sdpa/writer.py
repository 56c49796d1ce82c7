"""BRISC: makes the constant tiles, then writes each finished output chunk to memory."""

import numpy as np
from numpy.typing import NDArray

from tensix_sim.kernel_api import CircularBuffer, DataMovement
from tensix_sim.kernels.sdpa.args import Args


async def writer(dm: DataMovement, a: Args) -> None:
    """Scaler, column of ones and mask palette once; then M x E output tiles for each Q chunk, a band of rows at a time."""
    await constants(dm)
    if a.mask.palette:
        await make_constant(dm, "mask_in", a.mask.tiles())
    (out,) = dm.cbs("out")
    for phase in a.phases:
        for b, head, q in a.chunks():
            await drain(dm, a, out, b * a.heads.q + head, phase.write_row + q * a.chunk.M)


async def drain(dm: DataMovement, a: Args, out: CircularBuffer, head: int, first: int) -> None:
    """M x E tiles to the output, from tile row `first` of a head (of all batches) on; those beyond its end are dropped."""
    (M, _, _, E), (band, out_rows) = a.chunk, (a.dst.out_rows, a.heads.out_rows)
    row = head * out_rows + first
    for i in range(0, M, band):
        rows = min(band, out_rows - first - i)
        await dm.wait(out, band * E)
        if rows > 0:
            await dm.write(out, a.tensors.out, range((row + i) * E, (row + i + rows) * E), (rows, E), a.barrier)
        dm.pop(out, band * E)


async def constants(dm: DataMovement) -> None:
    """The scaler and the column of ones."""
    await make_constant(dm, "identity_scale", np.ones((1, 32, 1, 32), np.float32))
    await make_constant(dm, "col_identity", np.eye(1, 32, dtype=np.float32).repeat(32, axis=0).reshape(1, 32, 1, 32))


async def make_constant(dm: DataMovement, name: str, tiles: NDArray[np.float32]) -> None:
    """Fill a buffer with the tiles [1, 32, tiles, 32] that stay in it."""
    (cb,) = dm.cbs(name)
    await dm.reserve(cb, tiles.shape[2])
    dm.fill(cb, tiles.shape[2], tiles)
    dm.push(cb, tiles.shape[2])
