"""BRISC: makes the constant tiles, then writes each finished output chunk to memory."""

import numpy as np

from tensix_sim.kernel_api import DataMovement
from tensix_sim.kernels.sdpa.args import DIAGONAL, Args


async def writer(dm: DataMovement, a: Args) -> None:
    """Scaler, column of ones and mask templates once; then M x E output tiles for each Q chunk."""
    await make_constants(dm)
    (out,) = dm.cbs("out")
    M, E = a.M, a.E
    for phase in a.phases:
        for b, head, q in a.chunks():
            row = (b * a.NQH + head) * a.out_rows + phase.write_row + q * M
            await dm.wait(out, M * E)
            await dm.write(out, a.out, range(row * E, (row + M) * E), (M, E), a.barrier)  # [M, E]
            dm.pop(out, M * E)


async def make_constants(dm: DataMovement) -> None:
    """1.0 for the row maxima, a column of ones for the row sums, and the two tiles from which every causal mask is stamped."""
    scaler, ones, mask = dm.cbs("identity_scale", "col_identity", "mask_in")
    await dm.reserve(scaler, 1)
    dm.fill(scaler, 1, np.ones((1, 32, 1, 32), np.float32))
    dm.push(scaler, 1)
    await dm.reserve(ones, 1)
    dm.fill(ones, 1, np.eye(1, 32, dtype=np.float32).repeat(32, axis=0).reshape(1, 32, 1, 32))
    dm.push(ones, 1)
    templates = np.full((1, 32, 2, 32), -np.inf, np.float32)
    templates[0, :, DIAGONAL, :] = np.where(np.tri(32, dtype=bool), 0, -np.inf)
    await dm.reserve(mask, 2)
    dm.fill(mask, 2, templates)
    dm.push(mask, 2)
