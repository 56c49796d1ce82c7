"""TRISC: the legacy kernel's steps over a slice, whole, then merged with what the slices before gave, by their log-sum-exps.

With a 32-bit DST: between two slices a Q chunk's output is finished, and rounded, in DRAM, and so is the logarithm of its sums.
"""

from typing import NamedTuple

from tensix_sim.kernel_api import Compute, Copy, Matrix, MulColumn, RowSum
from tensix_sim.kernels.sdpa.args import Dst
from tensix_sim.kernels.sdpa.legacy import step
from tensix_sim.kernels.sdpa.ring_joint.args import RingArgs
from tensix_sim.kernels.sdpa.ring_joint.merge_verbs import CopyColumn, Log, MulScalar, SigmoidDifference, Subtract
from tensix_sim.kernels.sdpa.ring_joint.streaming import keep_in_phase, ring_matrices, skip
from tensix_sim.kernels.sdpa.running import Matrices, Running, running
from tensix_sim.kernels.sdpa.verbs import AddTo, Reciprocal


class Slices(NamedTuple):
    """What a Q chunk has from the slices before, what it has then, and the scale as a tile."""

    O: Matrix         # [M, E]
    L: Matrix         # log(l) + m scale [M, 1]
    new_L: Matrix     # [M, 1]
    scale: Matrix


async def compute(t: Compute, a: RingArgs) -> None:
    """softmax(Q K^T scale) V of each Q chunk, slice by slice in the order in which they come."""
    M, _, _, E = a.own.chunk
    x = ring_matrices(t, a, M)
    y = Slices(t.matrix("prev_out", M, E), t.column("lse_in", M), t.matrix("lse_out", M), t.matrix("scale_in"))
    if x.mask:
        await t.wait(x.mask)
    for it in a.iterations:
        read = 0
        for _, _, q in a.merged(it):
            prev, cur = running(t, a.own.chunk)
            met = a.met(it, q)
            for i, c in enumerate(met):
                await t.repeat(step, x, a.own.dst, a.own.scale, c.marks, i == 0, prev, cur)
                prev, cur = cur, prev
            for _ in it.chunks(q)[len(met) :]:
                await skip(t, x)                                       # above the diagonal
            await t.repeat(finish, x, y, a.own.dst, it.first, prev, cur)
            read += len(it.chunks(q))
        await keep_in_phase(t, a, x, it, read)


async def finish(t: Compute, x: Matrices, y: Slices, dst: Dst, first: bool, last: Running, free: Running) -> None:
    """O and L of a Q chunk after a slice, merged with those of the slices before; `free` is the set that nothing is in."""
    L = x.alpha
    await t.do(RowSum, last.l, x.ones, dst.sums)                       # l, its columns added up [M, 1]
    await t.do(Log, last.l, L)                                         # L = log l               [M, 1]
    await t.do(MulScalar, last.m, y.scale)                             # m scale
    await t.do(AddTo, L, last.m)                                       # L = log l + m scale
    t.pop(last.m)
    await t.do(Reciprocal, last.l)                                     # 1 / l
    await t.do(MulColumn, last.O, last.l, free.O, dst.scaled)          # O = O / l               [M, E]
    t.pop(last.l)
    t.pop(last.O)
    if first:
        await t.do(Copy, free.O, x.out)
        await t.do(CopyColumn, L, y.new_L)
        t.pop(free.O)
    else:
        await merge(t, x, y, dst, last, free)
    t.pop(L)
    t.pop(x.Q)


async def merge(t: Compute, x: Matrices, y: Slices, dst: Dst, last: Running, free: Running) -> None:
    """The weights of both are sigmoids of how their log-sum-exps differ."""
    L, O, w = x.alpha, free.O, free.m
    await t.do(SigmoidDifference, L, y.L, w)                           # w = sigmoid(L - L')     [M, 1]
    await t.do(Subtract, y.O, O, last.O)                               # O' - O                  [M, E]
    t.pop(O)
    await t.do(MulColumn, last.O, w, O, dst.scaled)                    # w (O' - O)
    t.pop(last.O)
    t.pop(w)
    await t.do(Subtract, y.O, O, x.out)                                # O = O' - w (O' - O)
    t.pop(O)
    t.pop(y.O)
    await t.do(SigmoidDifference, y.L, L, w)                           # sigmoid(L' - L)
    await t.do(Log, w, last.m)
    t.pop(w)
    await t.do(Subtract, y.L, last.m, y.new_L)                         # L = L' - log sigmoid(L' - L)
    t.pop(last.m)
    t.pop(y.L)
