"""BRISC: makes the constant tiles, then writes each finished output chunk to memory."""

import numpy as np
from numpy.typing import NDArray

from tensix_sim.kernel_api import CircularBuffer, DataMovement
from tensix_sim.kernels.sdpa.args import Args
from tensix_sim.kernels.sdpa.reader import read_windows


async def writer(dm: DataMovement, a: Args) -> None:
    """Scaler, column of ones and mask palette once; then M x E output tiles for each Q chunk, a band of rows at a time."""
    await constants(dm)
    if a.mask.palette:
        await make_constant(dm, "mask_in", a.mask.tiles())
    if a.start:
        (start,) = dm.cbs("chunk_start_writer")
        await dm.wait(start, 1)
        dm.pop(start, 1)
    if a.windows:
        await read_windows(dm, a.windows, "windows_writer")
    (out,) = dm.cbs("out")
    M = a.chunk.M
    for phase in a.phases:
        for b, head, q in a.chunks():
            for j in a.mask.k_range(q * M) if a.windows else ():
                await make_mask(dm, a, q * M, j)
            await drain(dm, a, out, b * a.heads.q + head, phase.write_row + q * M)
    if a.windows:
        (windows,) = dm.cbs("windows_writer")
        dm.pop(windows, 1)


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


async def make_mask(dm: DataMovement, a: Args, row: int, j: int) -> None:
    """What hides other windows' keys in K chunk `j` from the Q chunk at tile row `row`; the RISC's cycles are not modelled."""
    (cb,) = dm.cbs("mask_in")
    tiles = a.chunk.M * a.chunk.N
    await dm.reserve(cb, tiles)
    dm.fill(cb, tiles, a.mask.block(row, j) if dm.values else None)
    dm.push(cb, tiles)


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
