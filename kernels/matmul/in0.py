"""NCRISC: blocks of A, from memory or from the core that reads them for all of its row."""

from tensix_sim.kernel_api import DataMovement
from tensix_sim.kernels.matmul.args import MoverArgs
from tensix_sim.kernels.matmul.blocks import read, receive, send


async def in0(dm: DataMovement, a: MoverArgs) -> None:
    """Read and send, or receive."""
    await (in0_receiver if a.a_way.sender else in0_sender)(dm, a)


async def in0_sender(dm: DataMovement, a: MoverArgs) -> None:
    """Each block with one barrier, then to the others when all of them have space."""
    (A,) = dm.cbs("in0")
    oh, _, bw, _, _ = a.block
    for corner in a.corners:
        rows = range(corner.row, corner.row + corner.rows)
        for k in a.steps:
            await dm.reserve(A, oh * bw)
            await read(dm, a.a, A, (oh, bw), (corner.a_batch, rows, a.inner(k)))       # A[rows, k]       [oh, bw]
            await send(dm, A, oh * bw, a.a_way, "in0")
            dm.push(A, oh * bw)


async def in0_receiver(dm: DataMovement, a: MoverArgs) -> None:
    """Each block into the space that this core has for it."""
    (A,) = dm.cbs("in0")
    oh, _, bw, _, _ = a.block
    for _ in a.corners:
        for _ in a.steps:
            await dm.reserve(A, oh * bw)
            await receive(dm, a.a_way, "in0")                                          # A[rows, k]       [oh, bw]
            dm.push(A, oh * bw)
