"""BRISC beside the legacy kernel: what the slices before gave comes back, and what they give with this one goes to the output."""

from tensix_sim.kernel_api import DataMovement
from tensix_sim.kernels.sdpa.ring_joint.args import RingArgs
from tensix_sim.kernels.sdpa.ring_joint.writer import make_constants, read_back, statistics, write_out


async def writer(dm: DataMovement, a: RingArgs) -> None:
    """Q chunk by Q chunk, slice by slice; nothing is brought back ahead of time."""
    await make_constants(dm, a)
    out, prev_out, lse_in, lse_out = dm.cbs("out", "prev_out", "lse_in", "lse_out")
    M, _, _, E = a.own.chunk
    for it in a.iterations:
        for place in a.merged(it):
            (pages,) = statistics(a, place, columns=1)
            if not it.first:
                await read_back(dm, a, prev_out, place)                          # O [M, E]
                await dm.reserve(lse_in, M)
                await dm.read(a.statistics, pages, lse_in, (M, 1))               # L [M, 1]
                dm.push(prev_out, M * E)
                dm.push(lse_in, M)
            await write_out(dm, a, out, place)                                   # O [M, E]
            await dm.wait(lse_out, M)
            await dm.write(lse_out, a.statistics, pages, (len(pages), 1))        # L [M, 1]
            dm.pop(lse_out, M)
