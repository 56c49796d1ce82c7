"""TRISCs: blocks of C, step by step of the inner dimension, the partial sums in L1 or coming back into DST."""

from typing import NamedTuple

from tensix_sim.kernel_api import Compute, Matrix
from tensix_sim.kernels.matmul.args import ComputeArgs, InnerStep, steps
from tensix_sim.kernels.matmul.verbs import AddBias, MatmulSubblock, TransposeTiles


class BlockMatrices(NamedTuple):
    """The buffers of a block of C."""

    A: Matrix       # [oh, bw]
    raw: Matrix     # A as it was read, where its tiles are transposed first
    B: Matrix       # [bw, ow]
    C: Matrix       # a subblock [sh, sw]
    sums: Matrix    # of all steps so far, a subblock a row
    some: Matrix    # a subblock of them


def matrices(t: Compute, a: ComputeArgs) -> BlockMatrices:
    """Those of a core."""
    oh, ow, bw, sh, sw = a.block
    raw = t.matrix("in0", oh, bw)
    return BlockMatrices(
        t.matrix("in0 transposed", oh, bw) if a.transpose_a else raw, raw, t.matrix("in1", bw, ow, transposed=a.transpose_b),
        t.matrix("out", sh, sw), t.matrix("partials", oh * ow // (sh * sw), sh * sw), t.matrix("partials", sh, sw),
    )  # fmt: skip


async def compute(t: Compute, a: ComputeArgs) -> None:
    """Each block of C."""
    for _ in range(a.outputs):
        for step in steps(a):
            await t.repeat(multiply, a, step)
        if a.bias:
            await t.repeat(add_bias, a)


async def multiply(t: Compute, a: ComputeArgs, step: InnerStep) -> None:
    """One step of the inner dimension."""
    oh, ow, _, sh, sw = a.block
    A, raw, B, C, sums, some = matrices(t, a)
    if a.transpose_a:
        await t.do(TransposeTiles, raw, A)                                   # A <- its tiles transposed    [oh, bw]
        t.pop(raw)
    for i in range(oh // sh):
        for j in range(ow // sw):
            if step.reload:
                await t.wait(some)
                t.pop(some)                                                  # which stays until it is packed again
            if step.first:                                                   # partial sums may lie where C was
                await t.reserve(t.matrix("out", i * (ow // sw) + j + 1, sh * sw))
            onto, out = sums if step.reload else None, C if step.last else sums
            await t.do(MatmulSubblock, A, B, out, i, j, (sh, sw), onto, step.accumulate, a.relu)    # C[i, j] += A[i] B[j]    [sh, sw]
    if not (step.last or step.keep):
        await t.wait(sums)                                                   # all are packed
        t.pop(sums)
    t.pop(A)
    t.pop(B)


async def add_bias(t: Compute, a: ComputeArgs) -> None:
    """To the finished sums, subblock by subblock."""
    oh, ow, _, sh, sw = a.block
    _, _, _, C, sums, some = matrices(t, a)
    bias = t.matrix("bias", 1, ow)
    for i in range(oh // sh):
        for j in range(ow // sw):
            await t.wait(some)
            t.pop(some)
            await t.do(AddBias, sums, bias, C, i, j, a.relu)                 # C[i, j] = sums[i, j] + bias[j]    [sh, sw]
    if a.bias_again:
        t.pop(bias)
