"""BRISC: blocks of B, from memory or from the core that reads them for all of its column, and the bias; then it writes C."""

from tensix_sim.kernel_api import DataMovement
from tensix_sim.kernels.matmul.args import Corner, MoverArgs
from tensix_sim.kernels.matmul.blocks import read, receive, send


async def in1(dm: DataMovement, a: MoverArgs) -> None:
    """For each block of C: all of B that it needs, then its tiles. B of the next block is not read before they are written."""
    get = in1_receiver if a.b_way.sender else in1_sender
    for corner in a.corners:
        await get(dm, a, corner)
        if a.bias and (a.bias_again or corner is a.corners[0]):
            await get_bias(dm, a, corner)
        await write(dm, a, corner)


async def in1_sender(dm: DataMovement, a: MoverArgs, corner: Corner) -> None:
    """Each block with one barrier, then to the others when all of them have space."""
    (B,) = dm.cbs("in1")
    _, ow, bw, _, _ = a.block
    cols = range(corner.col, corner.col + corner.cols)
    for k in a.steps:
        await dm.reserve(B, bw * ow)
        await read(dm, a.b, B, (bw, ow), (corner.b_batch, a.inner(k), cols))           # B[k, cols]       [bw, ow]
        await send(dm, B, bw * ow, a.b_way, "in1")
        dm.push(B, bw * ow)


async def in1_receiver(dm: DataMovement, a: MoverArgs, corner: Corner) -> None:
    """Each block into the space that this core has for it."""
    (B,) = dm.cbs("in1")
    _, ow, bw, _, _ = a.block
    for _ in a.steps:
        await dm.reserve(B, bw * ow)
        await receive(dm, a.b_way, "in1")                                              # B[k, cols]       [bw, ow]
        dm.push(B, bw * ow)


async def get_bias(dm: DataMovement, a: MoverArgs, corner: Corner) -> None:
    """A row of it, by the way of B."""
    (bias,) = dm.cbs("bias")
    assert a.bias is not None
    _, ow, _, _, _ = a.block
    await dm.reserve(bias, ow)
    if a.b_way.sender:
        await receive(dm, a.b_way, "in1")
    else:
        await read(dm, a.bias, bias, (1, ow), (0, range(1), range(corner.col, corner.col + corner.cols)))    # bias[cols]    [1, ow]
        await send(dm, bias, ow, a.b_way, "in1")
    dm.push(bias, ow)


async def write(dm: DataMovement, a: MoverArgs, corner: Corner) -> None:
    """Subblock by subblock, with a barrier after each; of those beyond the edge of C what is there, maybe nothing."""
    (C,) = dm.cbs("out")
    oh, ow, _, sh, sw = a.block
    for i in range(0, oh, sh):
        for j in range(0, ow, sw):
            rows, cols = min(sh, corner.rows - i), min(sw, corner.cols - j)
            await dm.wait(C, sh * sw)
            if rows > 0 and cols > 0:
                row, col = corner.row + i, corner.col + j
                pages = a.c.pages(corner.c_batch, range(row, row + rows), range(col, col + cols))
                await dm.write(C, a.c.tensor, pages, (sh, sw), part=(rows, cols))      # C[i, j]          [sh, sw]
            dm.pop(C, sh * sw)
