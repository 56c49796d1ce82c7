"""Blocks of an operand: from memory; and by multicast, where the sender waits for space on all cores, then raises their flags."""

import numpy as np

from tensix_sim.kernel_api import CircularBuffer, DataMovement
from tensix_sim.kernels.matmul.args import Operand, Way
from tensix_sim.kernels.multicast import send_to_all


async def read(dm: DataMovement, x: Operand, cb: CircularBuffer, shape: tuple[int, int], place: tuple[int, range, range]) -> None:
    """The tiles of a block that are there, a request each, and one barrier; `place` is their batch, rows and columns."""
    batch, rows, cols = place
    if rows and cols:
        await dm.read(x.tensor, x.pages(batch, rows, cols), cb, shape, columns=len(cols), looked_up=True)
    else:  # all beyond the edge: what was there stays
        dm.fill(cb, shape[0] * shape[1], np.zeros((shape[0], 32, shape[1], 32), np.float32))


async def send(dm: DataMovement, cb: CircularBuffer, tiles: int, way: Way, name: str) -> None:
    """To all that get it from this core; upstream the flag is written, which from 0 is the same as raised."""
    await send_to_all(dm, cb, tiles, way.receivers, f"{name} ready", f"{name} valid")


async def receive(dm: DataMovement, way: Way, name: str) -> None:
    """Tell the sender that there is space, and wait for its flag."""
    assert way.sender is not None
    dm.semaphore_set(f"{name} valid", 0)
    dm.semaphore_increase(way.sender, f"{name} ready")
    await dm.semaphore_wait(f"{name} valid", 1)
