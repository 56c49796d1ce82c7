"""TRISC: flash attention, one K chunk after another, with running maxima m, sums l and outputs O."""

from tensix_sim.kernel_api import Compute, Matmul, Matrix, MulColumn, RowMax, RowSum
from tensix_sim.kernels.sdpa.args import Args, Dst
from tensix_sim.kernels.sdpa.mask import Marks
from tensix_sim.kernels.sdpa.running import Matrices, Running, learn_range, learn_start, matrices, running
from tensix_sim.kernels.sdpa.verbs import AddTo, ExpDifference, MulSums, Reciprocal, Stamp, SubExp


async def compute(t: Compute, a: Args) -> None:
    """softmax(Q K^T scale) V for each Q chunk of the core's range, in both phases."""
    x = matrices(t, a, a.chunk.M)
    A, B = running(t, a.chunk)
    await learn_start(t, a)
    if x.mask:
        await t.wait(x.mask)
    for phase in a.phases:
        sinks_of = None
        for b, head, q in a.chunks():
            if x.sink and sinks_of not in (None, (b, head)):
                t.pop(x.sink)
            sinks_of = b, head
            await learn_range(t, x)
            row = (phase.q_offset + q) * a.chunk.M
            prev, cur = A, B
            visited = a.mask.k_range(row)
            for j in visited:
                await t.repeat(step, x, a.dst, a.scale, a.mask.marks(row, j), j == visited[0], prev, cur)
                prev, cur = cur, prev
            await t.repeat(finish, x, a.dst, a.scale, prev, cur)
        if x.sink and sinks_of:
            t.pop(x.sink)


async def step(t: Compute, x: Matrices, dst: Dst, scale: float, marks: Marks, first: bool, prev: Running, cur: Running) -> None:
    """One K chunk."""
    Q, Kt, V, S, alpha, *_ = x
    await t.do(Matmul, Q, Kt, S, dst.qk)                                           # S = Q K^T            [M, N]
    t.pop(Kt)
    if x.mask and marks:
        await t.do(Stamp, x.mask, S, marks, dst.stamps)                            # S = -inf where hidden
    if x.given:
        await t.do(AddTo, S, x.given)                                              # S = S + mask
        t.pop(x.given)
    await t.do(RowMax, S, x.scaler, cur.m, dst.maxima, None if first else prev.m)  # m = max(m', rowmax S) [M, 1]
    await t.do(SubExp, S, cur.m, cur.l, dst.exps, scale)                           # P = exp((S - m) scale), l = sum P
    await t.do(Matmul, S, V, cur.O, dst.pv)                                        # O = P V              [M, E]
    t.pop(V)
    t.pop(S)
    if not first:
        await t.do(ExpDifference, prev.m, cur.m, alpha, scale)                     # α = exp((m' - m) scale) [M, 1]
        t.pop(prev.m)
        await t.do(MulSums, prev.l, alpha)                                         # l' = α l'
        await t.do(AddTo, cur.l, prev.l)                                           # l = l + l'
        t.pop(prev.l)
        await t.do(MulColumn, prev.O, alpha, cur.O, dst.scaled, accumulate=True)   # O = O + α O'
        t.pop(alpha)
        t.pop(prev.O)


async def finish(t: Compute, x: Matrices, dst: Dst, scale: float, last: Running, free: Running) -> None:
    """The output of a Q chunk, after its last K chunk; `free` is the set that nothing is in."""
    await t.do(RowSum, last.l, x.ones, dst.sums)              # l, its columns added up [M, 1]
    if x.sink:
        last = await add_sink(t, x, x.sink, dst, scale, last, free)
    await t.do(Reciprocal, last.l)                            # 1 / l
    await t.do(MulColumn, last.O, last.l, x.out, dst.scaled)  # O / l                [M, E]
    t.pop(last.l)
    t.pop(last.O)
    t.pop(last.m)
    t.pop(x.Q)


async def add_sink(t: Compute, x: Matrices, sink: Matrix, dst: Dst, scale: float, last: Running, free: Running) -> Running:
    """The sink as one more key, which has no value. Returns where the statistics are now."""
    await t.do(RowMax, sink, x.scaler, free.m, dst.maxima, last.m)    # m = max(m', sink)           [M, 1]
    await t.do(ExpDifference, last.m, free.m, x.alpha, scale)         # α = exp((m' - m) scale)     [M, 1]
    t.pop(last.m)
    await t.do(MulSums, last.l, x.alpha)                              # l = α l
    await t.do(ExpDifference, sink, free.m, free.l, scale)            # exp((sink - m) scale)       [M, 1]
    await t.do(AddTo, last.l, free.l)                                 # l = l + exp((sink - m) scale)
    t.pop(free.l)
    await t.do(MulColumn, last.O, x.alpha, free.O, dst.scaled)        # O = α O'                    [M, E]
    t.pop(x.alpha)
    t.pop(last.O)
    return Running(free.m, last.l, free.O)
