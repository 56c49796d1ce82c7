"""TRISC: flash attention, one K chunk after another, with running maxima m, sums l and outputs O."""

from tensix_sim.kernel_api import Compute, Matmul, MulColumn, RowMax, RowSum
from tensix_sim.kernels.sdpa.args import Args
from tensix_sim.kernels.sdpa.running import running
from tensix_sim.kernels.sdpa.verbs import AddSums, ExpDifference, MulSums, Reciprocal, Stamp, SubExp


async def compute(t: Compute, a: Args) -> None:
    """softmax(Q K^T scale) V for each Q chunk of the core's range, in both phases."""
    (M, N, D, E), dst = a.chunk, a.dst
    Q, Kt, V = t.matrix("q_in", M, D), t.matrix("k_in", D, N, transposed=True), t.matrix("v_in", N, E)
    S, alpha, out = t.matrix("qk_im", M, N), t.column("exp_max_diff", M), t.matrix("out", M, E)
    A, B = running(t, a.chunk)
    scaler, ones = t.matrix("identity_scale"), t.matrix("col_identity")
    mask = t.matrix("mask_in", 1, a.mask.palette) if a.mask.palette else None
    if mask:
        await t.wait(mask)
    for phase in a.phases:
        for _, _, q in a.chunks():
            row = (phase.q_offset + q) * M
            prev, cur = A, B
            visited = a.mask.k_range(row)
            for j in visited:
                first = j == visited[0]
                await t.do(Matmul, Q, Kt, S, dst.qk)                                          # S = Q K^T            [M, N]
                t.pop(Kt)
                if mask and (marks := a.mask.marks(row, j)):
                    await t.do(Stamp, mask, S, marks, dst.stamps)                             # S = -inf where hidden
                await t.do(RowMax, S, scaler, cur.m, dst.maxima, None if first else prev.m)   # m = max(m', rowmax S) [M, 1]
                await t.do(SubExp, S, cur.m, cur.l, dst.exps, a.scale)                        # P = exp((S - m) scale), l = sum P
                await t.do(Matmul, S, V, cur.O, dst.pv)                                       # O = P V              [M, E]
                t.pop(V)
                t.pop(S)
                if not first:
                    await t.do(ExpDifference, prev.m, cur.m, alpha, a.scale)                  # α = exp((m' - m) scale) [M, 1]
                    t.pop(prev.m)
                    await t.do(MulSums, prev.l, alpha)                                        # l' = α l'
                    await t.do(AddSums, cur.l, prev.l)                                        # l = l + l'
                    t.pop(prev.l)
                    await t.do(MulColumn, prev.O, alpha, cur.O, dst.scaled, accumulate=True)  # O = O + α O'
                    t.pop(alpha)
                    t.pop(prev.O)
                prev, cur = cur, prev
            await t.do(RowSum, prev.l, ones, dst.sums)                                        # l, its columns added up [M, 1]
            await t.do(Reciprocal, prev.l)                                                    # 1 / l
            await t.do(MulColumn, prev.O, prev.l, out, dst.scaled)                            # O / l                [M, E]
            t.pop(prev.l)
            t.pop(prev.O)
            t.pop(prev.m)
            t.pop(Q)
